"""Quantized checkpoints that are torn, inconsistent or of a kind that is not read: one line that names the thing."""

from pathlib import Path
from typing import Any

import packers
import pytest
import torch
from checkpoints import edit_json, save_hf, tiny_config, write_shards
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_module import NAME, opened
from test_packed_matrices import AWQ, CASES, FP8, INT8, MODELOPT, MXFP4, NVFP4, PACK, gptq_config

from qwill.errors import CheckpointError, UnsupportedModel, UserError
from qwill.weights.load import open_checkpoint
from qwill.weights.packed.schemes import read_scheme

QUARK = {"quant_method": "quark"}
WEIGHT = torch.linspace(-1, 1, 64 * 128).reshape(64, 128)
ONES = torch.ones
SHORT = torch.ones(8, 3)


def whole(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.int32)


def bytes_of(*shape: int) -> torch.Tensor:
    return torch.full(shape, 255, dtype=torch.uint8)


# Packer, configuration, what is put in place of which tensor (None: left out), words of the message.
BROKEN: list[tuple[packers.Packer, dict[str, Any], dict[str, torch.Tensor | None], str]] = [
    (packers.gptq(), gptq_config(), {".scales": None}, r"has no model\.layers\.3\.self_attn\.o_proj\.scales beside it"),
    (packers.gptq(), gptq_config(), {".qzeros": None}, r"o_proj\.qzeros beside it; download"),
    (packers.gptq(), gptq_config(), {".qweight": None}, r"o_proj\.qweight beside it"),
    (packers.gptq(), gptq_config(), {".qweight": whole(16, 60)}, r"\[16, 60\]; .*scales of \[4, 64\] needs \[16, 64\]"),
    (packers.gptq(), gptq_config(), {".qweight": whole(16)}, "expected 2 dimensions"),
    (packers.gptq(), gptq_config(), {".qweight": ONES(16, 64)}, "is stored as F32, expected I32"),
    (packers.gptq(), gptq_config(), {".qzeros": whole(4, 7)}, r"is no 4-bit zero for each of the scales \[4, 64\]"),
    (packers.gptq(8), gptq_config(4), {}, "is no 4-bit zero"),
    (packers.gptq(), gptq_config(), {".g_idx": whole(127)}, r"expected a group for each of 128 columns"),
    (packers.gptq(), gptq_config(), {".g_idx": whole(128) + 4}, "names group 4 of 4"),
    (packers.gptq(), gptq_config(), {".g_idx": whole(128) - 1}, "damaged"),
    (packers.gptq(), gptq_config(), {".g_idx": ONES(128)}, "is F32"),
    (packers.gptq(3), gptq_config(3), {".qweight": whole(13, 64)}, "no whole number of 3-bit codes"),
    (packers.gptq(), gptq_config(), {".scales": ONES(4, 64, dtype=torch.half) * torch.nan}, "NaN or infinity"),
    (packers.gptq(act_order=True), gptq_config(), {".scales": ONES(4, 64) * torch.inf}, "NaN or infinity"),
    (packers.awq(), AWQ, {".scales": ONES(4, 60)}, r"\[4, 60\]; .*qweight of \[128, 8\] needs \[4, 64\]"),
    (packers.awq(), AWQ, {".qzeros": whole(3, 8)}, r"needs \[4, 8\]"),
    (packers.awq(), AWQ, {".scales": ONES(3, 64)}, "3 groups cannot divide 128 columns"),
    (packers.awq(), AWQ, {".qzeros": None}, r"o_proj\.qzeros beside it"),
    (packers.pack_quantized(), PACK, {".weight_shape": None}, r"o_proj\.weight_shape beside it"),
    (packers.pack_quantized(), PACK, {".weight_scale": None}, r"o_proj\.weight_scale beside it"),
    (packers.pack_quantized(), PACK, {".weight_packed": None}, r"o_proj\.weight beside it"),
    (
        packers.pack_quantized(),
        PACK,
        {".weight_shape": torch.tensor([64, 136])},
        "does not hold 64 x 136 codes of 4 bits",
    ),
    (packers.pack_quantized(), PACK, {".weight_shape": torch.tensor([64, -8])}, "does not hold 64 x -8"),
    (packers.pack_quantized(), PACK, {".weight_shape": torch.tensor([64])}, "expected rows and columns"),
    (packers.pack_quantized(8), PACK, {}, "codes of 4 bits"),
    (packers.pack_quantized(), PACK, {".weight_scale": ONES(60, 4)}, "for a matrix of 64 rows"),
    (packers.pack_quantized(), PACK, {".weight_scale": ONES(64, 3)}, "3 groups cannot divide 128"),
    (packers.pack_quantized(symmetric=False), PACK, {".weight_zero_point": whole(7, 4)}, r"needs \[8, 4\]"),
    (packers.pack_quantized(symmetric=False), PACK, {".weight_zero_point": ONES(8, 4)}, "expected I32 or I8"),
    (
        packers.int_quantized(),
        INT8,
        {".weight_scale": None, ".weight_zero_point": ONES(64, 1)},
        "weight_scale beside it",
    ),
    (packers.int_quantized(), INT8, {".weight": ONES(64, 128)}, "is stored as F32 with scales"),
    (packers.nvfp4(), MODELOPT, {".weight_scale_2": None}, r"o_proj\.weight_scale_2 beside it"),
    (packers.nvfp4(), MODELOPT, {".weight_scale_2": SHORT}, "expected 1 dimensions"),
    (packers.nvfp4(), MODELOPT, {".weight_scale_2": ONES(2)}, "expected a single number"),
    (packers.nvfp4(), MODELOPT, {".weight_scale_2": torch.zeros(())}, "expected a positive number"),
    (packers.nvfp4(), MODELOPT, {".weight_scale_2": ONES(1) * torch.nan}, "is nan, expected"),
    (packers.nvfp4(), MODELOPT, {".weight_scale": ONES(64, 7).to(torch.float8_e4m3fn)}, r"needs \[64, 8\]"),
    (packers.nvfp4(), MODELOPT, {".weight_scale": (-ONES(64, 8)).to(torch.float8_e4m3fn)}, "negative or NaN"),
    (packers.nvfp4(), MODELOPT, {".weight_scale": whole(64, 8)}, "expected F8_E4M3"),
    (packers.nvfp4(), MODELOPT, {".weight": None}, r"o_proj\.weight beside it"),
    (packers.nvfp4(), MODELOPT, {".pre_quant_scale": ONES(127)}, "no finite factor for each of 128 columns"),
    (packers.nvfp4(), MODELOPT, {".pre_quant_scale": ONES(128) * torch.inf}, "no finite factor for each of 128"),
    (packers.nvfp4(True), NVFP4, {".weight_global_scale": None}, r"o_proj\.weight_scale_2 beside it"),
    (packers.mxfp4(), QUARK, {".weight_scale": bytes_of(64, 3)}, r"needs \[64, 4\]"),
    (packers.mxfp4(".weight_packed"), MXFP4, {".weight_packed": bytes_of(64, 60)}, r"needs \[64, 3\]"),
    (packers.fp8(), FP8, {".weight_scale": None, ".weight_shape": whole(2)}, r"o_proj\.weight_scale beside it"),
    (packers.fp8(), FP8, {".weight_scale": ONES(63)}, r"has shape \[63\]; \[64, 128\] has one scale, 64 or \[1, 1\]"),
    (packers.fp8(), FP8, {".weight_scale": ONES(1) * torch.nan}, "not finite"),
    (packers.fp8(), FP8, {".weight": ONES(64, 128, dtype=torch.int64)}, "is stored as I64 with scales"),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_what_does_not_fit_is_named(number: int, tmp_path: Path) -> None:
    packer, quantization, changes, words = BROKEN[number]
    tensors = {ending: each for ending, each in (packer(WEIGHT)[0] | changes).items() if each is not None}
    with pytest.raises(CheckpointError, match=words) as raised:
        opened(tmp_path, tensors, quantization).in_memory()
    assert str(raised.value).startswith(f"{tmp_path / 'model.safetensors'} ({NAME}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (gptq_config(5), "GPTQ of 5 bits is not supported, only of 2, 3, 4 and 8"),
        (gptq_config(checkpoint_format="marlin"), "GPTQ in the format 'marlin'"),
        (AWQ | {"version": "gemv"}, "AWQ 'gemv' of 4 bits"),
        (AWQ | {"bits": 8}, "AWQ 'gemm' of 8 bits"),
        ({"quant_method": "auto-round", "packing_format": "auto_round:fp8"}, "packing_format 'auto_round:fp8'"),
        ({"quant_method": "compressed-tensors"}, "has no config_groups"),
        (PACK | {"config_groups": {"group_0": 3}}, "has no config_groups"),
        (PACK | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse-24-bitmask"),
        (PACK | {"transform_config": {"config_groups": {"u": {}}}}, "rotated weights"),
        ({"bits": 4}, "quantization None is not supported"),
    ],
)
def test_unread_kinds_are_named(quantization: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_scheme(tmp_path, quantization)


def test_places_that_hold_no_quantized_matrix(tmp_path: Path) -> None:
    tensors = packers.pack_quantized()(WEIGHT)[0]
    for name, error, words in (
        ("model.layers.0.strange", CheckpointError, "model.layers.0.strange belongs to no part of this model"),
        ("model.layers.0.input_layernorm", UnsupportedModel, "a quantized tensor of this kind"),
        ("model.layers.0.mlp.experts.gate_up_proj", UnsupportedModel, "a quantized tensor of this kind"),
        ("model.layers.0.mlp.shared_expert_gate", CheckpointError, "has 64 rows, expected one"),
        (
            "model.layers.0.mlp.experts.1.gate_proj",
            CheckpointError,
            "expert 0 of layers.0.mlp.experts.gate_proj is missing",
        ),
    ):
        with pytest.raises(error, match=words):
            opened(tmp_path, tensors, PACK, name)


def test_broken_experts_in_the_form_of_gpt_oss(tmp_path: Path) -> None:
    name, quantization = "model.layers.0.mlp.experts.down_proj", {"quant_method": "mxfp4"}
    tensors = packers.mxfp4_experts(WEIGHT.reshape(2, 64, 64))[0]
    assert opened(tmp_path, tensors, quantization, name).shape == (2, 64, 64)
    for changes, words in (
        ({"_scales": bytes_of(2, 64, 3)}, r"needs \[2, 64, 2\]"),
        ({"_blocks": bytes_of(2, 64, 2, 8)}, "has blocks of 8 bytes"),
        ({"_blocks": bytes_of(2, 64, 32)}, "expected 4 dimensions"),
    ):
        with pytest.raises(CheckpointError, match=words):
            opened(tmp_path, tensors | changes, quantization, name)
    with pytest.raises(CheckpointError, match=r"has no .*down_proj_scales beside it"):
        opened(tmp_path, {"_blocks": tensors["_blocks"]}, quantization, name)
    with pytest.raises(UnsupportedModel, match="equal halves"):
        opened(tmp_path, tensors, quantization, "model.layers.0.self_attn.q_proj.weight")


def test_a_checkpoint_says_what_is_wrong_with_its_experts(tmp_path: Path) -> None:
    config = tiny_config(moe=True, num_experts=3)
    state, _ = packers.quantize_state(save_hf(tmp_path, config, packed=False).state, packers.pack_quantized())
    edit_json(tmp_path / "config.json", quantization_config=PACK)
    stem = "model.layers.0.mlp.experts."
    one = {name: tensor for name, tensor in state.items() if name.startswith(f"{stem}1.up_proj")}
    without = {name: tensor for name, tensor in state.items() if name not in one}
    other = {f"{stem}1.up_proj{ending}": each for ending, each in packers.pack_quantized()(WEIGHT)[0].items()}
    for changed, words in (
        (without, "expert 1 of layers.0.mlp.experts.up_proj is missing or not quantized"),
        (without | {f"{stem}1.up_proj.weight": torch.ones(32, 64)}, "is missing or not quantized"),
        (without | other, r"is \[64, 128\], unlike the other experts"),
        (state | {"model.layers.3.self_attn.q_proj.weight": torch.ones(256, 64)}, ""),
    ):
        write_shards(tmp_path, changed, 1)
        if words:
            with pytest.raises(CheckpointError, match=words):
                open_checkpoint(tmp_path)
    # A weight beside its packed form belongs to the module and is of no use; the packed one counts.
    assert open_checkpoint(tmp_path).tensors.peek("layers.3.self_attn.q_proj.weight").type.name == "Q4_0"


def test_quantized_tensors_without_a_configuration(tmp_path: Path) -> None:
    state, _ = packers.quantize_state(save_hf(tmp_path, tiny_config()).state, packers.gptq())
    write_shards(tmp_path, state, 1)
    with pytest.raises(UnsupportedModel, match="quantization_config says nothing of"):
        open_checkpoint(tmp_path)


DTYPES = (
    torch.int32,
    torch.int64,
    torch.int8,
    torch.uint8,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float8_e4m3fn,
)


@settings(max_examples=80, deadline=None)
@given(
    case=st.sampled_from(sorted(CASES)),
    which=st.integers(0, 9),
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 16, 64, 128]), max_size=3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
    keep=st.sampled_from(["nothing", "shape", "dtype"]),
)
def test_anything_in_place_of_a_tensor_is_read_or_refused(
    case: str, which: int, shape: list[int], dtype: torch.dtype, seed: int, keep: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Random bytes of random dtypes and shapes: a matrix of the size that it says, or one of the user's errors."""
    torch.manual_seed(seed)
    packer, quantization, _ = CASES[case]
    tensors, _ = packer(WEIGHT)
    ending = sorted(tensors)[which % len(tensors)]
    size = list(tensors[ending].shape) if keep == "shape" else shape
    kind = tensors[ending].dtype if keep == "dtype" else dtype
    count = int(torch.tensor(size).prod()) if size else 1
    tensors[ending] = torch.randint(0, 256, (count * kind.itemsize,), dtype=torch.uint8).view(kind).reshape(size)
    try:
        tensor = opened(tmp_path_factory.mktemp("any"), tensors, quantization)
        assert sum(part.nbytes for part in tensor.parts) == tensor.nbytes
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
