"""Which type each tensor of a GGUF file gets: rules as data, in recipes/*.toml or in a user's own file."""

from collections.abc import Sequence
from dataclasses import dataclass

from qwill.quant.types import TensorType


@dataclass(frozen=True)
class Recipe:
    """A named mix: a type for all matrices, and rules for those that get another one."""

    name: str
    description: str
    default: TensorType

    def types(
        self, tensors: Sequence[tuple[str, tuple[int, ...]]], layers: int, experts: int = 0, importance: bool = False
    ) -> dict[str, TensorType]:
        """The type of each tensor, by GGUF name; `tensors` are (GGUF name, row-major shape) of a whole file.

        layers: blocks of the file, those of the draft head included (block_count). experts: routed experts of a layer.
        importance: whether an importance file is used; some of llama.cpp's mixes depend on it.
        Raises InvalidArgument when a width is no whole number of blocks or a rule matches nothing.
        """
        raise NotImplementedError


def names() -> tuple[str, ...]:
    """The built-in recipes."""
    raise NotImplementedError


def load_recipe(name_or_path: str) -> Recipe:
    """A built-in recipe by its name (in any case), or the recipe of a TOML file.

    Raises InvalidArgument for an unknown name or a file that is no recipe, with the mend.
    """
    raise NotImplementedError
