"""Quantizers of tests: a state in the layouts of GPTQ, AWQ, compressed-tensors, modelopt, gpt-oss and Quark.

Written from the published layouts with torch, apart from what reads them. A packer takes a matrix [rows, columns] and
gives the tensors that stand for it, by the ends of their names, and the values that they stand for, in float64.
"""

from collections.abc import Callable
from typing import Any

import torch

Packed = tuple[dict[str, torch.Tensor], torch.Tensor]
Packer = Callable[[torch.Tensor], Packed]

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float64)


def into_words(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Whole numbers [rows, count] to int32 [rows, ceil(count * bits / 32)], one stream of bits, lowest first."""
    rows, count = codes.shape
    words = -(-count * bits // 32)
    stream = torch.zeros(rows, words * 32, dtype=torch.int64)
    for bit in range(bits):
        stream[:, bit : count * bits : bits] = codes.long() >> bit & 1
    value = (stream.reshape(rows, words, 32) << torch.arange(32)).sum(-1)
    return torch.where(value >= 1 << 31, value - (1 << 32), value).to(torch.int32)


def whole_numbers(
    weight: torch.Tensor, bits: int, group_of: torch.Tensor, symmetric: bool, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """codes [rows, columns], scales [rows, groups] in dtype, zeros [rows, groups], and values float64."""
    groups, top = int(group_of.max()) + 1, (1 << bits) - 1
    together = weight[:, group_of.argsort(stable=True)].reshape(len(weight), groups, -1)
    if symmetric:
        scales = (together.abs().amax(-1) * 2 / top).to(dtype)
        scales[scales == 0] = 1
        zeros = torch.full(scales.shape, 1 << (bits - 1))
    else:
        low, high = together.amin(-1).clamp(max=0), together.amax(-1).clamp(min=0)
        scales = ((high - low) / top).to(dtype)
        scales[scales == 0] = 1
        zeros = (-low / scales.float()).round().clamp(0, top).long()
    scale, zero = scales[:, group_of].double(), zeros[:, group_of]
    codes = ((weight.double() / scale).round() + zero).clamp(0, top).long()
    return codes, scales, zeros, (codes - zero) * scale


def even(columns: int, size: int) -> torch.Tensor:
    return torch.arange(columns) // (columns if size == -1 else size)


def gptq(
    bits: int = 4,
    group: int = 32,
    symmetric: bool = True,
    second_version: bool = False,
    act_order: bool = False,
    g_idx: bool = True,
    dtype: torch.dtype = torch.float16,
) -> Packer:
    def pack(weight: torch.Tensor) -> Packed:
        group_of = even(weight.shape[1], group)
        if act_order:
            group_of = group_of[torch.randperm(len(group_of))]
        codes, scales, zeros, values = whole_numbers(weight, bits, group_of, symmetric, dtype)
        if not second_version:
            zeros = (zeros - 1) % (1 << bits)
        tensors = {
            ".qweight": into_words(codes, bits).T,
            ".qzeros": into_words(zeros.T, bits),
            ".scales": scales.T,
        }
        return tensors | ({".g_idx": group_of.to(torch.int32)} if g_idx else {}), values

    return pack


def awq(group: int = 32, dtype: torch.dtype = torch.float16) -> Packer:
    def interleaved(codes: torch.Tensor) -> torch.Tensor:
        """[n, rows], eight rows to a word, whose nibbles hold rows 0, 2, 4, 6, 1, 3, 5, 7 of them."""
        order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
        return into_words(codes.reshape(len(codes), -1, 8)[..., order].reshape(codes.shape), 4)

    def pack(weight: torch.Tensor) -> Packed:
        codes, scales, zeros, values = whole_numbers(weight, 4, even(weight.shape[1], group), False, dtype)
        return {".qweight": interleaved(codes.T), ".qzeros": interleaved(zeros.T), ".scales": scales.T}, values

    return pack


def pack_quantized(
    bits: int = 4,
    group: int = 32,
    symmetric: bool = True,
    dtype: torch.dtype = torch.bfloat16,
    signed_zeros: bool = False,
    act_order: bool = False,
) -> Packer:
    def pack(weight: torch.Tensor) -> Packed:
        group_of = even(weight.shape[1], group)
        if act_order:
            group_of = group_of[torch.randperm(len(group_of))]
        codes, scales, zeros, values = whole_numbers(weight, bits, group_of, symmetric, dtype)
        tensors = {
            ".weight_packed": into_words(codes, bits),
            ".weight_shape": torch.tensor(weight.shape),
            ".weight_scale": scales,
        }
        if not symmetric and signed_zeros:
            tensors[".weight_zero_point"] = (zeros - (1 << (bits - 1))).to(torch.int8)
        elif not symmetric:
            tensors[".weight_zero_point"] = into_words(zeros.T, bits).T
        return tensors | ({".weight_g_idx": group_of.to(torch.int32)} if act_order else {}), values

    return pack


def int_quantized(symmetric: bool = True, dtype: torch.dtype = torch.bfloat16) -> Packer:
    def pack(weight: torch.Tensor) -> Packed:
        codes, scales, zeros, values = whole_numbers(weight, 8, even(weight.shape[1], -1), symmetric, dtype)
        tensors = {".weight": (codes - 128).to(torch.int8), ".weight_scale": scales}
        return tensors | ({} if symmetric else {".weight_zero_point": (zeros - 128).to(torch.int8)}), values

    return pack


def four_bits(weight: torch.Tensor, scale: torch.Tensor, group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes two to a byte, and values / scale. scale float64 [rows, groups], the full factor of each group."""
    spread = scale.repeat_interleave(group, 1)
    codes = (weight.double() / spread)[..., None].sub(E2M1).abs().argmin(-1)
    return (codes[:, 0::2] | codes[:, 1::2] << 4).to(torch.uint8), E2M1[codes] * spread


def nvfp4(compressed: bool = False, factor: float | None = None, input_scale: bool = True) -> Packer:
    """modelopt's names, or those of compressed-tensors, which holds the factor's inverse."""

    def pack(weight: torch.Tensor) -> Packed:
        largest = weight.reshape(len(weight), -1, 16).abs().amax(-1).double() / 6
        second = torch.tensor(float(largest.max()) / 448 if factor is None else factor)
        inverse = (1 / second).float()
        second = (1 / inverse).float() if compressed else second
        scale = (largest / second).clamp(2**-9, 448).to(torch.float8_e4m3fn)
        codes, values = four_bits(weight, scale.double() * second.double(), 16)
        if compressed:
            tensors = {".weight_packed": codes, ".weight_scale": scale, ".weight_global_scale": inverse.reshape(1)}
            return tensors | ({".input_global_scale": torch.ones(1)} if input_scale else {}), values
        tensors = {".weight": codes, ".weight_scale": scale, ".weight_scale_2": second}
        return tensors | ({".input_scale": torch.ones(())} if input_scale else {}), values

    return pack


def mxfp4(ending: str = ".weight") -> Packer:
    """Quark's names, or with `.weight_packed` those of compressed-tensors."""

    def pack(weight: torch.Tensor) -> Packed:
        exponent = mx_exponents(weight)
        codes, values = four_bits(weight, 2.0 ** (exponent.double() - 127), 32)
        return {ending: codes, ".weight_scale": exponent}, values

    return pack


def mx_exponents(weight: torch.Tensor) -> torch.Tensor:
    largest = weight.reshape(len(weight), -1, 32).abs().amax(-1).double() / 6
    return (largest.clamp(min=2**-100).log2().ceil() + 127).to(torch.uint8)


def mxfp4_experts(weights: torch.Tensor) -> Packed:
    """gpt-oss's form of [experts, rows, columns]."""
    experts, rows, columns = weights.shape
    packed = [mxfp4()(weight) for weight in weights]
    blocks = torch.stack([tensors[".weight"] for tensors, _ in packed]).reshape(experts, rows, columns // 32, 16)
    scales = torch.stack([tensors[".weight_scale"] for tensors, _ in packed])
    return {"_blocks": blocks, "_scales": scales}, torch.stack([values for _, values in packed])


def fp8(by: str = "tensor", dtype: torch.dtype = torch.float32, name: str = ".weight_scale") -> Packer:
    """`by`: tensor, channel ([rows, 1]), block (128 x 128) or modelopt block (the same with two axes more); `name` ends
    that of the scales.
    """

    def pack(weight: torch.Tensor) -> Packed:
        rows, columns = weight.shape
        if by == "tensor":
            scale = (weight.abs().max() / 448).to(dtype)
            spread = scale.double()
        elif by == "channel":
            scale = (weight.abs().amax(1, keepdim=True) / 448).to(dtype)
            spread = scale.double()
        else:
            padded = torch.zeros(-(-rows // 128) * 128, -(-columns // 128) * 128)
            padded[:rows, :columns] = weight.abs()
            scale = padded.unfold(0, 128, 128).unfold(1, 128, 128).amax((-1, -2)) / 448
            scale = scale.to(dtype)
            spread = scale.double().repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :columns]
        stored = (weight.double() / spread).to(torch.float8_e4m3fn)
        scale = scale[:, None, :, None] if by == "modelopt block" else scale
        return {".weight": stored, name: scale}, stored.double() * spread

    return pack


def mxfp8() -> Packer:
    """The names of compressed-tensors and modelopt."""

    def pack(weight: torch.Tensor) -> Packed:
        largest = weight.reshape(len(weight), -1, 32).abs().amax(-1).double()
        exponent = ((largest / 448).clamp(min=2**-100).log2().ceil() + 127).to(torch.uint8)
        spread = (2.0 ** (exponent.double() - 127)).repeat_interleave(32, 1)
        stored = (weight.double() / spread).to(torch.float8_e4m3fn)
        return {".weight": stored, ".weight_scale": exponent}, stored.double() * spread

    return pack


KEPT = ("embed_tokens", "lm_head", "conv1d", "in_proj_a", "in_proj_b", "mlp.gate.", "expert_gate", "visual", "mtp.fc")


def quantize_state(
    state: dict[str, torch.Tensor], pack: Packer, kept: tuple[str, ...] = KEPT
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A state with experts one by one: quantized, and the same with the values that it stands for in float32."""
    quantized, plain = {}, {}
    for name, tensor in state.items():
        if tensor.ndim != 2 or not name.endswith(".weight") or any(part in name for part in kept):
            quantized[name] = plain[name] = tensor
            continue
        tensors, values = pack(tensor.float())
        quantized |= {name.removesuffix(".weight") + ending: each for ending, each in tensors.items()}
        plain[name] = values.float()
    return quantized, plain


def compressed_config(form: str, **weights: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "format": form, "weights": weights}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}, "ignore": []}
