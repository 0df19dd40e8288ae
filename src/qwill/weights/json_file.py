"""The JSON files of a model's folder."""

import json
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, ModelNotFound
from qwill.weights.foreign import HEAD_BYTES, foreign_content


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object. Raises ModelNotFound or CheckpointError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelNotFound(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if what := foreign_content(text[:HEAD_BYTES]):
        raise CheckpointError(f"{path}: {what}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not valid JSON, download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds no JSON object")
    return value
