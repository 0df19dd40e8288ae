"""Reading a GGUF adapter, as llama.cpp's converter writes it: `X.lora_a` and `X.lora_b` of a model file's tensor X.

Values are those of a model file: V heads are tiled. Of the embeddings `lora_a` is [tokens, rank].
"""

from typing import Any

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.quant.codecs import decode
from qwill.quant.types import TYPES
from qwill.weights.adapters.adapter import LowRank
from qwill.weights.folders.head import EMBEDDINGS
from qwill.weights.gguf.file import GgufFile
from qwill.weights.mapped import RawTensor
from qwill.weights.names import Kind, Place, place_gguf

ENDINGS = (".lora_a", ".lora_b")
_MATRICES = (Kind.MATRIX, Kind.GATE_ROW, Kind.EXPERTS)


def is_adapter(file: GgufFile) -> bool:
    return file.metadata.get("general.type") == "adapter"


def read_gguf_adapter(file: GgufFile, architecture: str, layers: int) -> tuple[dict[str, LowRank], list[RawTensor]]:
    """The matrices of an adapter for a model of that architecture and so many layers, and the tensors that stand in
    place of the model's (norms, which mergekit extracts).

    Raises CheckpointError and UnsupportedModel.
    """
    kind = file.metadata.get("adapter.type")
    if kind != "lora":
        raise UnsupportedModel(f"{file.path}: is an adapter of type {kind!r}; only lora is supported")
    if file.architecture != architecture:
        raise CheckpointError(
            f"{file.path}: is an adapter for {file.architecture}, this model is {architecture}; take one"
            " that was made for it"
        )
    if file.metadata.get("adapter.alora.invocation_tokens") is not None:
        raise UnsupportedModel(
            f"{file.path}: is an activated LoRA, which begins within a prompt; that is not supported"
        )
    alpha = _alpha(file)
    pairs: dict[str, dict[str, RawTensor]] = {}
    replaced = []
    for name, raw in file.tensors.items():
        if name.endswith(ENDINGS):
            pairs.setdefault(name[: -len(ENDINGS[0])], {})[name[-1]] = raw
        else:
            replaced.append(raw)
    low_rank = {}
    for name, pair in pairs.items():
        some = next(iter(pair.values()))
        if len(pair) != 2:
            raise CheckpointError(f"{some.source}: the other matrix of the pair is missing; download the adapter again")
        place = _place(some, name, layers)
        low_rank[place.name] = _matrix(place, pair["a"], pair["b"], alpha)
    return low_rank, replaced


def _alpha(file: GgufFile) -> float:
    """0 where nothing is to be multiplied."""
    alpha: Any = file.metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, int | float) or not abs(alpha) <= 1e30:
        raise CheckpointError(f"{file.path}: adapter.lora.alpha must be a number, found {alpha!r}")
    return float(alpha)


def _place(raw: RawTensor, name: str, layers: int) -> Place:
    place = place_gguf(name, layers)
    if place is None or place.is_scale:
        raise CheckpointError(f"{raw.source}: belongs to no part of this model; the adapter was made for another one")
    if place.kind not in _MATRICES or place.name.startswith("mtp."):
        raise UnsupportedModel(
            f"{raw.source}: low-rank changes of {name} are not supported; train without it as a target"
        )
    return place


def _matrix(place: Place, first: RawTensor, last: RawTensor, alpha: float) -> LowRank:
    a, b = _array(first), _array(last)
    if place.name == EMBEDDINGS and a.ndim == b.ndim == 2:
        a, b = b.T, a  # [rank, hidden] and [tokens, rank]
    if a.ndim != b.ndim or a.ndim not in (2, 3) or a.shape[-2] != b.shape[-1] or a.shape[:-2] != b.shape[:-2]:
        raise CheckpointError(f"{first.source}: the pair has shapes {list(first.shape)} and {list(last.shape)}")
    factor = np.float32(alpha / a.shape[-2] if alpha else 1.0)
    return LowRank(np.ascontiguousarray(a), np.ascontiguousarray(b * factor), first.source)


def _array(raw: RawTensor) -> np.ndarray:
    if raw.dtype not in TYPES or 0 in raw.shape or not raw.shape:
        raise CheckpointError(
            f"{raw.source}: is stored as {raw.dtype} {list(raw.shape)}, which is no matrix of an adapter"
        )
    values = decode(TYPES[raw.dtype], raw.data, raw.shape)
    if not np.isfinite(values).all():
        raise CheckpointError(f"{raw.source}: holds values that are not finite; the adapter is damaged")
    return values
