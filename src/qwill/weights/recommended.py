"""What a release recommends for sampling, for files of it that do not say."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qwill.weights.naming.models import named_member

# Releases whose recommendation is not that of all others (engine/sampling_params.py), by the beginning of their names.
SAMPLING: dict[str, dict[str, float | int]] = {
    "Qwen3.8-": {"temperature": 1.0, "top_p": 0.95, "top_k": 20},
}


def with_recommended(generation_config: dict[str, Any], path: Path, names: Iterable[object] = ()) -> dict[str, Any]:
    """A generation_config, completed by what the release recommends that its names tell of: those that a file gives
    itself, then its path's, the nearest first. What the checkpoint says stays."""
    if generation_config.get("do_sample") is False:
        return generation_config
    texts = [*(name for name in names if isinstance(name, str)), path.name, *reversed(path.absolute().parent.parts)]
    member = next(filter(None, map(named_member, texts)), "")
    own = next((sampling for start, sampling in SAMPLING.items() if member.startswith(start)), {})
    return {**own, **generation_config}
