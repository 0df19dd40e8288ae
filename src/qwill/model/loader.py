"""Takes a checkpoint's tensors one by one, checks their shapes and hands them to the operations."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from qwill.ops import Operations
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES
from qwill.weights.finite import check_finite
from qwill.weights.tensor import Tensor, TensorSet


class Loader:
    """What every layer's constructor reads its weights from; `scope` lets a layer name only its own."""

    def __init__(
        self,
        tensors: TensorSet,
        operations: Operations,
        v_heads_tiled: bool = False,
        progress: Callable[[int], None] | None = None,
        prefix: str = "",
    ) -> None:
        self.operations = operations
        self.v_heads_tiled = v_heads_tiled
        self._tensors = tensors
        self._progress = progress or (lambda _bytes: None)
        self._prefix = prefix

    def scope(self, name: str) -> "Loader":
        """The same tensors, under `name.`."""
        return Loader(self._tensors, self.operations, self.v_heads_tiled, self._progress, f"{self._prefix}{name}.")

    def has(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def raw(self, name: str, *shape: int) -> Tensor:
        """The tensor as it lies in the file."""
        tensor = self._tensors.take(self._prefix + name, shape)
        self._progress(tensor.nbytes)
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
        return self.operations.pack(self.raw(name, *shape))

    def exact_weight(self, name: str, *shape: int) -> Any:
        """A packed matrix whose inputs are not rounded: of 16-bit floats, widened to float32."""
        tensor = self.raw(name, *shape)
        return self.operations.pack(widened(tensor) if tensor.type.name in ("F16", "BF16") else tensor)

    def finish(self) -> None:
        """Raises CheckpointError when the checkpoint holds tensors that no layer took."""
        self._tensors.finish()


def widened(tensor: Tensor) -> Tensor:
    """A matrix of 16-bit floats as float32."""
    values = decode(tensor.type, tensor.parts[0], tensor.shape)
    return replace(tensor, type=TYPES["F32"], parts=(values.reshape(-1).view(np.uint8),))
