"""From a checkpoint's `quantization_config` to how its quantized matrices are read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.mapped import RawTensor
from qwill.weights.packed import awq, bitsandbytes, compressed, gptq, torchao
from qwill.weights.packed.floats import with_channel_factors
from qwill.weights.packed.fp4 import mxfp4_matrix, nvfp4_matrix
from qwill.weights.packed.fp8 import fp8_matrix
from qwill.weights.packed.int4_rows import int4_rows_matrix
from qwill.weights.packed.matrix import Module, PackedMatrix
from qwill.weights.packed.mxfp8 import SCALE_DTYPES, mxfp8_matrix
from qwill.weights.packed.refused import refusal

# Scales of activations, and of keys and values in a cache: qwill rounds activations by the values at hand, and has its
# own types for its cache.
UNUSED_ENDINGS = (
    ".input_scale", ".input_global_scale", ".input_zero_point", ".output_scale", ".k_scale", ".v_scale", ".q_scale",
    ".input_scale_ub",
)  # fmt: skip
# A factor for each input channel, of modelopt.
_CHANNEL_FACTORS = ".pre_quant_scale"
_WEIGHT = ".weight"
_COMPRESSED_ENDINGS = (
    ".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx", ".weight_global_scale",
)  # fmt: skip
# Quark's dtypes of four bits in words, with their qscheme, and those of bytes, whose tensors say the rest.
_QUARK_FOUR = {("int4", "per_group"), ("uint4", "per_group")}
_QUARK_EIGHT = ("int8", "fp8_e4m3", "fp4")
# What AutoRound writes with the tensors of compressed-tensors: eight-bit floats, MXFP4, MXFP8 and NVFP4.
_AUTO_ROUND_FLOATS = ("fp", "mx_fp", "nv_fp")


@dataclass(frozen=True)
class Scheme:
    """How quantized matrices are stored.

    `endings` of a module's tensors; one that has any of them is quantized, and then its `.weight` belongs to it too.
    `read` gives the matrix. Where `fused`, a module has the matrices of all experts, and `read` is not used; where
    `stacked`, a module of experts has one matrix behind the other, each of which `read` reads.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[[Module], PackedMatrix]
    fused: bool = False
    stacked: bool = False

    def ending_of(self, name: str) -> str | None:
        """Which of the endings a tensor's name has."""
        return next((ending for ending in self.endings if name.endswith(ending)), None)


def read_scheme(folder: Path, quantization: dict[str, Any]) -> Scheme:
    """The scheme of a `quantization_config`. Raises UnsupportedModel naming what is not supported."""
    method = str(quantization.get("quant_method", "")).lower()
    match method:
        case "gptq":
            return _gptq(folder, quantization)
        case "awq":
            return _awq(folder, quantization)
        case "auto-round":
            return _auto_round(folder, quantization)
        case "compressed-tensors":
            return _compressed_tensors(folder, quantization)
        case "modelopt" | "modelopt_fp4" | "modelopt_mixed":
            endings = (".weight_scale", ".weight_scale_2", _CHANNEL_FACTORS)
            return Scheme(method, endings, _by_dtype)
        case "quark":
            return _quark(folder, quantization)
        case "mxfp4":
            return Scheme(method, ("_blocks", "_scales"), _by_dtype, fused=True)
        case "fbgemm_fp8" | "fp8":  # the latter without blocks of 128 x 128, which are the releases' own
            return Scheme(method, (".weight_scale", ".weight_scale_inv"), _by_dtype)
        case "bitsandbytes":
            return Scheme(method, bitsandbytes.ENDINGS, bitsandbytes.bitsandbytes_matrix)
        case "torchao":
            bits = torchao.bits_of_integers(quantization)
            return Scheme(method, torchao.ENDINGS, partial(torchao.torchao_matrix, bits=bits))
    raise UnsupportedModel(f"{folder}: {refusal(method)}")


def _gptq(folder: Path, quantization: dict[str, Any]) -> Scheme:
    form = str(quantization.get("checkpoint_format") or quantization.get("format") or "gptq").lower()
    if form not in ("gptq", "gptq_v2"):
        raise UnsupportedModel(f"{folder}: GPTQ in the format {form!r} is not supported, only gptq and gptq_v2")
    bits = quantization.get("bits")
    if bits not in gptq.BITS:
        raise UnsupportedModel(f"{folder}: GPTQ of {bits} bits is not supported, only of 2, 3, 4 and 8")
    mixed = bool(quantization.get("dynamic"))
    read = partial(gptq.gptq_matrix, second_version=form == "gptq_v2", bits=None if mixed else bits)
    return Scheme(f"GPTQ, format {form}", gptq.ENDINGS, read)


def _awq(folder: Path, quantization: dict[str, Any]) -> Scheme:
    form = str(quantization.get("version") or quantization.get("format") or "gemm").lower()
    bits = quantization.get("bits", quantization.get("w_bit", 4))
    if form != "gemm" or bits != 4:
        raise UnsupportedModel(f"{folder}: AWQ {form!r} of {bits} bits is not supported, only 'gemm' of 4")
    return Scheme("AWQ", awq.ENDINGS, awq.awq_matrix)


