"""Typed access to the metadata of a GGUF file."""

from typing import Any

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.gguf.file import GgufFile


class MetadataReader:
    """Metadata under a prefix; a missing or ill-typed key is a CheckpointError that names it."""

    def __init__(self, file: GgufFile, prefix: str) -> None:
        self.file = file
        self.prefix = prefix

    def raw(self, key: str) -> Any:
        return self.file.metadata.get(f"{self.prefix}.{key}")

    def integer(self, key: str, default: int | None = None, minimum: int = 1) -> int:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or value < minimum:
            raise self.wrong(key, value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if type(value) not in (int, float) or not np.isfinite(value):
            raise self.wrong(key, value)
        # Files hold float32; the shortest decimal that gives the same float32 is what the configuration said.
        return float(str(np.float32(value)))

    def per_layer(self, key: str, layers: list[int]) -> int:
        """A value given once or for each layer, where the given layers must agree."""
        value = self.raw(key)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            values = {int(value[layer]) for layer in layers if layer < len(value)}
            if len(values) != 1 or min(values) < 1:
                raise self.wrong(key, value.tolist())
            return values.pop()
        return self.integer(key)

    def wrong(self, key: str, value: object) -> CheckpointError:
        problem = "is missing" if value is None else f"is {value!r}, which makes no sense"
        return CheckpointError(f"{self.file.path}: metadata {self.prefix}.{key} {problem}; convert the model again")
