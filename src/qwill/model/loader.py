"""Takes a checkpoint's tensors one by one, checks their shapes and hands them to the operations."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from qwill.ops import Operations
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES
from qwill.weights.finite import check_finite
from qwill.weights.mapped import is_mapped
from qwill.weights.tensor import Tensor, TensorSet, spread_scales

# Weights are packed so many bytes at a time: few interruptions for Python, some for a progress bar.
BYTES_TOGETHER = 512 << 20
# Of weights that no file holds fewer wait: what is let go of among those that stay is never the system's again.
MADE_TOGETHER = 64 << 20


class Planned:
    """Weights that wait to be packed. In a mapped file they cost nothing until then; of others, which were drawn,
    widened or laid out anew, few wait at a time.
    """

    def __init__(self, operations: Operations, progress: Callable[[int], None] | None) -> None:
        self._operations = operations
        self._progress = progress or (lambda _bytes: None)
        self._waiting: list[tuple[Any, Tensor, int]] = []
        self._made = 0  # bytes of them that no file holds

    def add(self, tensor: Tensor, size: int) -> Any:
        """A weight that `pack` will make ready; `size`: its bytes for the progress bar."""
        weight = self._operations.plan(tensor)
        self._waiting.append((weight, tensor, size))
        if not (isinstance(tensor.parts, tuple) and is_mapped(tensor.parts[0])):
            self._made += tensor.nbytes
        if self._made >= MADE_TOGETHER:
            self.pack()
        return weight

    def count(self, size: int) -> None:
        """Tells the progress bar of bytes that need no packing."""
        self._progress(size)

    def pack(self) -> None:
        """Raises CheckpointError when a value is not finite."""
        group: list[tuple[Any, Tensor]] = []
        size = 0
        for weight, tensor, its_size in self._waiting:
            group.append((weight, tensor))
            size += its_size
            if size >= BYTES_TOGETHER:
                self._pack(group, size)
                group, size = [], 0
        self._pack(group, size)
        self._waiting, self._made = [], 0

    def _pack(self, group: list[tuple[Any, Tensor]], size: int) -> None:
        self._operations.pack_planned(group)
        self._progress(size)


class Loader:
    """What every layer's constructor reads its weights from; `scope` lets a layer name only its own.

    Weights are ready after `pack`.
    """

    def __init__(
        self,
        tensors: TensorSet,
        operations: Operations,
        v_heads_tiled: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.operations = operations
        self.v_heads_tiled = v_heads_tiled
        self._tensors = tensors
        self._planned = Planned(operations, progress)
        self._prefix = ""

    def scope(self, name: str) -> "Loader":
        """The same tensors, under `name.`."""
        scoped = copy(self)
        scoped._prefix = f"{self._prefix}{name}."
        return scoped

    def full_name(self, name: str) -> str:
        """The canonical name of a tensor in this scope."""
        return self._prefix + name

    def has(self, name: str) -> bool:
        return self.full_name(name) in self._tensors

    def raw(self, name: str, *shape: int) -> Tensor:
        """The tensor with all its bytes, those of the file where it has them in this layout."""
        tensor = self._take(name, shape).in_memory()
        self._planned.count(tensor.nbytes)
        return tensor

    def table(self, name: str, *shape: int) -> Tensor:
        """A tensor whose rows are looked up in the file. Raises CheckpointError when a value is not finite."""
        tensor = self.raw(name, *shape)
        check_finite(tensor)
        return tensor

    def vector(self, name: str, *shape: int) -> np.ndarray:
        """A small float32 array."""
        return np.ascontiguousarray(self.raw(name, *shape).float32())

    def weight(self, name: str, *shape: int) -> Any:
        """A packed matrix [rows, cols], or experts [experts, rows, cols]."""
        tensor = self._take(name, shape)
        return self._planned.add(tensor, tensor.nbytes)

    def tied_weight(self, table: Tensor) -> Any:
        """A table that is already taken and looked up, packed as well."""
        return self._planned.add(table, 0)

    def exact_weight(self, name: str, *shape: int) -> Any:
        """A packed matrix whose inputs are not rounded: widened to float32 but for FP8."""
        tensor = self._take(name, shape)
        exact = tensor if tensor.type.name in ("F32", "F8_E4M3") else widened(tensor)
        return self._planned.add(exact, tensor.nbytes)

    def finish(self) -> None:
        """Raises CheckpointError when the checkpoint holds tensors that no layer took."""
        self._tensors.finish()

    def pack(self) -> None:
        """Lays all weights out for the kernels. Raises CheckpointError when a value is not finite."""
        self._planned.pack()

    def _take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self._tensors.take(self.full_name(name), shape)


def widened(tensor: Tensor) -> Tensor:
    """A matrix as float32."""
    values = decode(tensor.type, tensor.parts[0], tensor.shape)
    if tensor.scales is not None:
        values *= spread_scales(tensor.scales[0], tensor.shape)
    return replace(tensor, type=TYPES["F32"], parts=(values.reshape(-1).view(np.uint8),), scales=None)
