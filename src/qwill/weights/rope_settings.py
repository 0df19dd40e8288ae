"""Rotary positions as a config.json says them, in all the places where it may, to the one meaning that it has.

Places and defaults are those of transformers 5: in the text model's part `rope_scaling`, if it says anything, takes the
place of `rope_parameters`, whole; what they leave out may stand beside them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qwill.errors import CheckpointError, UnsupportedModel

SCALING, PARAMETERS = "rope_scaling", "rope_parameters"
THETA, ROTARY_SHARE, SECTIONS = 10_000.0, 0.25, (11, 11, 10)
POSITIONS = 32_768  # of a text model that does not say how many it has
ORIGINAL = "original_max_position_embeddings"
_LAYER_TYPES = ("full_attention", "linear_attention")
_LARGEST = 1e30
_SCALING_KEYS = ("factor", ORIGINAL)


@dataclass(frozen=True)
class Yarn:
    """Stretched by `factor` from `original_context` positions. `mscale` of two numbers gives the factor of attention
    where `attention_factor` is None; otherwise the factor itself does.
    """

    factor: float
    original_context: int
    attention_factor: float | None
    mscale: tuple[float, float] | None
    beta_fast: float
    beta_slow: float
    truncate: bool

    def attention(self, factor: float) -> float | None:
        """The factor on cos and sin when stretched by `factor`; None where that alone decides."""
        if self.attention_factor is not None or self.mscale is None:
            return self.attention_factor
        first, second = (0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0 for scale in self.mscale)
        return first / second


@dataclass(frozen=True)
class RopeSettings:
    """`notes`: what a user should know of how the configuration was understood, without the name of its file."""

    theta: float
    rotary_share: float
    sections: tuple[int, int, int]
    original_context: int
    yarn: Yarn | None
    notes: tuple[str, ...]


def rope_settings(config: Mapping[str, Any]) -> RopeSettings:
    """Those of the text model of a configuration.

    Raises UnsupportedModel for another kind of scaling, CheckpointError for what makes no sense.
    """
    text = config.get("text_config", config)
    parameters, scaling = _section(text, PARAMETERS), _section(text, SCALING)
    # Of type mrope it says nothing that rope_parameters do not say.
    replaced = bool(scaling) and (not parameters or _kind(scaling, SCALING) != "mrope")
    rope = _Reader(scaling, text, SCALING) if replaced else _Reader(parameters, text, PARAMETERS)
    kind = _kind(rope.section, rope.name)
    original = _original_context(rope, text)
    theta = rope.number("rope_theta", THETA, also_beside=True)
    if theta <= 1:
        raise CheckpointError(f"config.json: rope_theta of {theta:g} is no base; download the model again")
    outside = [key for key in (SCALING, PARAMETERS) if text is not config and _stretches(config, key)]
    return RopeSettings(
        theta=theta,
        rotary_share=rope.number("partial_rotary_factor", ROTARY_SHARE, also_beside=True),
        sections=_sections(rope),
        original_context=original,
        yarn=_yarn(rope, text, original) if kind == "yarn" else None,
        notes=(*_notes(rope, kind, parameters if replaced else {}), *map(_outside, outside)),
    )


def _notes(rope: "_Reader", kind: str, replaced: Mapping[str, Any]) -> Iterator[str]:
    """`replaced`: the section whose place this one takes."""
    if any(rope.section.get(key) != value for key, value in replaced.items()):
        yield f"{SCALING} takes the place of {PARAMETERS}, as in transformers"
    if rope.section.get("rope_theta") is None and rope.text.get("rope_theta") is None:
        lost = replaced.get("rope_theta")
        says = f"; {PARAMETERS} say {lost}, so add it there" if lost is not None else ""
        yield f"{rope.name} has no rope_theta, which then is {THETA:g}, as in transformers{says}"
    if kind != "yarn" and any(rope.section.get(key) is not None for key in _SCALING_KEYS):
        yield f"{rope.name} is of type {kind!r}, with which a factor does nothing; is 'yarn' meant?"


@dataclass(frozen=True)
class _Reader:
    """Values of a section; what stands in it comes before what stands beside it in the text model's part."""

    section: Mapping[str, Any]
    text: Mapping[str, Any]
    name: str

    def number(self, key: str, default: float, also_beside: bool = False) -> float:
        """Positive; a string counts as the number that it says. Absent and null are the default."""
        value = self.section.get(key)
        if value is None and also_beside:
            value = self.text.get(key)
        if value is None:
            return default
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not 0 < number < _LARGEST:
            raise CheckpointError(f"config.json: {self.name}.{key} must be a positive number, found {value!r}")
        return number


