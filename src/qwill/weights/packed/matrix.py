"""What a quantized matrix of a foreign checkpoint is, whatever its scheme."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.types import TensorType
from qwill.weights.lazy import ROWS_TOGETHER, in_shared_threads
from qwill.weights.mapped import RawTensor

# Values worked on together: what a step makes of them stays in the processor's caches.
CHUNK_VALUES = 1 << 20


class PackedMatrix(Protocol):
    """A matrix [rows, columns], still as its scheme packs it.

    `type` is the smallest type that holds its values exactly, F32 where none does. `scales` are as in `Tensor`, of one
    part. `stored` are the file's arrays.
    """

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def source(self) -> str: ...
    @property
    def type(self) -> TensorType: ...
    @property
    def scales(self) -> np.ndarray | None: ...
    @property
    def stored(self) -> Sequence[np.ndarray]: ...

    def encode(self, rows: slice, tensor_type: TensorType, out: np.ndarray) -> None:
        """Fills out, uint8 [rows, row bytes], with some rows, from a multiple of 32 on, in `type` or a wider one.

        Raises CheckpointError when something in the file is no sound value.
        """
        ...


@dataclass(frozen=True)
class Module:
    """The tensors of one quantized matrix by the ends of their names, and the name that stands before those."""

    name: str
    tensors: dict[str, RawTensor]

    @property
    def source(self) -> str:
        """File and name, for messages."""
        return next(iter(self.tensors.values())).source

    def get(self, ending: str, dtypes: Sequence[str], dimensions: int) -> RawTensor:
        """One of them. Raises CheckpointError when it is missing, of another dtype or of other dimensions."""
        raw = self.tensors.get(ending)
        if raw is None:
            raise CheckpointError(f"{self.source}: has no {self.name}{ending} beside it; download the model again")
        if raw.dtype not in dtypes:
            raise UnsupportedModel(f"{raw.source}: is stored as {raw.dtype}, expected {' or '.join(dtypes)}")
        if len(raw.shape) != dimensions or 0 in raw.shape:
            raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, expected {dimensions} dimensions")
        return raw


def parts_of(module: Module) -> list[Module]:
    """The modules of each expert where tensors have those of all, [experts, ...]. Raises CheckpointError otherwise."""
    raws = list(module.tensors.values())
    experts = raws[0].shape[0] if raws[0].shape else 0
    for raw in raws:
        if not raw.shape or raw.shape[0] != experts or 0 in raw.shape:
            raise CheckpointError(f"{raw.source}: has shape {list(raw.shape)}, which is not that of {experts} experts")
    split = {
        ending: [raw._replace(shape=raw.shape[1:], data=data) for data in raw.data.reshape(experts, -1)]
        for ending, raw in module.tensors.items()
    }
    return [Module(module.name, {ending: raws[number] for ending, raws in split.items()}) for number in range(experts)]


def require_shape(raw: RawTensor, shape: tuple[int, ...], beside: RawTensor) -> None:
    """Raises CheckpointError when a tensor does not fit the one that says how large the matrix is."""
    if raw.shape != shape:
        raise CheckpointError(
            f"{raw.source}: has shape {list(raw.shape)}; {beside.name} of {list(beside.shape)} needs {list(shape)}"
        )


def encoded(matrix: PackedMatrix, tensor_type: TensorType, begin: int = 0, end: int | None = None) -> np.ndarray:
    """uint8 [rows, row bytes] of the rows from `begin`, a multiple of 32, to `end` - 1 (all): on all processors."""
    rows, columns = matrix.shape
    end = rows if end is None else end
    out = np.empty((end - begin, tensor_type.row_bytes(columns)), np.uint8)
    step = max(CHUNK_VALUES // columns // ROWS_TOGETHER, 2) * ROWS_TOGETHER

    def fill(first: int) -> None:
        last = min(first + step, end)
        matrix.encode(slice(first, last), tensor_type, out[first - begin : last - begin])

    in_shared_threads(fill, range(begin, end, step))
    return out


def uniform_scales(shape: tuple[int, int], factor: float) -> np.ndarray | None:
    """`Tensor.scales` of one part for a factor of all its values; None for 1."""
    if factor == 1:
        return None
    return np.full(tuple(-(-size // 128) for size in shape), factor, np.float32)


def halved(codes: np.ndarray, block_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nibbles of blocks from "byte i holds elements 2i and 2i + 1" to ggml's "byte j holds j and j + half a block".

    codes: uint8 [..., block_bytes], contiguous. Returns the bytes at even and at odd places, each
    [..., block_bytes / 2].
    """
    word = np.dtype(np.uint64 if block_bytes == 16 else np.uint32)
    low_nibbles = np.frombuffer(b"\x0f" * 8, word)[0]
    four = word.type(4)
    pairs = codes.view(word)
    first, second = pairs[..., 0::2], pairs[..., 1::2]
    even = (first & low_nibbles) | ((second & low_nibbles) << four)
    odd = ((first >> four) & low_nibbles) | (second & ~low_nibbles)
    return even.view(np.uint8), odd.view(np.uint8)
