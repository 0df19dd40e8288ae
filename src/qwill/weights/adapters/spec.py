"""Adapters as options name them: PATH, PATH=scale or NAME=PATH=scale."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwill.errors import InvalidArgument

# One adapter or several, each PATH[=scale] or NAME=PATH[=scale]; or paths by their names.
Given = str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None

MOST_SCALE = 1e6
_SCALE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Spec:
    """An adapter as an option names it. `name`: by which requests ask for it; None: it changes all answers."""

    path: Path
    scale: float = 1.0
    name: str | None = None


def read_spec(text: str) -> Spec:
    """Reads PATH[=scale] or NAME=PATH[=scale]; what is a path as it stands is one. Raises InvalidArgument."""
    name, path, scale = "", text, 1.0
    if not _exists(path):
        rest, found, last = path.rpartition("=")
        if found and _SCALE.fullmatch(last):
            path, scale = rest, check_scale(text, float(last))
    if not _exists(path) and "=" in path:
        name, _, path = path.partition("=")
        if not name:
            path = ""
    if not path:
        raise InvalidArgument(f"lora {text!r}: is no adapter; give PATH, PATH=scale or NAME=PATH=scale")
    return Spec(Path(path).expanduser(), scale, name or None)


def _exists(path: str) -> bool:
    return bool(path) and Path(path).expanduser().exists()


def check_scale(what: str, scale: Any) -> float:
    """A scale. Raises InvalidArgument."""
    sound = isinstance(scale, int | float) and not isinstance(scale, bool) and abs(scale) <= MOST_SCALE
    if not sound or math.isnan(scale):
        raise InvalidArgument(f"lora {what}: the scale must be a number from -1e6 to 1e6, not {scale!r}")
    return float(scale)


def read_specs(given: Given) -> list[Spec]:
    """All adapters of an option. Raises InvalidArgument, also for a name that is given twice."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        specs = [replace(read_spec(str(path)), name=name) for name, path in given.items()]
    else:
        specs = [read_spec(str(text)) for text in ([given] if isinstance(given, str | Path) else given)]
    names = [spec.name for spec in specs if spec.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"lora: two adapters are called {name}; give them different names")
    return specs
