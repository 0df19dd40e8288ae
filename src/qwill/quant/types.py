"""The one list of tensor types: how many elements a block has and how many bytes it takes.

Ids are those of the GGUF file format (ggml's enumeration); types that come from safetensors only have none. Of these,
AFFINEb_g are MLX's: codes of b bits, for every g columns a scale and what is added, both in BF16 but where F16 is said.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorType:
    """A storage format. `block_elements` consecutive elements of a row take `block_bytes` bytes."""

    name: str
    gguf_id: int | None
    block_elements: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.block_bytes / self.block_elements

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of `columns` elements; `columns` must be whole blocks."""
        assert columns % self.block_elements == 0, (self.name, columns)
        return columns // self.block_elements * self.block_bytes


TYPES: dict[str, TensorType] = {
    t.name: t
    for t in (
        TensorType("F32", 0, 1, 4),
        TensorType("F16", 1, 1, 2),
        TensorType("BF16", 30, 1, 2),
        TensorType("F8_E4M3", None, 1, 1),
        TensorType("Q4_0", 2, 32, 18),
        TensorType("Q4_1", 3, 32, 20),
        TensorType("Q5_0", 6, 32, 22),
        TensorType("Q5_1", 7, 32, 24),
        TensorType("Q8_0", 8, 32, 34),
        TensorType("Q2_K", 10, 256, 84),
        TensorType("Q3_K", 11, 256, 110),
        TensorType("Q4_K", 12, 256, 144),
        TensorType("Q5_K", 13, 256, 176),
        TensorType("Q6_K", 14, 256, 210),
        TensorType("IQ2_XXS", 16, 256, 66),
        TensorType("IQ2_XS", 17, 256, 74),
        TensorType("IQ3_XXS", 18, 256, 98),
        TensorType("IQ1_S", 19, 256, 50),
        TensorType("IQ4_NL", 20, 32, 18),
        TensorType("IQ3_S", 21, 256, 110),
        TensorType("IQ2_S", 22, 256, 82),
        TensorType("IQ4_XS", 23, 256, 136),
        TensorType("IQ1_M", 29, 256, 56),
        TensorType("MXFP4", 39, 32, 17),
        TensorType("NVFP4", 40, 64, 36),
        TensorType("MXFP8", None, 32, 33),
        *(TensorType(f"AFFINE{b}_{g}", None, g, 4 + g * b // 8) for g in (64, 32) for b in (2, 3, 4, 5, 6, 8)),
        TensorType("AFFINE8_32_F16", None, 32, 36),
    )
}

BY_GGUF_ID: dict[int, TensorType] = {t.gguf_id: t for t in TYPES.values() if t.gguf_id is not None}