def _section(part: Mapping[str, Any], key: str) -> dict[str, Any]:
    section = part.get(key)
    if section is not None and not isinstance(section, dict):
        raise CheckpointError(f"config.json: {key} must be an object, found {section!r}")
    section = section or {}
    if any(isinstance(section.get(kind), dict) for kind in _LAYER_TYPES):
        raise UnsupportedModel(f"config.json: {key} that differ by layer type are not supported")
    return section


def _kind(section: Mapping[str, Any], name: str) -> str:
    kind = section.get("rope_type", section.get("type", "default"))
    if kind not in ("default", "mrope", "yarn"):
        raise UnsupportedModel(f"config.json: rope_type {kind!r} in {name} is not supported, only default and yarn")
    return str(kind)


def _stretches(config: Mapping[str, Any], key: str) -> bool:
    """Whether a section outside the text model's part says something that somebody may have meant."""
    section = config.get(key)
    if not isinstance(section, dict):
        return False
    return section.get("rope_type", section.get("type", "default")) not in ("default", "mrope")


def _outside(key: str) -> str:
    return f"{key} beside text_config does nothing; move it into text_config.{PARAMETERS}, or say --yarn FACTOR"


def _sections(rope: _Reader) -> tuple[int, int, int]:
    sections = rope.section.get("mrope_section")
    sections = SECTIONS if sections is None else sections
    sound = isinstance(sections, list | tuple) and all(type(size) is int and size >= 0 for size in sections)
    interleaved = rope.section.get("mrope_interleaved")
    if not sound or len(sections) != 3 or not (interleaved is None or interleaved):
        raise UnsupportedModel(f"config.json: mrope_section {sections!r} must have 3 interleaved parts")
    return sections[0], sections[1], sections[2]


def _original_context(rope: _Reader, text: Mapping[str, Any]) -> int:
    """Positions that the model was trained with: what the text model's part says comes first."""
    beside = _Reader(text, text, "text_config")
    positions = beside.number("max_position_embeddings", POSITIONS)
    return int(beside.number(ORIGINAL, rope.number(ORIGINAL, positions)))


def _yarn(rope: _Reader, text: Mapping[str, Any], original: int) -> Yarn:
    if "factor" not in rope.section:
        raise CheckpointError(f"config.json: {rope.name} is of type yarn and has no factor")
    positions = _Reader(text, text, "text_config").number("max_position_embeddings", POSITIONS)
    factor = rope.number("factor", positions / original)
    if factor < 1:
        raise CheckpointError(f"config.json: {rope.name}.factor of {factor:g} would shorten the context")
    attention = rope.section.get("attention_factor")
    mscales = [rope.section.get(key) for key in ("mscale", "mscale_all_dim")]
    return Yarn(
        factor=factor,
        original_context=original,
        attention_factor=None if attention is None else rope.number("attention_factor", 1),
        mscale=(rope.number("mscale", 1), rope.number("mscale_all_dim", 1)) if all(mscales) else None,
        beta_fast=rope.number("beta_fast", 32) if rope.section.get("beta_fast") else 32.0,
        beta_slow=rope.number("beta_slow", 1) if rope.section.get("beta_slow") else 1.0,
        truncate=bool(rope.section.get("truncate", True)),
    )
