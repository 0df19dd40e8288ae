"""Which type each tensor of a GGUF file gets: rules as data, in recipes/*.toml or in a user's own file.

A recipe is a TOML file:

    description = "Four bits, six where llama-quantize spends more."
    default = "Q4_K"             # of every matrix that no rule is for
    file_type = 15               # what general.file_type says, a number of llama.cpp's enumeration (may be left out)
    fallbacks = true             # a row that is no whole blocks gets a type of smaller blocks instead of an error

    [[rules]]                    # the first rule that fits decides
    tensors = ["attn_v.weight", "ffn_down*"]   # patterns for the GGUF name without `blk.N.`
    layers = "first eighth, last eighth, every third"   # or "3", "0-7", "draft head"; without it all
    when = "importance"          # only then, see CONDITIONS; without it always
    type = "Q6_K"
    reason = "…"
    optional = true              # models without such a tensor are fine

Norms, vectors, the router and convolutions are no matrices in this sense: they stay F32. An embedding that is also the
head is taken by rules for `output.weight` and for `token_embd.weight`.

The stock mixes choose as llama.cpp's llama-quantize does (src/llama-quant.cpp).
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwill.errors import InvalidArgument
from qwill.quant.recipe_rules import CONDITIONS, DRAFT_HEAD, LAYERS, Matrices, Rule, is_matrix, layer_range
from qwill.quant.types import TYPES, TensorType

STOCK = (
    "F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_M", "Q2_K",
    "Q4_0", "IQ4_XS", "IQ4_NL", "MXFP4_MOE",
)  # fmt: skip
DYNAMIC = ("UD-Q4_K_XL", "UD-Q3_K_XL", "UD-Q2_K_XL")
FOLDER = Path(__file__).with_name("recipes")

# A type of smaller blocks for rows that are no whole blocks, as llama-quantize has it. Where that fails too: F16.
FALLBACKS = {
    "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL",
    "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A named mix: a type for all matrices, and rules for those that get another one.

    own: a user's; a rule that does nothing is a mistake there. Built-in ones are for all members, so some rules have
    nothing to do in some of them.
    """

    name: str
    description: str
    default: TensorType
    rules: tuple[Rule, ...] = ()
    fallbacks: bool = False
    file_type: int | None = None
    own: bool = False

    def types(
        self, tensors: Sequence[tuple[str, tuple[int, ...]]], layers: int, experts: int = 0, importance: bool = False
    ) -> dict[str, TensorType]:
        """The type of each tensor, by GGUF name; `tensors` are (GGUF name, row-major shape) of a whole file.

        layers: blocks of the file, those of the draft head included (block_count). experts: routed experts of a layer.
        importance: whether an importance file is used; some of llama.cpp's mixes depend on it.
        Raises InvalidArgument when a row is no whole number of blocks, and when a rule of a user's own recipe is for
        tensors that the model does not have or that all belong to earlier rules.
        """
        model = Matrices({n: shape for n, shape in tensors if is_matrix(n, shape)}, layers, experts, importance)
        if self.own:
            self._check(model)
        rules = [rule for rule in self.rules if not rule.when or CONDITIONS[rule.when](model)]
        result = {name: TYPES["F32"] for name, _ in tensors}
        for name, (layer, own) in model.places.items():
            rule = next((rule for rule in rules if rule.names(own) and rule.holds_in(layer, model)), None)
            where, chosen = (rule.where, rule.type) if rule else (self.name, self.default)
            result[name] = self._fitting(name, model.shapes[name][-1], chosen, where)
        return result

    def _check(self, model: Matrices) -> None:
        taken: set[str] = set()
        for rule in self.rules:
            rule.check(model)
            its = {name for name, (_, own) in model.places.items() if rule.names(own)}
            if its and its <= taken:
                raise InvalidArgument(f"{rule.where}: earlier rules take all its tensors; move it above them")
            if rule.everywhere:
                taken |= its

    def _fitting(self, name: str, width: int, chosen: TensorType, where: str) -> TensorType:
        if width % chosen.block_elements == 0:
            return chosen
        if not self.fallbacks:
            raise InvalidArgument(
                f"{where}: {name} has rows of {width}, no whole {chosen.name} blocks of {chosen.block_elements}; "
                "give it a type of smaller blocks, or say fallbacks = true"
            )
        smaller = TYPES[FALLBACKS.get(chosen.name, "F16")]
        return smaller if width % smaller.block_elements == 0 else TYPES["F16"]


