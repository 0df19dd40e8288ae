"""Accuracy beside llama.cpp: the same quantized files of the demonstration model, both against their float32 weights.

    QWILL_LLAMA_CPP=... QWILL_LLAMA_BIN=... python benchmarks/divergence.py [--types Q8_0 Q4_K_M] [--texts 40]

Each file is made by llama-quantize from the float32 values of the embedded model. Logits of held-out conversations are
computed by qwill and by llama.cpp; the divergence is Kullback and Leibler's from qwill's float32 logits of the float32
file, the mean over all tokens. What both have in common is the quantization's error; what differs is how activations
are rounded before products.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "peer")]

import peer  # noqa: E402
from training.data import answer_text, prompt_text  # noqa: E402
from training.tasks import text  # noqa: E402

from qwill import LLM  # noqa: E402
from qwill.compare import divergence, log_probabilities  # noqa: E402
from qwill.weights.hub.cache import resolve_model  # noqa: E402

TYPES = ("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "IQ4_NL", "Q3_K_M", "Q2_K", "MXFP4_MOE")
LONGEST = 1024  # tokens, the model's context


def conversations(llm: LLM, count: int, rng: random.Random, held_out: bool = True) -> list[np.ndarray]:
    """Token ids of examples, prompts and answers; held-out ones are not of the kind that the model was trained on."""
    assert llm.tokenizer is not None
    result: list[np.ndarray] = []
    while len(result) < count:
        example = text.draw(rng, held_out)
        ids = llm.tokenizer.encode(prompt_text(example) + answer_text(example), allow_special=True)
        if len(ids) < LONGEST:
            result.append(np.array(ids, np.int32))
    return result


def ours(file: Path, texts: list[np.ndarray]) -> list[np.ndarray]:
    llm = LLM(str(file), max_context=LONGEST, kv="f32")
    return [llm.forward(ids.tolist()) for ids in texts]


def divergences(exact: list[np.ndarray], logits: list[np.ndarray]) -> list[np.ndarray]:
    """Of every token of each text, in nats."""
    return [divergence(log_probabilities(a), log_probabilities(b)) for a, b in zip(exact, logits, strict=True)]


def mean_divergence(exact: list[np.ndarray], logits: list[np.ndarray]) -> float:
    return float(np.concatenate(divergences(exact, logits)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    source = resolve_model("demo")
    texts = conversations(LLM("demo"), arguments.texts, random.Random(arguments.seed))
    print("| type | qwill | llama.cpp | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        base = peer.quantize(source, Path(place) / "f32.gguf", "F32", "--allow-requantize")
        exact = ours(base, texts)
        for kind in arguments.types:
            file = peer.quantize(base, Path(place) / "quantized.gguf", kind)
            mine = mean_divergence(exact, ours(file, texts))
            theirs = mean_divergence(exact, [peer.logits(file, ids) for ids in texts])
            print(f"| {kind} | {mine:.3e} | {theirs:.3e} | {mine / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
