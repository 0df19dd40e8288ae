"""llm-compressor: every scheme that it names, of each folder that is named. Arguments: target, folders.

Its AWQ wants an accelerator, and its SpinQuant does not know the family. Both end in the layouts of the presets.
"""

import json
import sys
from pathlib import Path

import torch
from compressed import dequantized
from compressed_tensors.quantization import QuantizationScheme
from datasets import Dataset
from folders import store_values_of_files
from llmcompressor import oneshot
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

KEPT = ["lm_head", "re:.*visual.*", "re:.*mlp.gate$", "re:.*mlp.shared_expert_gate$", "re:.*in_proj_[ab]$"]
# By the number of weights' bits, in numbers and in floats; the rest differ in their activations alone.
PRESETS = (
    "W2A16", "W3A16", "W4A16", "W5A16", "W6A16", "W7A16", "W8A16", "W4A16_ASYM", "W4A8", "W4AFP8", "W8A8",
    "FP8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16", "NVFP4", "MXFP4A16", "MXFP4", "MXFP8A16", "MXFP8",
)  # fmt: skip


def recipes() -> dict[str, list[Modifier]]:
    """Presets alone, and the algorithms that go before them. A modifier serves one model."""

    def preset(name: str) -> Modifier:
        return QuantizationModifier(targets="Linear", scheme=name, ignore=KEPT)

    return {name: [preset(name)] for name in PRESETS} | {
        "gptq": [GPTQModifier(targets="Linear", scheme="W4A16", ignore=KEPT)],
        "gptq-act-order": [GPTQModifier(targets="Linear", scheme="W4A16", ignore=KEPT, actorder="weight")],
    }


def store(folder: Path) -> None:
    (group,) = json.loads((folder / "config.json").read_text())["quantization_config"]["config_groups"].values()
    scheme = QuantizationScheme(**group)
    store_values_of_files(
        folder, lambda tensors: dequantized(tensors, scheme, group["format"]) if "weight_scale" in tensors else None
    )


def main() -> None:
    target, *sources = map(Path, sys.argv[1:])
    ids = torch.randint(0, 256, (8, 64), generator=torch.Generator().manual_seed(0))
    texts = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
    for source in sources:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
        for name, recipe in recipes().items():
            folder = target / source.name / name
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16)
            texts_of = {"dataset": texts, "max_seq_length": 64, "num_calibration_samples": 8, "processor": tokenizer}
            oneshot(model=model, recipe=recipe, **texts_of)
            model.save_pretrained(folder, save_compressed=True)
            store(folder)


main()
