"""What GGUF files of a member will hold and how large they will be, from its configuration and a recipe alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from qwill.convert.gguf_writer import TensorInfo, headers
from qwill.convert.quantize import vision_type
from qwill.errors import UnsupportedModel
from qwill.quant.recipes import Recipe
from qwill.quant.types import TYPES, TensorType
from qwill.weights.folders.head import is_tied
from qwill.weights.gguf.file import DEFAULT_ALIGNMENT
from qwill.weights.shapes import typed_shapes, vision_shapes

# Bytes of a published model file that are neither tensors nor their descriptions: 248,320 tokens (4.86 MB), 247,587
# merges (5.09 MB), token types (0.99 MB), the chat template and hyperparameters. It is what the members' published
# Q8_0 files have in common; 765 bytes more are in those with experts at most.
METADATA_BYTES = 10_943_040
VOCABULARY_SIZE = 248_320
VISION_METADATA_BYTES = 1_300  # of a vision file, which has no vocabulary

# Parts of a report, in its order.
GROUPS = (
    "embeddings", "head", "attention", "DeltaNet", "feed-forward", "experts", "shared expert", "norms", "draft head",
    "vision tower",
)  # fmt: skip
# What their tensors' canonical names contain; the first that fits decides.
_WORDS = {
    "draft head": ("mtp.",),
    "vision tower": ("visual.",),
    "norms": ("norm.weight",),
    "embeddings": ("embed_tokens.",),
    "head": ("lm_head.",),
    "attention": ("self_attn.",),
    "DeltaNet": ("linear_attn.",),
    "shared expert": ("shared_expert",),
    "experts": ("mlp.experts.", "mlp.gate."),
    "feed-forward": ("mlp.",),
}


@dataclass(frozen=True)
class PlannedTensor(TensorInfo):
    """A tensor of a GGUF file: name and row-major shape there, type, and the canonical name."""

    canonical: str

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Group:
    """Tensors that are counted together in a report, of one of GROUPS; `types` the one with the most bytes first."""

    name: str
    tensors: int
    elements: int
    nbytes: int
    types: tuple[str, ...]

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.nbytes / self.elements


def plan(
    config: dict[str, Any],
    recipe: Recipe,
    draft_head: bool = True,
    vision: bool = False,
    importance: bool = False,
    vision_wanted: TensorType = TYPES["F16"],
) -> list[PlannedTensor]:
    """The tensors of a member's files by `recipe`, from `config` in the shape of a released config.json.

    importance: whether an importance file is used, on which some stock mixes depend. vision: adds the tensors of the
    vision file, matrices in `vision_wanted`. Raises InvalidArgument when the recipe does not suit the member,
    CheckpointError when the configuration is incomplete, UnsupportedModel for a tower that is wanted and not there.
    """
    text = dict(config.get("text_config", config))
    text["tie_word_embeddings"] = is_tied(config)
    if not draft_head:
        text["mtp_num_hidden_layers"] = 0
    planned = [
        PlannedTensor(tensor.gguf, tensor.stored, tensor.type, tensor.name)
        for tensor in typed_shapes(text, recipe, importance)
    ]
    if not vision:
        return planned
    if not config.get("vision_config"):
        raise UnsupportedModel("config.json: has no vision_config; leave the vision tower out")
    tower = vision_shapes(config["vision_config"])
    return planned + [
        PlannedTensor(shape.gguf, shape.stored, vision_type(shape.gguf, shape.stored, vision_wanted), shape.name)
        for shape in tower
    ]


def file_sizes(tensors: Sequence[PlannedTensor]) -> dict[str, int]:
    """Bytes of the files for planned tensors: "model", and "vision" if there is a tower among them.

    Tensors, their padding and descriptions are exact; vocabulary and other metadata are estimated (METADATA_BYTES).
    """
    tower = [tensor for tensor in tensors if tensor.canonical.startswith("visual.")]
    model = [tensor for tensor in tensors if not tensor.canonical.startswith("visual.")]
    rows = next(tensor.shape[0] for tensor in model if tensor.canonical == "embed_tokens.weight")
    sizes = {"model": _file_bytes(model, METADATA_BYTES * rows // VOCABULARY_SIZE)}
    return sizes | ({"vision": _file_bytes(tower, VISION_METADATA_BYTES)} if tower else {})


def groups(tensors: Sequence[PlannedTensor]) -> list[Group]:
    """Sizes of the parts of the planned tensors, in the order of GROUPS; only parts that have tensors."""
    parts: dict[str, list[PlannedTensor]] = {name: [] for name in GROUPS}
    for tensor in tensors:
        parts[group_of(tensor.canonical)].append(tensor)
    return [_group(name, part) for name, part in parts.items() if part]


def group_of(canonical: str) -> str:
    """The name in GROUPS of a tensor's part."""
    return next(name for name, words in _WORDS.items() if any(word in canonical for word in words))


def _group(name: str, part: list[PlannedTensor]) -> Group:
    by_type: dict[str, int] = {}
    for tensor in part:
        by_type[tensor.type.name] = by_type.get(tensor.type.name, 0) + tensor.nbytes
    return Group(
        name=name,
        tensors=len(part),
        elements=sum(tensor.elements for tensor in part),
        nbytes=sum(tensor.nbytes for tensor in part),
        types=tuple(sorted(by_type, key=by_type.__getitem__, reverse=True)),
    )


def _file_bytes(tensors: Sequence[PlannedTensor], metadata_bytes: int) -> int:
    (descriptions,) = headers({}, [tensors])
    return _padded(len(descriptions) + metadata_bytes) + sum(_padded(tensor.nbytes) for tensor in tensors)


def _padded(size: int) -> int:
    return -(-size // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
