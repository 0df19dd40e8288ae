"""What qwill reads in a quantizer's folder, beside the values that the quantizer itself makes of it."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import transformers
from model.harness import Ours, assert_same_logits, random_prompt, reference_logits

from qwill.quant.codecs import decode
from qwill.weights.load import open_checkpoint
from qwill.weights.tensor import Tensor

PROMPT = 24


def plain_folder(source: Path, made: Path) -> Path:
    """A folder beside `made` with the values that its maker stored, not quantized."""
    plain = made.with_name(f"{made.name}-plain")
    shutil.copytree(source, plain, ignore=shutil.ignore_patterns("*.safetensors*"))
    shutil.copy(made.with_name(f"{made.name}-values.safetensors"), plain / "model.safetensors")
    return plain


def values_of(tensor: Tensor) -> np.ndarray:
    """float32 of a tensor's shape."""
    rows, columns = tensor.shape[-2:] if len(tensor.shape) > 1 else (1, tensor.shape[0])
    parts = []
    for number, part in enumerate(tensor.parts):
        values = decode(tensor.type, part, (rows, columns))
        if tensor.scales is not None:
            scales = tensor.scales[number]
            if scales.shape != (rows, 1):
                scales = np.repeat(np.repeat(scales, 128, 0), 128, 1)[:rows, :columns]
            values = values * scales
        parts.append(values)
    return np.stack(parts).reshape(tensor.shape)


def assert_reads(source: Path, made: Path, types: Iterable[str], units: int = 0) -> None:
    """Every value is the maker's own to the bit, and the logits are those of transformers with these values.

    `types`: those of the quantized matrices, beside which F32 and BF16 hold the rest. `units` in the last place may lie
    between values where the maker rounds twice: NVFP4's two scales are multiplied first, in float32.
    """
    plain = plain_folder(source, made)
    ours = Ours(made, "reference")
    expected = {tensor.name: tensor for tensor in open_checkpoint(plain).tensors}
    got = {tensor.name: tensor for tensor in open_checkpoint(made).tensors}
    assert got.keys() == expected.keys()
    for name, tensor in got.items():
        np.testing.assert_array_max_ulp(values_of(tensor), values_of(expected[name]), units)
    rest = {"F32", "BF16"}
    assert {tensor.type.name for tensor in got.values()} - rest == set(types) - rest
    prompt = random_prompt(np.random.default_rng(), PROMPT, ours.config.text.vocab_size)
    assert_same_logits(ours.logits(prompt), reference_logits(transformers_model(plain), prompt))


def transformers_model(folder: Path) -> torch.nn.Module:
    whole = "vision_config" in json.loads((folder / "config.json").read_text())
    kind = transformers.AutoModelForImageTextToText if whole else transformers.AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32).eval()