def names() -> tuple[str, ...]:
    """The built-in recipes."""
    return STOCK + DYNAMIC


def load_recipe(name_or_path: str) -> Recipe:
    """A built-in recipe by its name (in any case), or the recipe of a TOML file.

    Raises InvalidArgument for an unknown name or a file that is no recipe, with the mend.
    """
    name = name_or_path.upper()
    own = name not in names()
    path = Path(name_or_path) if own else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise InvalidArgument(f"{name_or_path}: no recipe and no file of that name; built in are {', '.join(names())}")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidArgument(f"{name_or_path}: cannot be read as TOML ({error}); mend it") from None
    return _recipe(content, path.stem, name_or_path, own)


_KINDS = {str: "a string", bool: "true or false", int: "a whole number", list: "a list"}


class _Table:
    """Typed access to a table of the file; what is missing, unknown or of another kind is named with its place."""

    def __init__(self, table: Any, where: str, known: tuple[str, ...]) -> None:
        if not isinstance(table, dict):
            raise InvalidArgument(f"{where}: is no table; write rules under [[rules]]")
        unknown = sorted(set(table) - set(known))
        if unknown:
            raise InvalidArgument(f"{where}: unknown key {unknown[0]!r}; keys are {', '.join(known)}")
        self.table, self.where = table, where

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """A value; without a default it must be there."""
        if key not in self.table and default is not None:
            return default
        value = self.table.get(key)
        if type(value) is not kind:
            found = "it is missing" if value is None else f"not {value!r}"
            raise InvalidArgument(f"{self.where}: {key} must be {_KINDS[kind]}, {found}")
        return value

    def type(self, key: str) -> TensorType:
        name = self.get(key, str)
        found = TYPES.get(name.upper())
        if found is None or found.gguf_id is None:
            known = ", ".join(kind.name for kind in TYPES.values() if kind.gguf_id is not None)
            raise InvalidArgument(f"{self.where}: unknown type {name!r}; types are {known}")
        return found


def _recipe(content: dict[str, Any], name: str, where: str, own: bool) -> Recipe:
    if not content:
        raise InvalidArgument(f'{where}: is empty; a recipe needs at least a type, such as default = "Q4_K"')
    table = _Table(content, where, ("description", "default", "file_type", "fallbacks", "rules"))
    rules = table.get("rules", list, [])
    return Recipe(
        name=name,
        description=table.get("description", str, ""),
        default=table.type("default"),
        rules=tuple(_rule(rule, f"{where}: rule {number}") for number, rule in enumerate(rules, 1)),
        fallbacks=table.get("fallbacks", bool, False),
        file_type=table.get("file_type", int) if "file_type" in content else None,
        own=own,
    )


def _rule(content: Any, where: str) -> Rule:
    table = _Table(content, where, ("tensors", "layers", "when", "type", "reason", "optional"))
    tensors = content.get("tensors")
    patterns = [tensors] if isinstance(tensors, str) else table.get("tensors", list)
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise InvalidArgument(f'{where}: tensors must name at least one tensor, such as "ffn_down.weight"')
    layers = tuple(term.strip() for term in table.get("layers", str, "all").split(","))
    for term in layers:
        if term not in (*LAYERS, DRAFT_HEAD) and not layer_range(term):
            known = ", ".join((*LAYERS, DRAFT_HEAD))
            raise InvalidArgument(f"{where}: unknown layers {term!r}; say {known}, 3 or 0-7")
    when = table.get("when", str, "")
    if when and when not in CONDITIONS:
        raise InvalidArgument(f"{where}: unknown condition {when!r}; there are {', '.join(CONDITIONS)}")
    return Rule(
        where=where,
        tensors=tuple(patterns),
        layers=layers,
        when=when,
        type=table.type("type"),
        reason=table.get("reason", str, ""),
        optional=table.get("optional", bool, False),
    )
