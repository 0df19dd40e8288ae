"""The adapters that an `LLM` is given: those that change all its answers, and those that a request asks for by name."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwill.errors import InvalidArgument, UnsupportedModel
from qwill.model.adapters import EMBEDDINGS, HEAD, NOTHING, Applied, LoadedAdapter
from qwill.ops import Operations
from qwill.weights.adapters.adapter import Adapter
from qwill.weights.adapters.load import open_adapter
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.tensor import Tensor, TensorSet

# One adapter or several, each PATH[=scale] or NAME=PATH[=scale]; or paths by their names.
Given = str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None
# What a request asks for: an adapter's name, or names with scales, which come on top of what changes all answers; or
# scales by numbers, in the order in which they were given, which are all that changes its own.
Asked = str | Mapping[str, float] | Mapping[int, float] | None

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
    if Path(text).expanduser().exists():
        return Spec(Path(text).expanduser())
    rest, found, last = text.rpartition("=")
    scale = 1.0
    if found and _SCALE.fullmatch(last):
        scale, text = check_scale(text, float(last)), rest
    name, found, path = text.partition("=")
    if not found or Path(text).expanduser().exists():
        name, path = "", text
    if not path or (found and not name and not Path(text).exists()):
        raise InvalidArgument(f"lora {text}: is no adapter; give PATH, PATH=scale or NAME=PATH=scale")
    return Spec(Path(path).expanduser(), scale, name or None)


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


class Adapters:
    """Opened with a checkpoint, ready after `load`. `checkpoint` is the one to load: with the tensors that adapters
    put in place of its own.
    """

    def __init__(self, given: Given, checkpoint: Checkpoint) -> None:
        """Raises ModelNotFound, CheckpointError, UnsupportedModel, InvalidArgument."""
        self._specs = read_specs(given)
        self._opened = [open_adapter(spec.path, checkpoint) for spec in self._specs]
        for spec, adapter in zip(self._specs, self._opened, strict=True):
            _check_supported(spec, adapter)
        self._base = checkpoint
        self.checkpoint = with_replaced(checkpoint, self._opened)
        self._loaded: list[LoadedAdapter] = []
        self._all = NOTHING

    @property
    def nbytes(self) -> int:
        """Bytes that they take beside the model."""
        return sum(adapter.nbytes for adapter in self._opened)

    @property
    def names(self) -> list[str]:
        """Those that requests can ask for."""
        return [spec.name for spec in self._specs if spec.name is not None]

    def load(self, operations: Operations) -> None:
        """Packs them for the kernels. Raises CheckpointError."""
        tensors = self.checkpoint.tensors
        self._loaded = [LoadedAdapter(adapter, operations, tensors) for adapter in self._opened]
        self._opened = []
        self._all = self._applied({})

    def asked(self, lora: Asked) -> Applied:
        """What a request is computed with. Raises InvalidArgument for an adapter that is not here."""
        if lora is None:
            return self._all
        scales: Mapping[Any, float | None] = {lora: None} if isinstance(lora, str) else lora
        for name, scale in scales.items():
            if scale is not None:
                check_scale(str(name), scale)
            if not (name in self.names if isinstance(name, str) else 0 <= name < len(self._specs)):
                there = f"there is {', '.join(self.names)}" if self.names else "none has a name"
                raise InvalidArgument(f"lora {name!r}: no such adapter here of {len(self._specs)}; {there}")
        if scales and not all(isinstance(name, str) for name in scales):
            return Applied(
                tuple((self._loaded[number], float(scale or 0)) for number, scale in sorted(scales.items()) if scale)
            )
        return self._applied(scales)

    def _applied(self, scales: Mapping[str, float | None]) -> Applied:
        """Those without a name, and the named ones of `scales`; None: the scale that it was given with."""
        parts = []
        for spec, adapter in zip(self._specs, self._loaded, strict=True):
            if spec.name is None or spec.name in scales:
                own = None if spec.name is None else scales[spec.name]
                parts.append((adapter, spec.scale if own is None else float(own)))
        return Applied(tuple(parts))


def with_replaced(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> Checkpoint:
    """The checkpoint with the tensors that adapters put in place of its own, and with their vocabulary where it grew.

    Raises InvalidArgument when two adapters replace the same.
    """
    replaced: dict[str, Tensor] = {}
    for adapter in adapters:
        for name, tensor in adapter.replaced.items():
            if name in replaced:
                raise InvalidArgument(f"{tensor.source}: {replaced[name].source} replaces {name} too; take one of them")
            replaced[name] = tensor
    if not replaced:
        return checkpoint
    embeddings = checkpoint.tensors.peek(EMBEDDINGS)
    table = replaced.get(EMBEDDINGS, embeddings)
    if HEAD not in checkpoint.tensors and HEAD not in replaced and table.shape == embeddings.shape:
        # Trained embeddings are no longer tied to the head, which stays.
        replaced[HEAD] = replace(embeddings, name=HEAD)
    config = checkpoint.config
    if table.shape != embeddings.shape:
        text = config.get("text_config", config) | {"vocab_size": table.shape[0]}
        config = config | {"text_config": text} if "text_config" in config else text
    head = replaced.get(HEAD) or (checkpoint.tensors.peek(HEAD) if HEAD in checkpoint.tensors else table)
    if head.shape != table.shape:
        raise UnsupportedModel(f"{table.source}: has shape {list(table.shape)} and the head {list(head.shape)}")
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors} | replaced
    tokenizer = next((adapter.tokenizer_json for adapter in adapters if adapter.tokenizer_json is not None), None)
    grown: dict[str, Any] = {} if tokenizer is None else {"tokenizer_json": tokenizer, "vocabulary": None}
    return replace(checkpoint, config=config, tensors=TensorSet(tensors, checkpoint.tensors.source), **grown)


def _check_supported(spec: Spec, adapter: Adapter) -> None:
    for name, matrix in adapter.low_rank.items():
        if name.startswith(("visual.", "mtp.")):
            raise UnsupportedModel(
                f"{matrix.source}: changes the vision tower, which is not done while answers are computed; merge it"
                " with qwill quantize --lora"
            )
    if spec.name is not None and adapter.replaced:
        some = next(iter(adapter.replaced.values()))
        raise UnsupportedModel(
            f"{some.source}: stands in place of a whole tensor of the model, so all answers have it; give"
            f" {spec.path} without a name, or merge it with qwill quantize --lora"
        )
