"""The adapters that an `LLM` is given: those that change all its answers, and those that a request asks for by name."""

from collections.abc import Mapping
from typing import Any

from qwill.errors import InvalidArgument, UnsupportedModel
from qwill.model.adapters import NOTHING, Applied, LoadedAdapter
from qwill.ops import Operations
from qwill.weights.adapters.adapter import Adapter
from qwill.weights.adapters.load import open_adapter
from qwill.weights.adapters.replaced import with_replaced
from qwill.weights.adapters.spec import Given, Spec, check_scale, read_specs
from qwill.weights.adapters.vision import TOWER, with_vision
from qwill.weights.checkpoint import Checkpoint

# What a request asks for: an adapter's name, or names with scales, which come on top of what changes all answers; or
# scales by numbers, in the order in which they were given, which are all that changes its own.
Asked = str | Mapping[str, float] | Mapping[int, float] | None

MOST_KNOWN = 256  # sets with their scales that are remembered


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
        scaled = [(adapter, spec.scale) for spec, adapter in zip(self._specs, self._opened, strict=True)]
        self.checkpoint = with_vision(with_replaced(checkpoint, self._opened), scaled)
        self._loaded: list[LoadedAdapter] = []
        self._known: dict[tuple[tuple[int, float], ...], Applied] = {}
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
            numbered = sorted(scales.items())
            return self._one([(self._loaded[number], float(scale)) for number, scale in numbered if scale])
        return self._applied(scales)

    def _applied(self, scales: Mapping[str, float | None]) -> Applied:
        """Those without a name, and the named ones of `scales`; None: the scale that it was given with."""
        parts = []
        for spec, adapter in zip(self._specs, self._loaded, strict=True):
            if spec.name is None or spec.name in scales:
                own = None if spec.name is None else scales[spec.name]
                parts.append((adapter, spec.scale if own is None else float(own)))
        return self._one(parts)

    def _one(self, parts: list[tuple[LoadedAdapter, float]]) -> Applied:
        """The same object for the same set: what is computed together knows it by that."""
        key = tuple((id(adapter), scale) for adapter, scale in parts)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[key] = Applied(tuple(parts))
        return found


def _check_supported(spec: Spec, adapter: Adapter) -> None:
    """What changes the model itself cannot be asked for by name. Raises UnsupportedModel."""
    if spec.name is None:
        return
    sources = [tensor.source for tensor in adapter.replaced.values()]
    sources += [matrix.source for name, matrix in adapter.low_rank.items() if name.startswith(TOWER)]
    if sources:
        raise UnsupportedModel(
            f"{sources[0]}: changes the vision tower or a whole tensor, which all answers share; give it no name,"
            " or merge it with qwill quantize --lora"
        )
