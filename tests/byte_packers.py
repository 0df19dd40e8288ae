"""More quantizers of tests, as `packers.py` has them: a state in the layouts of bitsandbytes, torchao and modelopt's
INT4. They were written from the published layouts with torch, apart from what reads them.
"""

import json
from typing import Any

import torch
from packers import Packed, Packer, even, four_bits, into_words, mx_exponents, nvfp4, whole_numbers

# Four bits stand for any numbers.
TABLE = torch.linspace(-1, 1, 16) ** 3


def bitsandbytes(form: str = "nf4", size: int = 64, nested: bool = False, storage: torch.dtype = torch.uint8) -> Packer:
    """The matrix as one row in blocks of `size`, each with its largest magnitude; nested: of which bytes are stored."""

    def pack(weight: torch.Tensor) -> Packed:
        flat = weight.reshape(-1)
        blocks = torch.nn.functional.pad(flat, (0, -len(flat) % size)).reshape(-1, size)
        largest = blocks.abs().amax(1)
        state: dict[str, Any] = {"quant_type": form, "blocksize": size, "dtype": "bfloat16", "shape": weight.shape}
        tensors = {f".weight.{name}": each for name, each in (("quant_map", TABLE), ("absmax", largest))}
        if nested:
            codes, table = torch.randint(0, 256, largest.shape, dtype=torch.uint8), torch.rand(256) - 0.5
            above = torch.rand(-(-len(largest) // 256)) + 0.5
            largest = table[codes.long()] * above.repeat_interleave(256)[: len(codes)] + torch.tensor(0.7)
            state |= {"nested_blocksize": 256, "nested_offset": 0.7}
            tensors |= {".weight.absmax": codes, ".weight.nested_absmax": above, ".weight.nested_quant_map": table}
        safe = torch.where(largest == 0, 1, largest)
        codes = (blocks / safe[:, None])[..., None].sub(TABLE).abs().argmin(-1)
        values = (TABLE[codes] * largest[:, None]).reshape(-1)[: len(flat)].reshape(weight.shape)
        pairs = codes.reshape(-1)[: -(-len(flat) // 2) * 2].reshape(-1, 2)
        said = json.dumps(state).encode()
        return tensors | {
            ".weight": (pairs[:, 0] << 4 | pairs[:, 1]).to(torch.uint8).view(storage).reshape(-1, 1),
            f".weight.quant_state.bitsandbytes__{form}": torch.frombuffer(bytearray(said), dtype=torch.uint8),
        }, values.double()

    return pack


def llm_int8() -> Packer:
    def pack(weight: torch.Tensor) -> Packed:
        largest = weight.abs().amax(1)
        codes = (weight * 127 / torch.where(largest == 0, 1, largest)[:, None]).round().to(torch.int8)
        values = codes.float() * largest[:, None] * 7.874015718698502e-3
        form = torch.tensor(0, dtype=torch.uint8)
        return {".weight": codes, ".SCB": largest, ".weight_format": form}, values.double()

    return pack


def torchao_integers(bits: int = 8, group: int = -1, symmetric: bool = True) -> Packer:
    """Int8Tensor and IntxUnpackedToInt8Tensor."""

    def pack(weight: torch.Tensor) -> Packed:
        groups = even(weight.shape[1], group)
        codes, scales, zeros, values = whole_numbers(weight, bits, groups, symmetric, torch.bfloat16)
        middle = 1 << (bits - 1)
        return {
            "._weight_qdata": (codes - middle).to(torch.int8),
            "._weight_scale": scales,
            "._weight_zero_point": (zeros - middle).to(torch.int8),
        }, values

    return pack


def torchao_floats(kind: str, swizzled: bool) -> Packer:
    """Float8Tensor ("float8"), MXTensor ("mxfp8", "mxfp4") and NVFP4Tensor ("nvfp4")."""

    def pack(weight: torch.Tensor) -> Packed:
        if kind == "float8":
            scale = weight.abs().amax(1, keepdim=True) / 448
            codes = (weight / scale.clamp(min=1e-9)).to(torch.float8_e4m3fn)
            return {"._weight_qdata": codes, "._weight_scale": scale}, codes.double() * scale.double()
        if kind == "nvfp4":
            tensors, values = nvfp4(input_scale=False)(weight)
            names = {".weight": "qdata", ".weight_scale": "scale", ".weight_scale_2": "per_tensor_scale"}
            packed = {f"._weight_{names[ending]}": each for ending, each in tensors.items()}
        else:
            exponents = mx_exponents(weight)
            powers = 2.0 ** (exponents.double() - 127)
            if kind == "mxfp4":
                codes, values = four_bits(weight, powers, 32)
            else:
                powers = powers.repeat_interleave(32, 1)
                codes = (weight.double() / powers).to(torch.float8_e4m3fn)
                values = codes.double() * powers
            packed = {"._weight_qdata": codes, "._weight_scale": exponents.view(torch.float8_e8m0fnu)}
        if swizzled:
            scale = packed["._weight_scale"]
            packed["._weight_scale"] = swizzle(scale.view(torch.uint8)).view(scale.dtype)
        return packed, values

    return pack


def swizzle(scale: torch.Tensor) -> torch.Tensor:
    """Tiles of 128 rows and 4 columns, each as 32 rows of 16: in row i its rows i, 32 + i, 64 + i and 96 + i."""
    down, across = -(-scale.shape[0] // 128), -(-scale.shape[1] // 4)
    whole = torch.zeros(128 * down, 4 * across, dtype=scale.dtype)
    whole[: scale.shape[0], : scale.shape[1]] = scale
    tiles = [
        torch.cat([whole[128 * i + 32 * j : 128 * i + 32 * (j + 1), 4 * k : 4 * (k + 1)] for j in range(4)], 1)
        for i in range(down)
        for k in range(across)
    ]
    return torch.cat([tile.reshape(-1) for tile in tiles]).reshape(32 * down, 16 * across)


def int4_rows(group: int = 32, dtype: torch.dtype = torch.bfloat16, second: bool = False) -> Packer:
    """modelopt's: two rows a byte; `second`: with the scale of products in FP8, no part of the values."""

    def pack(weight: torch.Tensor) -> Packed:
        codes, scales, _, values = whole_numbers(weight, 4, even(weight.shape[1], group), True, dtype)
        signed = (codes - 8) & 15
        tensors = {".weight": (signed[0::2] | signed[1::2] << 4).to(torch.uint8), ".weight_scale": scales}
        return tensors | ({".weight_scale_2": torch.tensor(0.25)} if second else {}), values

    return pack


def quark(symmetric: bool = True, reorder: bool = True, group: int = 32) -> Packer:
    """AWQ's shape: int4 with signed codes and zeros, or uint4."""

    def in_words(codes: torch.Tensor) -> torch.Tensor:
        order = [0, 2, 4, 6, 1, 3, 5, 7] if reorder else list(range(8))
        return into_words(codes.reshape(len(codes), -1, 8)[..., order].reshape(codes.shape), 4)

    def pack(weight: torch.Tensor) -> Packed:
        codes, scales, zeros, values = whole_numbers(weight, 4, even(weight.shape[1], group), symmetric, torch.bfloat16)
        if symmetric:
            codes, zeros = (codes - 8) & 15, torch.zeros_like(zeros)
        return {
            ".weight": in_words(codes.T),
            ".weight_zero_point": in_words(zeros.T),
            ".weight_scale": scales.T,
        }, values

    return pack


def with_channel_factors(packer: Packer) -> Packer:
    """modelopt's pre_quant_scale: powers of two and a half, so that products are exact."""

    def pack(weight: torch.Tensor) -> Packed:
        tensors, values = packer(weight)
        factors = torch.tensor([0.5, 1.0, 1.5, 4.0])[torch.randint(0, 4, (weight.shape[1],))]
        return tensors | {".pre_quant_scale": factors.bfloat16()}, values.float().double() * factors.double()

    return pack
