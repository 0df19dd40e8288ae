"""Quantized checkpoints of bitsandbytes, torchao and modelopt's INT4 that are torn or inconsistent, and schemes that
are not read: one line that names the thing and what to take instead.
"""

import json
from pathlib import Path
from typing import Any

import byte_packers
import packers
import pytest
import torch
from packed_module import NAME, opened
from test_packed_errors import ONES, WEIGHT, bytes_of, whole
from test_packed_matrices import BYTES, MODELOPT, pack_of, quark_config, torchao_config

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.packed.refused import REFUSED
from qwill.weights.packed.schemes import read_scheme

NF4, NESTED, INT8 = byte_packers.bitsandbytes(), byte_packers.bitsandbytes(nested=True), byte_packers.llm_int8()
INT4, MXFP8 = byte_packers.torchao_integers(4, 32), byte_packers.torchao_floats("mxfp8", True)
STATE = ".weight.quant_state.bitsandbytes__nf4"
LINES = torch.arange(64 * 128).reshape(64, 128)


def state(**changes: Any) -> torch.Tensor:
    said = {"quant_type": "nf4", "blocksize": 64, "shape": [64, 128], "dtype": "bfloat16"} | changes
    return raw(json.dumps({key: value for key, value in said.items() if value is not None}).encode())


