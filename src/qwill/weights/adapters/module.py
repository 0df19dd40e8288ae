"""The tensors of one module of an adapter, as its file has them."""

from dataclasses import dataclass, field

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.assemble import float_values
from qwill.weights.mapped import RawTensor


@dataclass
class Module:
    """The low-rank tensors of one module, by what they are to it."""

    name: str
    tensors: dict[str, RawTensor] = field(default_factory=dict)

    @property
    def source(self) -> str:
        return next(iter(self.tensors.values())).source

    def array(self, part: str) -> np.ndarray:
        """One of them as float32. Raises CheckpointError when it is missing."""
        if part not in self.tensors:
            raise CheckpointError(f"{self.source}: there is no {part} beside it; download the adapter again")
        return array_of(self.tensors[part])

    def optional(self, part: str) -> np.ndarray | None:
        return self.array(part).reshape(-1) if part in self.tensors else None


def array_of(raw: RawTensor) -> np.ndarray:
    """float32 of its shape. Raises CheckpointError for a value that is not finite or a tensor of no values."""
    values = float_values(raw).reshape(raw.shape)
    if 0 in raw.shape:
        raise CheckpointError(
            f"{raw.source}: has shape {list(raw.shape)}; its shards were not gathered when it was saved"
        )
    if not np.isfinite(values).all():
        raise CheckpointError(f"{raw.source}: holds values that are not finite; the adapter is damaged")
    return values
