"""A model's weights as what is counted: how many of which type in which part, before there is a file or from one."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

from qwill.convert.plan import file_sizes, plan
from qwill.errors import InvalidArgument
from qwill.fit.family import distinct_members, family_config
from qwill.model.config import ModelConfig, model_config
from qwill.quant.recipes import load_recipe
from qwill.quant.types import TYPES, TensorType
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.naming.models import NOT_RELEASED_IN_FP8, named_member
from qwill.weights.naming.models import alias_of as alias_of_release
from qwill.weights.shapes import TensorShape, text_shapes, vision_shapes

EMBEDDING, HEAD, MIXERS, FEED_FORWARD = "embedding", "head", "attention and DeltaNet", "feed-forward"
EXPERTS, DRAFT_HEAD, VISION = "experts", "draft head", "vision tower"
PARTS = (EMBEDDING, HEAD, MIXERS, FEED_FORWARD, EXPERTS, DRAFT_HEAD, VISION)

# The best first, by what the published measurements and docs/performance.md say of their divergence.
QUANTS = (
    "BF16", "Q8_0", "FP8", "Q6_K", "Q5_K_M", "Q5_K_S", "UD-Q4_K_XL", "Q4_K_M", "Q4_K_S", "IQ4_NL", "IQ4_XS",
    "MXFP4_MOE", "Q4_0", "UD-Q3_K_XL", "Q3_K_M", "UD-Q2_K_XL", "Q2_K",
)  # fmt: skip
RELEASED = ("BF16", "FP8")  # as safetensors; all others are GGUF files
_FP8_BLOCK = 128
_NOT_FP8 = ("embed_tokens", "lm_head", "conv1d", "in_proj_a", "in_proj_b", "mlp.gate.", "shared_expert_gate", "mtp.fc")


@dataclass(frozen=True)
class Part:
    """All weights of one part and type. vectors: norms, biases and the like, which are no matrices of a projection."""

    name: str
    type: TensorType
    elements: int
    nbytes: int
    vectors: bool = False


@dataclass(frozen=True)
class Weights:
    """A model's name and quantization, its configuration, its parts, and the bytes of its files."""

    model: str
    quant: str
    config: ModelConfig
    parts: tuple[Part, ...]
    file_bytes: int

    def nbytes(self, *names: str) -> int:
        """Bytes of the parts of these names, as in the files; of all without names."""
        return sum(part.nbytes for part in self.parts if not names or part.name in names)


class _Sized(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def type(self) -> TensorType: ...
    @property
    def nbytes(self) -> int: ...


def member_weights(member: str, quant: str, draft_head: bool = True, vision: bool = True) -> Weights:
    """A member of the family in a quantization of QUANTS; with what else its files hold, if that is wanted.

    GGUF files are as published: without the draft head. Raises ModelNotFound or InvalidArgument.
    """
    config = family_config(member)
    vision = vision and "vision_config" in config
    if quant not in quantizations(member):
        raise InvalidArgument(f"{member} does not come in {quant}; it comes in {', '.join(quantizations(member))}")
    if quant in RELEASED:
        sized = _released(config, quant, draft_head, vision)
        return Weights(member, quant, model_config(config), _parts(sized), sum(tensor.nbytes for _, tensor in sized))
    tensors = plan(config, load_recipe(quant), draft_head=False, vision=vision)
    named = [(tensor.canonical, tensor) for tensor in tensors]
    text = config | {"text_config": config["text_config"] | {"mtp_num_hidden_layers": 0}}
    return Weights(member, quant, model_config(text), _parts(named), sum(file_sizes(tensors).values()))


def checkpoint_weights(checkpoint: Checkpoint, model: str = "") -> Weights:
    """Those of an open checkpoint."""
    sizes: dict[str, int] = {}
    for tensor in checkpoint.tensors:
        sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.nbytes
    named = [(tensor.name, tensor) for tensor in checkpoint.tensors]
    quant = max(sizes, key=lambda name: sizes[name])
    config = model_config(checkpoint.config)
    return Weights(model or str(checkpoint.path), quant, config, _parts(named), sum(sizes.values()))


def quantizations(member: str) -> tuple[str, ...]:
    """Those of QUANTS that a member has: FP8 where it was released, MXFP4_MOE where there are experts."""
    absent = set()
    if alias_of_release(member) in NOT_RELEASED_IN_FP8:
        absent.add("FP8")
    if "num_experts" not in family_config(member)["text_config"]:
        absent.add("MXFP4_MOE")
    return tuple(quant for quant in QUANTS if quant not in absent)


def alias_of(member: str, quant: str) -> str:
    """What commands call a member in that quantization."""
    return alias_of_release(member) + ("" if quant == "BF16" else f"-{quant.lower()}")


def known_member(config: dict[str, Any], name: str = "") -> str | None:
    """The member whose language model has the shapes of a configuration; of several the one that a name tells, such as
    the model's or its path, else the earliest."""
    named = named_member(name)
    text = config.get("text_config", config)
    for shape in distinct_members():
        own = family_config(shape)["text_config"]
        keys = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_experts", "vocab_size")
        if all(own.get(key) == text.get(key) or (key == "intermediate_size" and not text.get(key)) for key in keys):
            return named if named and family_config(named) == family_config(shape) else shape
    return None


def part_of(name: str) -> str:
    """The part that a tensor of that canonical name belongs to."""
    if name.startswith("visual."):
        return VISION
    if name.startswith("mtp."):
        return DRAFT_HEAD
    if name.startswith("lm_head."):
        return HEAD
    if name.startswith("embed_tokens."):
        return EMBEDDING
    if ".mlp.experts." in name:
        return EXPERTS
    return FEED_FORWARD if ".mlp." in name or "post_attention_layernorm" in name else MIXERS


@dataclass(frozen=True)
class _Released:
    shape: tuple[int, ...]
    type: TensorType
    scales: int = 0

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.type.block_bytes + self.scales


def _released(config: dict[str, Any], quant: str, draft_head: bool, vision: bool) -> list[tuple[str, _Sized]]:
    """Tensors of a release in safetensors: BF16, or E4M3 with a BF16 scale for each block of 128 x 128."""
    text = config["text_config"] | ({} if draft_head else {"mtp_num_hidden_layers": 0})
    shapes = [*text_shapes(text), *(vision_shapes(config["vision_config"]) if vision else ())]
    return [(shape.name, _released_tensor(shape, quant)) for shape in shapes]


def _released_tensor(shape: TensorShape, quant: str) -> _Released:
    name = shape.name
    if quant == "FP8" and len(shape.shape) > 1 and "visual." not in name and not any(word in name for word in _NOT_FP8):
        *experts, rows, columns = shape.shape
        blocks = prod(experts) * -(-rows // _FP8_BLOCK) * -(-columns // _FP8_BLOCK)
        return _Released(shape.shape, TYPES["F8_E4M3"], 2 * blocks)
    return _Released(shape.shape, TYPES["BF16"])


def _parts(tensors: Iterable[tuple[str, _Sized]]) -> tuple[Part, ...]:
    """Adds tensors up."""
    sums: dict[tuple[str, str, bool], list[int]] = {}
    for name, tensor in tensors:
        vector = len(tensor.shape) == 1 or name.endswith(("conv1d.weight", "shared_expert_gate.weight"))
        entry = sums.setdefault((part_of(name), tensor.type.name, vector), [0, 0])
        entry[0] += prod(tensor.shape)
        entry[1] += tensor.nbytes
    return tuple(
        Part(name, TYPES[type_name], elements, nbytes, vector)
        for (name, type_name, vector), (elements, nbytes) in sums.items()
    )
