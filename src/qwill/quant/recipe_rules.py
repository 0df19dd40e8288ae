"""One rule of a recipe: which tensors in which layers of which models it is for."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from qwill.errors import InvalidArgument
from qwill.quant.types import TensorType

HEAD, EMBEDDING = "output.weight", "token_embd.weight"
DRAFT_HEAD = "draft head"
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
_ALWAYS_F32 = ("*_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight")


@dataclass(frozen=True)
class Matrices:
    """What rules are decided on: the shapes of a file's matrices by GGUF name, and the facts about their model.

    layers: blocks, those of the draft head included. importance: whether an importance file is used.
    """

    shapes: Mapping[str, tuple[int, ...]]
    layers: int
    experts: int
    importance: bool

    def place(self, name: str) -> tuple[int | None, tuple[str, ...]]:
        """The block's number, None outside of blocks, and the names that patterns are held against.

        An embedding that is also the head goes by either name.
        """
        if match := _BLOCK.fullmatch(name):
            return int(match[1]), (match[2],)
        return None, (HEAD, EMBEDDING) if name == EMBEDDING and HEAD not in self.shapes else (name,)

    @cached_property
    def places(self) -> dict[str, tuple[int | None, tuple[str, ...]]]:
        return {name: self.place(name) for name in self.shapes}

    @cached_property
    def draft_layers(self) -> set[int]:
        """Blocks of the draft head."""
        return {layer for layer, (own, *_) in self.places.values() if layer is not None and own.startswith("nextn.")}

    @cached_property
    def queries_per_key(self) -> int:
        """Query heads that share a key head. `attn_q` holds the queries' gates too.

        A model cut to layers without attention says nothing of it, and is taken for one of the family, which all have 4
        or more.
        """
        for name, shape in self.shapes.items():
            if name.endswith(".attn_q.weight"):
                return shape[0] // 2 // self.shapes[name.replace(".attn_q.", ".attn_k.")][0]
        return 4

    @cached_property
    def expert_width(self) -> int:
        """Rows of a routed expert's gate; 0 in dense members."""
        for name, shape in self.shapes.items():
            if name.endswith(".ffn_gate_exps.weight"):
                return shape[-2]
        return 0


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of a language model's file is quantized at all: vectors, norms, the router and convolutions stay
    F32.
    """
    match = _BLOCK.fullmatch(name)
    own = match[2] if match else name
    return len(shape) > 1 and own.endswith("weight") and not any(fnmatchcase(own, kept) for kept in _ALWAYS_F32)


CONDITIONS: dict[str, Callable[[Matrices], bool]] = {
    "importance": lambda model: model.importance,
    "no importance": lambda model: not model.importance,
    "8 experts": lambda model: model.experts == 8,
    "experts": lambda model: model.experts > 0,
    "no experts": lambda model: model.experts == 0,
    "wide experts": lambda model: model.expert_width >= 1024,
    "4 queries a key": lambda model: model.queries_per_key >= 4,
}

# Whether layer i of n is meant. Shares round down, so that small models may have no such layer.
LAYERS: dict[str, Callable[[int, int], bool]] = {
    "all": lambda i, n: True,
    "first two": lambda i, n: i < 2,
    "first four": lambda i, n: i < 4,
    "first sixteenth": lambda i, n: i < n // 16,
    "first eighth": lambda i, n: i < n // 8,
    "last eighth": lambda i, n: i >= 7 * n // 8,
    "every third": lambda i, n: i >= n // 8 and (i - n // 8) % 3 == 2,
}


def layer_range(term: str) -> range | None:
    """The layers that "7" or "0-7" means; None when it means none."""
    match = _RANGE.fullmatch(term)
    return (range(int(match[1]), int(match[2] or match[1]) + 1) or None) if match else None


@dataclass(frozen=True)
class Rule:
    """One rule; `where` names it in messages ("own.toml: rule 2"). `when` is "" or of CONDITIONS."""

    where: str
    tensors: tuple[str, ...]
    layers: tuple[str, ...]
    when: str
    type: TensorType
    reason: str
    optional: bool

    @property
    def everywhere(self) -> bool:
        """Whether it holds for all layers of all models."""
        return "all" in self.layers and not self.when

    def names(self, names: tuple[str, ...]) -> bool:
        """Whether one of its patterns fits one of the names."""
        return any(fnmatchcase(name, pattern) for pattern in self.tensors for name in names)

    def holds_in(self, layer: int | None, model: Matrices) -> bool:
        """Whether it is for this layer; what stands outside of layers (None) is meant by "all" alone."""
        return any(self._means(term, layer, model) for term in self.layers)

    def check(self, model: Matrices) -> None:
        """Raises InvalidArgument when it names layers or tensors that are not there."""
        for term in self.layers:
            meant = layer_range(term)
            if meant and meant[-1] >= model.layers:
                raise InvalidArgument(
                    f"{self.where}: layers {term} are not all there, the model has 0-{model.layers - 1}; mend the range"
                )
        if self.optional:
            return
        known = {names for _, names in model.places.values()}
        for pattern in self.tensors:
            if not any(fnmatchcase(name, pattern) for names in known for name in names):
                raise InvalidArgument(
                    f"{self.where}: {pattern!r} matches no matrix of this model; mend the name, or say optional = true"
                )

    @staticmethod
    def _means(term: str, layer: int | None, model: Matrices) -> bool:
        if layer is None:
            return term == "all"
        if term == DRAFT_HEAD:
            return layer in model.draft_layers
        meant = layer_range(term)
        return layer in meant if meant else LAYERS[term](layer, model.layers)