def raw(text: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


# Packer, configuration, what is put in place of which tensor (None: left out), words of the message.
BROKEN: list[tuple[packers.Packer, dict[str, Any], dict[str, torch.Tensor | None], str]] = [
    (NF4, BYTES, {STATE: None}, r"o_proj\.weight\.quant_state\.bitsandbytes__nf4 beside it; download"),
    (NF4, BYTES, {".weight": None}, r"o_proj\.weight beside it"),
    (NF4, BYTES, {".weight.absmax": None}, r"o_proj\.weight\.absmax beside it"),
    (NF4, BYTES, {".weight.quant_map": None}, r"o_proj\.weight\.quant_map beside it"),
    (NF4, BYTES, {".weight.quant_map": ONES(15)}, "has 15 numbers, expected 16"),
    (NF4, BYTES, {".weight.quant_map": ONES(16) * torch.nan}, "NaN or infinity"),
    (NF4, BYTES, {".weight.absmax": ONES(127)}, r"needs \[128\]"),
    (NF4, BYTES, {".weight.absmax": ONES(128) * torch.inf}, "NaN or infinity"),
    (NF4, BYTES, {".weight": bytes_of(4000, 1)}, "holds 4000 bytes, 64 x 128 codes of 4 bits need 4096"),
    (NF4, BYTES, {STATE: raw(b"\x80{")}, "is no JSON"),
    (NF4, BYTES, {STATE: raw(b"[" * 9000)}, "is no JSON"),
    (NF4, BYTES, {STATE: raw(b"[]")}, "is no object"),
    (NF4, BYTES, {STATE: state(shape=[64])}, r"says the shape \[64\], expected rows and columns"),
    (NF4, BYTES, {STATE: state(shape=[-64, -128])}, "expected rows and columns"),
    (NF4, BYTES, {STATE: state(shape=None)}, "says the shape None"),
    (NF4, BYTES, {STATE: state(blocksize=0)}, "says the blocksize 0, expected a power of two"),
    (NF4, BYTES, {STATE: state(blocksize=[64])}, "expected a power of two"),
    (NF4, BYTES, {STATE: state(nested_blocksize=256)}, "says the nested_offset None, expected a number"),
    (NF4, BYTES, {STATE: state(nested_blocksize=255, nested_offset=1)}, "nested_blocksize 255"),
    (NESTED, BYTES, {".weight.nested_absmax": ONES(2)}, r"needs \[1\]"),
    (NESTED, BYTES, {".weight.nested_absmax": None}, r"nested_absmax beside it"),
    (INT8, BYTES, {".SCB": ONES(63)}, r"needs \[64\]"),
    (INT8, BYTES, {".SCB": ONES(64) * torch.nan}, "NaN or infinity"),
    (INT8, BYTES, {".weight": WEIGHT}, "is stored as F32, expected I8"),
    (INT8, BYTES, {".weight_format": bytes_of(1)}, "only codes that lie by rows"),
    (INT4, torchao_config("int4"), {"._weight_qdata": None}, r"o_proj\._weight_qdata beside it"),
    (INT4, torchao_config("int4"), {"._weight_scale": None}, r"o_proj\._weight_scale beside it"),
    (INT4, torchao_config("int4"), {"._weight_qdata": LINES.to(torch.int8)}, "holds numbers of more than 4 bits"),
    (INT4, torchao_config("int4"), {"._weight_act_pre_scale": ONES(128)}, "factors of input channels"),
    (INT4, torchao_config("int4"), {"._weight_scale_and_zero": ONES(4, 64, 2)}, "torchao's Int4TilePackedTo4dTensor"),
    (INT4, torchao_config("int4"), {"._weight_qdata": whole(64, 16)}, "Int4PlainInt32Tensor, a layout for one kind"),
    (INT4, torchao_config("int4"), {"._weight_qdata": bytes_of(64, 64)}, "torchao's Int4Tensor.* IntxWeightOnlyConfig"),
    (MXFP8, torchao_config(), {"._weight_scale": bytes_of(64, 3).view(torch.float8_e8m0fnu)}, r"needs \[64, 4\]"),
    (
        byte_packers.int4_rows(),
        MODELOPT,
        {".weight_scale": ONES(32, 4)},
        r"shape \[32, 4\] for a matrix of 64 rows",
    ),
    (byte_packers.int4_rows(), MODELOPT, {".weight_scale": ONES(64, 3)}, "3 groups cannot divide 128"),
    (packers.pack_quantized(3), pack_of(3), {".weight_packed": whole(64, 13)}, "of an older compressed-tensors"),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_what_does_not_fit_is_named(number: int, tmp_path: Path) -> None:
    packer, quantization, changes, words = BROKEN[number]
    tensors = {ending: each for ending, each in (packer(WEIGHT)[0] | changes).items() if each is not None}
    with pytest.raises(CheckpointError, match=words) as raised:
        opened(tmp_path, tensors, quantization).in_memory()
    assert str(raised.value).startswith(f"{tmp_path / 'model.safetensors'} ({NAME}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", REFUSED)
def test_what_is_not_read_is_named_with_what_to_take(method: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="is not supported; use ") as raised:
        read_scheme(tmp_path, {"quant_method": method.upper()})
    assert REFUSED[method].what in str(raised.value)
    assert str(raised.value).endswith(REFUSED[method].instead)


def test_some_of_the_advice(tmp_path: Path) -> None:
    for method, words in (
        (
            "aqlm",
            r"'aqlm' \(AQLM, sums of codebook vectors\) is not supported; use a GGUF file of its size, such",
        ),
        ("exl3", r"'exl3' \(EXL3, trellis codes of rotated weights for ExLlamaV3\) .*Q4_K_M, or a GPTQ"),
        ("fp_quant", r"FP-Quant.*use an NVFP4 folder of modelopt or llm-compressor"),
        ("gguf", r"use the \.gguf file itself"),
        ("of-next-year", "quantization 'of-next-year' is not supported; use the BF16 or FP8 release, or a GGUF"),
    ):
        with pytest.raises(UnsupportedModel, match=words):
            read_scheme(tmp_path, {"quant_method": method})


@pytest.mark.parametrize("data_type", ["mx_int", "nvfp4_v2", "int_sym_gptq"])
def test_auto_rounds_other_numbers_are_named(data_type: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=f"AutoRound's data_type '{data_type}' is not supported, only int"):
        read_scheme(tmp_path, {"quant_method": "auto-round", "bits": 4, "data_type": data_type})


def test_quarks_other_numbers_are_named(tmp_path: Path) -> None:
    two = {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int2", "qscheme": "per_group"}}}
    rows = {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int4", "qscheme": "per_channel"}}}
    several = quark_config("int4") | {"layer_quant_config": {"*": quark_config("uint4")["global_quant_config"]}}
    for quantization, words in (
        (two, "Quark's int2 per_group is not supported, only int4 or uint4 per_group, int8"),
        (rows, "Quark's int4 per_channel is not supported"),
        (several, "Quark's int4 beside uint4 is not supported"),
    ):
        with pytest.raises(UnsupportedModel, match=words):
            read_scheme(tmp_path, quantization)
    for strange in ({}, {"global_quant_config": None}, {"global_quant_config": {"weight": [1]}}, {"export": 3}):
        assert read_scheme(tmp_path, {"quant_method": "quark"} | strange).name == "quark"