def _auto_round(folder: Path, quantization: dict[str, Any]) -> Scheme:
    """AutoRound writes the layouts of others; bits may differ by module. `fake` is nothing quantized at all."""
    numbers = str(quantization.get("data_type", "int"))
    if numbers in _AUTO_ROUND_FLOATS:
        return Scheme(f"AutoRound, {numbers}", _COMPRESSED_ENDINGS, partial(_compressed_matrix, bits=[]))
    if numbers != "int":
        raise UnsupportedModel(
            f"{folder}: AutoRound's data_type {numbers!r} is not supported, only int, {', '.join(_AUTO_ROUND_FLOATS)}"
        )
    form = quantization.get("packing_format", "auto_round:auto_gptq")
    if form in ("auto_round:auto_gptq", "auto_round:gptqmodel", "auto_round:fake"):
        read = partial(gptq.gptq_matrix, second_version=False, bits=None)
        return Scheme("AutoRound, GPTQ", gptq.ENDINGS, read)
    if form == "auto_round:auto_awq":
        return Scheme("AutoRound, AWQ", awq.ENDINGS, awq.awq_matrix)
    raise UnsupportedModel(
        f"{folder}: AutoRound's packing_format {form!r} is not supported, only auto_round:auto_gptq and :auto_awq"
    )


def _quark(folder: Path, quantization: dict[str, Any]) -> Scheme:
    """Four bits lie as AWQ's, signed or not; all else is told by its dtype."""
    configs = [quantization.get("global_quant_config")]
    for key in ("layer_quant_config", "layer_type_quant_config"):
        own = quantization.get(key)
        configs += own.values() if isinstance(own, dict) else []
    weights = [config.get("weight") for config in configs if isinstance(config, dict)]
    said = {(str(one["dtype"]), str(one.get("qscheme"))) for one in weights if isinstance(one, dict) and "dtype" in one}
    strange = sorted(" ".join(each) for each in said if each not in _QUARK_FOUR and each[0] not in _QUARK_EIGHT)
    packed = said & _QUARK_FOUR
    if strange or len(packed) > 1:
        names = ", ".join(strange) or "int4 beside uint4"
        raise UnsupportedModel(
            f"{folder}: Quark's {names} is not supported, only int4 or uint4 per_group, int8, fp8_e4m3 and fp4; use one"
            " of these, or a GGUF file of its size"
        )
    export = quantization.get("export")
    plain = isinstance(export, dict) and export.get("pack_method") == "order"
    names_of = (_WEIGHT, ".weight_zero_point", ".weight_scale")
    order = awq.PLAIN_ORDER if plain else awq.ORDER
    four_bits = partial(awq.awq_matrix, names=names_of, order=order, signed=("int4", "per_group") in said)

    def read(module: Module) -> PackedMatrix:
        weight = module.tensors.get(_WEIGHT)
        return four_bits(module) if packed and weight is not None and weight.dtype == "I32" else _by_dtype(module)

    return Scheme("quark", (".weight_scale", ".weight_zero_point"), read)


def _compressed_tensors(folder: Path, quantization: dict[str, Any]) -> Scheme:
    groups = quantization.get("config_groups")
    if not isinstance(groups, dict) or not all(isinstance(group, dict) for group in groups.values()):
        raise CheckpointError(f"{folder / 'config.json'}: quantization_config has no config_groups")
    weights = [group["weights"] for group in groups.values() if isinstance(group.get("weights"), dict)]
    sparsity = quantization.get("sparsity_config")
    if isinstance(sparsity, dict) and sparsity.get("format", "dense") != "dense":
        raise UnsupportedModel(f"{folder}: sparse weights ({sparsity['format']}) are not supported")
    if quantization.get("transform_config"):
        raise UnsupportedModel(f"{folder}: transform_config (rotated weights) is not supported")
    possible = {each.get("num_bits") for each in weights if each.get("type", "int") == "int"}
    bits = sorted(each for each in possible if type(each) is int and 1 <= each <= 8)
    return Scheme("compressed-tensors", _COMPRESSED_ENDINGS, partial(_compressed_matrix, bits=bits))


def _compressed_matrix(module: Module, bits: list[int]) -> PackedMatrix:
    packed = module.tensors.get(".weight_packed")
    if packed is None:
        weight = module.tensors.get(_WEIGHT)
        if weight is not None and weight.dtype == "I8":
            return compressed.int_quantized_matrix(module, max(bits, default=8))
        return _by_dtype(module)
    if packed.dtype == "I32":
        return compressed.pack_quantized_matrix(module, bits)
    return _four_bit(module, ".weight_packed")


def _by_dtype(module: Module) -> PackedMatrix:
    """A module whose `.weight` has scales beside it: its dtypes say the scheme."""
    factors = module.tensors.get(_CHANNEL_FACTORS)
    if factors is not None:
        tensors = {ending: raw for ending, raw in module.tensors.items() if ending != _CHANNEL_FACTORS}
        return with_channel_factors(_by_dtype(Module(module.name, tensors)), factors)
    weight = module.tensors.get(_WEIGHT)
    if weight is None:
        raise CheckpointError(f"{module.source}: has no {module.name}{_WEIGHT} beside it; download the model again")
    match weight.dtype:
        case "F8_E4M3":
            return mxfp8_matrix(module) if _has_exponents(module) else fp8_matrix(module)
        case "I8":
            return compressed.int_quantized_matrix(module)
        case "U8":
            return _four_bit(module, _WEIGHT)
    raise UnsupportedModel(f"{weight.source}: is stored as {weight.dtype} with scales, which is not supported")


def _four_bit(module: Module, ending: str) -> PackedMatrix:
    scale = module.tensors.get(".weight_scale")
    if ending == _WEIGHT and scale is not None and scale.dtype in compressed.SCALE_DTYPES:
        return int4_rows_matrix(module)
    return mxfp4_matrix(module, ending) if _has_exponents(module) else nvfp4_matrix(module, ending)


def _has_exponents(module: Module) -> bool:
    """Whether the scales are powers of two, as in the microscaling formats."""
    scale: RawTensor | None = module.tensors.get(".weight_scale")
    return scale is not None and scale.dtype in SCALE_DTYPES
