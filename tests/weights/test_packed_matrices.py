"""Quantized matrices of every scheme, in random shapes, against the values that the tests' own packers say."""

from pathlib import Path
from typing import Any

import byte_packers
import numpy as np
import packers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_module import opened

from qwill.quant.codecs import decode
from qwill.weights.lazy import LazyParts
from qwill.weights.tensor import Tensor

HALF, BRAIN, SINGLE = torch.float16, torch.bfloat16, torch.float32


def values_of(tensor: Tensor) -> np.ndarray:
    values = decode(tensor.type, tensor.parts[0], tensor.shape)
    if tensor.scales is not None:
        rows, columns = tensor.shape
        blocks = tensor.scales[0]
        by_row = blocks.shape == (rows, 1)
        values *= blocks if by_row else np.repeat(np.repeat(blocks, 128, 0), 128, 1)[:rows, :columns]
    return values


def check(
    folder: Path, packer: packers.Packer, quantization: dict[str, Any], weight: torch.Tensor, expected: str
) -> Tensor:
    """Values that are equal to the bit, in the expected type."""
    tensors, values = packer(weight)
    tensor = opened(folder, tensors, quantization)
    assert tensor.shape == tuple(weight.shape)
    np.testing.assert_array_equal(values_of(tensor), values.float().numpy())
    assert tensor.type.name == expected
    return tensor


def random(rows: int, columns: int, scale: float = 0.05) -> torch.Tensor:
    return torch.randn(rows, columns) * scale


