"""Every block type that llama-quantize makes: our logits against llama.cpp's on the same file.

Weights are equal to the bit, which tests/quant asserts; what differs is how activations are rounded before integer
products. llama.cpp rounds them to int8 in blocks of 32 or 256, ours in blocks of 32 or not at all: each value is off by
up to 1/254 of its block's largest, about 0.5% of a block's root mean square. Four layers and the recurrence of a random
model grow that to 4% to 14% of the logits' standard deviation s; two such errors apart make a Kullback-Leibler
divergence of (e s)^2 / 2. A wrong weight, scale or order of blocks makes e about 1.4.
"""

from pathlib import Path

import gguf
import numpy as np
import peer
import pytest
from checkpoints import edit_json, save_hf, tiny_config
from conftest import WIDE
from model.harness import BACKENDS, Ours, random_prompt

pytestmark = pytest.mark.peer
# Our type: what llama-quantize is told. IQ2_M is the mix whose plain type is IQ2_S.
PURE = {
    **{kind: kind for kind in ("Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1")},
    **{kind: kind for kind in ("IQ4_XS", "IQ4_NL", "IQ3_S", "IQ3_XXS", "IQ2_XS", "IQ2_XXS", "IQ1_S", "IQ1_M")},
    "IQ2_S": "IQ2_M",
}
FLOATS = {"F16": 0.01, "BF16": 0.08}  # activations are rounded to 11 and 8 bits; measured: 0.3% and 1.6%
ERROR = 0.25  # of the standard deviation of the logits


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A dense member and one with experts in f32, each with an importance matrix."""
    scratch = tmp_path_factory.mktemp("quantized")
    seed = int(np.random.SeedSequence().generate_state(1)[0]) % 2**31
    print("seed", seed)
    sources, jobs = {}, []
    # All experts take part, since another choice near a tie would be no rounding error; test_converted chooses some.
    members = {"dense": {}, "experts": {"moe": True, "num_experts": 4, "num_experts_per_tok": 4}}
    for name, overrides in members.items():
        folder = scratch / name / "hf"
        save_hf(folder, tiny_config(**(WIDE | overrides)), seed=seed, tokenizer=True)
        edit_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
        file = scratch / name / "f32.gguf"
        jobs.append([str(folder), "--outfile", str(file), "--outtype", "f32", "--no-mtp"])
        sources[name] = (file, file.with_name("imatrix.gguf"))
    peer.convert(jobs, scratch)
    for file, importance in sources.values():
        peer.write_imatrix(importance, file, np.random.default_rng(seed))
    return sources


def divergences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of every token's distribution, [tokens], in nats."""
    p, q = (values.astype(np.float64) for values in (theirs, ours))
    p, q = (values - np.logaddexp.reduce(values, axis=1, keepdims=True) for values in (p, q))
    return (np.exp(p) * (p - q)).sum(axis=1)


def compare(file: Path, rng: np.random.Generator, error: float) -> None:
    """Bounds the mean divergence, which an error of the logits by `error` standard deviations would give."""
    prompt = random_prompt(rng, 64, 288)
    theirs = peer.logits(file, np.array(prompt.token_ids, np.int32))
    for backend in ("reference", BACKENDS[-1]):
        divergence = divergences(Ours(file, backend).logits(prompt), theirs).mean()
        bound = (error * theirs.std()) ** 2 / 2
        print(f"{file.stem} {backend}: divergence {divergence:.2e}, bound {bound:.2e}")
        assert divergence <= bound


def kinds_in(file: Path) -> set[str]:
    return {tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}


@pytest.mark.parametrize("kind", PURE)
def test_dense_in_one_type(kind: str, sources: dict[str, tuple[Path, Path]], rng: np.random.Generator) -> None:
    source, importance = sources["dense"]
    file = peer.quantize(source, source.with_name(f"{kind}.gguf"), PURE[kind], "--pure", "--imatrix", importance)
    assert kinds_in(file) == {"F32", kind}
    compare(file, rng, ERROR)


@pytest.mark.parametrize("kind", FLOATS)
def test_dense_in_halves(kind: str, sources: dict[str, tuple[Path, Path]], rng: np.random.Generator) -> None:
    source, _ = sources["dense"]
    compare(peer.quantize(source, source.with_name(f"{kind}.gguf"), kind, "--pure"), rng, FLOATS[kind])


@pytest.mark.parametrize("kind", ["MXFP4_MOE", "Q4_K_M", "Q8_0", "IQ3_XXS", "Q2_K"])
def test_mixes_of_experts(kind: str, sources: dict[str, tuple[Path, Path]], rng: np.random.Generator) -> None:
    """Mixes as they are published."""
    source, importance = sources["experts"]
    file = peer.quantize(source, source.with_name(f"{kind}.gguf"), kind, "--imatrix", importance)
    assert len(kinds_in(file)) > (1 if kind == "Q8_0" else 2)
    compare(file, rng, ERROR)
