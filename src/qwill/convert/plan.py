"""What a GGUF file of a member will hold and how large it will be, from its configuration and a recipe alone."""

from dataclasses import dataclass
from math import prod
from typing import Any

from qwill.quant.recipes import Recipe
from qwill.quant.types import TYPES, TensorType


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of a GGUF file. `name` is the name in the file, `shape` its row-major shape there."""

    name: str
    canonical: str
    shape: tuple[int, ...]
    type: TensorType

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor, without the padding behind it."""
        return self.elements // self.shape[-1] * self.type.row_bytes(self.shape[-1])


@dataclass(frozen=True)
class Group:
    """Tensors that are counted together in a report: see GROUPS."""

    name: str
    tensors: int
    elements: int
    nbytes: int
    types: tuple[str, ...]

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.nbytes / self.elements


@dataclass(frozen=True)
class FilePlan:
    """One GGUF file: its tensors in the order of the file, and bytes of all that is not tensors (estimated)."""

    name: str
    tensors: tuple[PlannedTensor, ...]
    header_bytes: int

    @property
    def nbytes(self) -> int:
        """Of the whole file."""
        raise NotImplementedError


def plan(
    config: dict[str, Any],
    recipe: Recipe,
    draft_head: bool = True,
    vision: bool = False,
    importance: bool = False,
    vision_type: TensorType = TYPES["F16"],
) -> list[PlannedTensor]:
    """The tensors of a member's files by `recipe`, from `config` in the shape of a released config.json.

    importance: whether an importance file is used, on which some stock mixes depend. vision: adds the tensors of the
    mmproj file, matrices in `vision_type`. Raises InvalidArgument when the recipe does not suit the member,
    CheckpointError when the configuration is incomplete.
    """
    raise NotImplementedError


def groups(tensors: list[PlannedTensor]) -> list[Group]:
    """Sizes of the parts of the planned tensors, in the order of GROUPS; only parts that have tensors."""
    raise NotImplementedError