def gptq_config(bits: int = 4, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": 32} | more


PACK = packers.compressed_config("pack-quantized", num_bits=4, type="int", strategy="group", group_size=32)
PACK8 = packers.compressed_config("pack-quantized", num_bits=8, type="int", strategy="channel")
INT8 = packers.compressed_config("int-quantized", num_bits=8, type="int", strategy="channel")
NVFP4 = packers.compressed_config("nvfp4-pack-quantized", num_bits=4, type="float", group_size=16)
MXFP4 = packers.compressed_config("mxfp4-pack-quantized", num_bits=4, type="float", group_size=32)
MXFP8 = packers.compressed_config("mxfp8-quantized", num_bits=8, type="float", group_size=32)
FP8 = packers.compressed_config("float-quantized", num_bits=8, type="float")
MODELOPT = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
AWQ = {"quant_method": "awq", "bits": 4, "version": "gemm"}
BYTES = {"quant_method": "bitsandbytes"}


def pack_of(bits: int) -> dict[str, Any]:
    return packers.compressed_config("pack-quantized", num_bits=bits, type="int", strategy="group", group_size=32)


def quark_config(dtype: str, method: str = "reorder") -> dict[str, Any]:
    weight = {"dtype": dtype, "qscheme": "per_group", "group_size": 32}
    return {"quant_method": "quark", "export": {"pack_method": method}, "global_quant_config": {"weight": weight}}


def torchao_config(dtype: str = "int8") -> dict[str, Any]:
    said = {"weight_dtype": {"_type": "torch.dtype", "_data": dtype}}
    return {"quant_method": "torchao", "quant_type": {"default": {"_type": "IntxWeightOnlyConfig", "_data": said}}}


# Packer, configuration, type.
CASES: dict[str, tuple[packers.Packer, dict[str, Any], str]] = {
    "gptq": (packers.gptq(), gptq_config(sym=True), "Q4_0"),
    "gptq-v2": (packers.gptq(second_version=True), gptq_config(checkpoint_format="gptq_v2"), "Q4_0"),
    "gptq-asymmetric": (packers.gptq(symmetric=False), gptq_config(), "Q5_0"),
    "gptq-v2-asymmetric": (packers.gptq(symmetric=False, second_version=True), gptq_config(format="gptq_v2"), "Q5_0"),
    "gptq-whole-rows": (packers.gptq(group=-1), gptq_config(), "Q4_0"),
    "gptq-without-g_idx": (packers.gptq(g_idx=False, group=64), gptq_config(), "Q4_0"),
    "gptq-act-order": (packers.gptq(act_order=True, group=32), gptq_config(desc_act=True), "F32"),
    "gptq-groups-of-16": (packers.gptq(group=16), gptq_config(), "F32"),
    "gptq-bf16": (packers.gptq(dtype=BRAIN), gptq_config(), "Q4_0"),
    "gptq-f32": (packers.gptq(dtype=SINGLE), gptq_config(), "F32"),
    "gptq-f32-whole-rows": (packers.gptq(group=-1, dtype=SINGLE), gptq_config(), "Q4_0"),
    "gptq-8-f32-whole-rows": (packers.gptq(8, group=-1, dtype=SINGLE), gptq_config(8), "Q8_0"),
    "gptq-2": (packers.gptq(2), gptq_config(2), "Q4_0"),
    "gptq-3": (packers.gptq(3), gptq_config(3), "Q4_0"),
    "gptq-3-asymmetric": (packers.gptq(3, symmetric=False), gptq_config(3), "Q4_0"),
    "gptq-8": (packers.gptq(8), gptq_config(8), "Q8_0"),
    "gptq-8-asymmetric": (packers.gptq(8, symmetric=False), gptq_config(8), "F32"),
    "gptq-mixed": (packers.gptq(8), gptq_config(4, dynamic={"+:.*o_proj": {"bits": 8}}), "Q8_0"),
    "auto-round": (packers.gptq(), {"quant_method": "auto-round", "bits": 4}, "Q4_0"),
    "awq": (packers.awq(), AWQ, "Q5_0"),
    "awq-bf16": (packers.awq(64, BRAIN), AWQ, "Q5_0"),
    "auto-round-awq": (packers.awq(), {"quant_method": "auto-round", "packing_format": "auto_round:auto_awq"}, "Q5_0"),
    "packed": (packers.pack_quantized(), PACK, "Q4_0"),
    "packed-f16": (packers.pack_quantized(dtype=HALF), PACK, "Q4_0"),
    "packed-f32": (packers.pack_quantized(dtype=SINGLE), PACK, "F32"),
    "packed-channels": (packers.pack_quantized(group=-1), PACK, "Q4_0"),
    "packed-asymmetric": (packers.pack_quantized(symmetric=False), PACK, "Q5_0"),
    "packed-signed-zeros": (packers.pack_quantized(symmetric=False, signed_zeros=True), PACK, "Q5_0"),
    "packed-g_idx": (packers.pack_quantized(act_order=True), PACK, "F32"),
    "packed-8": (packers.pack_quantized(8, group=-1), PACK8, "Q8_0"),
    "int8-f32": (packers.int_quantized(dtype=SINGLE), INT8, "Q8_0"),
    "packed-8-f32": (packers.pack_quantized(8, group=-1, dtype=SINGLE), PACK8, "Q8_0"),
    "packed-8-asymmetric": (packers.pack_quantized(8, symmetric=False), PACK8, "F32"),
    "int8": (packers.int_quantized(), INT8, "Q8_0"),
    "int8-asymmetric": (packers.int_quantized(symmetric=False), INT8, "F32"),
    "nvfp4-modelopt": (packers.nvfp4(), MODELOPT, "NVFP4"),
    "nvfp4-compressed": (packers.nvfp4(compressed=True), NVFP4, "NVFP4"),
    "nvfp4-without-factor": (packers.nvfp4(factor=1.0), MODELOPT, "NVFP4"),
    "mxfp4-quark": (packers.mxfp4(), {"quant_method": "quark"}, "MXFP4"),
    "mxfp4-compressed": (packers.mxfp4(".weight_packed"), MXFP4, "MXFP4"),
    "fp8": (packers.fp8(), FP8, "F8_E4M3"),
    "fp8-modelopt": (packers.fp8(), {"quant_method": "modelopt", "quant_algo": "FP8"}, "F8_E4M3"),
    "fp8-blocks": (packers.fp8("block"), FP8, "F8_E4M3"),
    "fp8-channels": (packers.fp8("channel", BRAIN), FP8, "F8_E4M3"),
    "fp8-modelopt-channels": (packers.fp8("channel"), {"quant_method": "modelopt", "quant_algo": "FP8"}, "F8_E4M3"),
    "fp8-modelopt-blocks": (packers.fp8("modelopt block"), {"quant_method": "modelopt"}, "F8_E4M3"),
    "fp8-quark-channels": (packers.fp8("channel"), {"quant_method": "quark"}, "F8_E4M3"),
    "mxfp8": (packers.mxfp8(), MXFP8, "MXFP8"),
    "mxfp8-modelopt": (packers.mxfp8(), {"quant_method": "modelopt", "quant_algo": "MXFP8"}, "MXFP8"),
    "fp8-fbgemm": (packers.fp8("channel"), {"quant_method": "fbgemm_fp8"}, "F8_E4M3"),
    "fp8-static": (packers.fp8(), {"quant_method": "fp8", "activation_scheme": "static"}, "F8_E4M3"),
    "fp8-inverse": (packers.fp8(name=".weight_scale_inv"), {"quant_method": "fp8"}, "F8_E4M3"),
    "packed-1": (packers.pack_quantized(1), pack_of(1), "Q4_0"),
    "packed-3": (packers.pack_quantized(3), pack_of(3), "Q4_0"),
    "packed-3-asymmetric": (packers.pack_quantized(3, symmetric=False), pack_of(3), "Q4_0"),
    "packed-5": (packers.pack_quantized(5), pack_of(5), "Q5_0"),
    "packed-6-asymmetric": (packers.pack_quantized(6, symmetric=False), pack_of(6), "Q8_0"),
    "packed-7": (packers.pack_quantized(7), pack_of(7), "Q8_0"),
    "nf4": (byte_packers.bitsandbytes(), BYTES, "F32"),
    "nf4-large-blocks": (byte_packers.bitsandbytes(size=1024), BYTES, "F32"),
    "nf4-nested": (byte_packers.bitsandbytes(nested=True), BYTES, "F32"),
    "fp4-in-bfloat16": (byte_packers.bitsandbytes("fp4", storage=BRAIN), BYTES, "F32"),
    "llm-int8": (byte_packers.llm_int8(), BYTES, "F32"),
    "torchao-int8": (byte_packers.torchao_integers(), torchao_config(), "Q8_0"),
    "torchao-int4": (byte_packers.torchao_integers(4, 32), torchao_config("int4"), "Q4_0"),
    "torchao-int4-asymmetric": (byte_packers.torchao_integers(4, 32, False), torchao_config("int4"), "Q5_0"),
    "torchao-int4-of-several": (byte_packers.torchao_integers(4, 32), torchao_config("int8"), "Q8_0"),
    "torchao-float8": (byte_packers.torchao_floats("float8", False), torchao_config(), "F8_E4M3"),
    "torchao-mxfp8": (byte_packers.torchao_floats("mxfp8", True), torchao_config(), "MXFP8"),
    "torchao-mxfp4": (byte_packers.torchao_floats("mxfp4", True), torchao_config(), "MXFP4"),
    "torchao-mxfp4-plain": (byte_packers.torchao_floats("mxfp4", False), torchao_config(), "MXFP4"),
    "torchao-nvfp4": (byte_packers.torchao_floats("nvfp4", True), torchao_config(), "NVFP4"),
    "torchao-nvfp4-plain": (byte_packers.torchao_floats("nvfp4", False), torchao_config(), "NVFP4"),
    "quark-int4": (byte_packers.quark(), quark_config("int4"), "Q4_0"),
    "quark-int4-in-order": (byte_packers.quark(reorder=False), quark_config("int4", "order"), "Q4_0"),
    "quark-uint4": (byte_packers.quark(symmetric=False), quark_config("uint4"), "Q5_0"),
    "int4-modelopt": (byte_packers.int4_rows(), MODELOPT, "Q4_0"),
    "int4-modelopt-f32": (byte_packers.int4_rows(64, SINGLE), MODELOPT, "F32"),
    "int4-modelopt-w4a8": (byte_packers.int4_rows(second=True), MODELOPT, "Q4_0"),
    "int4-modelopt-factors": (byte_packers.with_channel_factors(byte_packers.int4_rows()), MODELOPT, "F32"),
    "fp8-modelopt-factors": (byte_packers.with_channel_factors(packers.fp8("channel")), MODELOPT, "F32"),
}


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_the_packer(case: str, tmp_path: Path) -> None:
    torch.manual_seed(len(case))
    packer, quantization, expected = CASES[case]
    check(tmp_path, packer, quantization, random(96, 192), expected)


@pytest.mark.parametrize("case", ["gptq", "awq", "packed-asymmetric", "nvfp4-modelopt"])
def test_matrices_of_several_steps(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More values than are worked on together, the last step smaller than the others."""
    monkeypatch.setattr("qwill.weights.packed.matrix.CHUNK_VALUES", 1 << 14)
    packer, quantization, expected = CASES[case]
    check(tmp_path, packer, quantization, random(328, 192), expected)


@settings(max_examples=40, deadline=None)
@given(
    case=st.sampled_from([case for case in CASES if "act-order" not in case]),
    rows=st.integers(1, 12),
    columns=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-3, 0.05, 30.0]),
)
def test_any_shape(
    case: str, rows: int, columns: int, seed: int, size: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Shapes in whole words, blocks and groups; some values zero, one row all zeros."""
    torch.manual_seed(seed)
    packer, quantization, _ = CASES[case]
    weight = random(32 * rows, 64 * columns, size)
    weight[torch.rand_like(weight) < 0.1] = 0
    tensors, values = packer(weight)
    tensor = opened(tmp_path_factory.mktemp("any"), tensors, quantization)
    np.testing.assert_array_equal(values_of(tensor), values.float().numpy())


@pytest.mark.parametrize("columns", [16, 80, 208])
def test_nvfp4_rows_of_no_whole_blocks_are_widened(columns: int, tmp_path: Path) -> None:
    check(tmp_path, packers.nvfp4(), MODELOPT, random(40, columns), "F32")


@pytest.mark.parametrize("columns", [40, 100])
def test_rows_of_no_whole_blocks_are_widened(columns: int, tmp_path: Path) -> None:
    check(tmp_path, packers.pack_quantized(group=-1), PACK, random(40, columns), "F32")
    check(tmp_path, packers.pack_quantized(8, group=-1), PACK8, random(40, columns), "F32")


def test_scales_that_are_no_halves_widen_a_matrix(tmp_path: Path) -> None:
    """BF16 scales that half precision would round or lose: too small and too large ones."""
    tensors, _ = packers.pack_quantized()(random(32, 64))
    small = 2.0**-24
    for scale, expected in ((2.0**-17, "Q4_0"), (small, "Q4_0"), (1.5 * small, "F32"), (1e5, "F32"), (0.0, "Q4_0")):
        tensors[".weight_scale"][5, 1] = scale
        tensor = opened(tmp_path, tensors, PACK)
        assert tensor.type.name == expected
        levels = values_of(tensor)[5, 32:] / (tensors[".weight_scale"][5, 1].item() or 1)
        assert np.array_equal(levels, levels.round())
        assert np.abs(levels).max() <= 8


def test_columns_in_the_order_of_their_blocks_need_no_widening(tmp_path: Path) -> None:
    """A g_idx that permutes whole blocks leaves each block one scale."""
    tensors, _ = packers.gptq(group=32)(random(32, 256))
    shuffled = torch.randperm(8).repeat_interleave(32).to(torch.int32)
    tensors[".g_idx"] = shuffled
    tensor = opened(tmp_path, tensors, gptq_config())
    assert tensor.type.name == "Q4_0"
    scales = tensors[".scales"].T[:, shuffled.long()].float()
    codes = values_of(tensor) / scales.numpy()
    assert np.array_equal(codes, codes.round())


def test_first_version_has_zeros_less_one(tmp_path: Path) -> None:
    """The same words read as either version differ by one scale in every value."""
    tensors, values = packers.gptq()(random(32, 64))
    second = values_of(opened(tmp_path, tensors, gptq_config(checkpoint_format="gptq_v2")))
    scales = tensors[".scales"].T.repeat_interleave(32, 1).double()
    np.testing.assert_array_equal(second, (values + scales).float().numpy())


def test_a_part_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    tensor = opened(tmp_path, packers.gptq()(random(32, 64))[0], gptq_config())
    assert tensor.nbytes == 32 * 2 * 18
    part = tensor.parts[0]
    assert tensor.parts[0] is part
    assert tensor.in_memory().parts[0] is not part
    assert np.array_equal(tensor.in_memory().parts[0], part)
    assert [array.nbytes for array in tensor.stored] == [32 * 32, 32 * 2 * 2]


def test_rows_are_made_by_themselves(tmp_path: Path) -> None:
    """Any rows in any order, for what writes a tensor a few rows at a time or permutes them."""
    generator = np.random.default_rng(11)
    for case in ("gptq-asymmetric", "awq", "packed-asymmetric", "nvfp4-modelopt", "gptq-8"):
        packer, quantization, _ = CASES[case]
        tensor = opened(tmp_path, packer(random(136, 64))[0], quantization)
        whole = tensor.parts[0].reshape(136, -1)
        for numbers in (
            np.arange(136),
            np.arange(40, 77),
            np.array([135]),
            np.array([130, 3, 3, 64]),
            generator.permutation(136),
            generator.integers(0, 136, 9),
        ):
            assert isinstance(tensor.parts, LazyParts)
            np.testing.assert_array_equal(tensor.parts.rows(0, numbers), whole[numbers])
