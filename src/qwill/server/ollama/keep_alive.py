"""How long a model is kept: numbers of seconds, or durations as Go writes them."""

import math
import re

from qwill.server.errors import Refusal
from qwill.server.models import Models, Served

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
FOR_EVER = 10 * 365 * 24 * UNITS["h"]  # whoever asks for as much means it
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_PIECE = re.compile(rf"({_NUMBER})({'|'.join(sorted(UNITS, key=len, reverse=True))})")
_DURATION = re.compile(rf"([+-]?)(?:({_NUMBER})|((?:{_PIECE.pattern})+))", re.ASCII)
MOST_CHARACTERS = 64


def keep_seconds(stated: float | str | None) -> float | None:
    """Seconds for which a request wants its model kept: `math.inf` for ever, which a negative number stands for; None
    where it says nothing. Raises Refusal for what is no duration.
    """
    if stated is None or stated == "":
        return None
    seconds = _parsed(stated) if isinstance(stated, str) else stated
    return math.inf if seconds < 0 or seconds >= FOR_EVER else seconds


async def load_or_unload(models: Models, name: str | None, keep_alive: float | str | None) -> tuple[Served, str]:
    """What a request without a question is for: has its model loaded for the next one, or unloaded if it is to be kept
    no time. The model, and `load` or `unload`."""
    seconds = keep_seconds(keep_alive)
    if seconds == 0:
        served = models.find(name)
        await models.unload(served)
        return served, "unload"
    served, _ = await models.lease(name, seconds)
    models.release(served)
    return served, "load"


def _parsed(text: str) -> float:
    found = _DURATION.fullmatch(text) if len(text) <= MOST_CHARACTERS else None
    if found is None:
        raise Refusal(
            400, f"keep_alive {text!r} is no duration; give seconds, or one like 5m or 1h30m", param="keep_alive"
        )
    sign, number, pieces = found[1], found[2], found[3]
    seconds = float(number) if number else sum(float(count) * UNITS[unit] for count, unit in _PIECE.findall(pieces))
    return -seconds if sign == "-" else seconds
