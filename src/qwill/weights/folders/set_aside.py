"""What lies in a folder and is no part of its model: left aside with a note, since the model is whole without it."""

import logging
from pathlib import Path
from typing import Any

from qwill.weights.shapes import text_shapes
from qwill.weights.tensor import TensorSet

DRAFT_HEAD, TOWER = "mtp.", "visual."

log = logging.getLogger("qwill")


def set_aside(tensors: TensorSet, config: dict[str, Any], folder: Path) -> TensorSet:
    """The tensors without a vision tower that the configuration says nothing of, as text-only models are made of whole
    ones, and without a draft head that lies in a file of its own and is another model's.

    Raises CheckpointError or UnsupportedModel for a configuration that lacks a size.
    """
    names = [tensor.name for tensor in tensors]
    aside: list[str] = []
    if not config.get("vision_config") and any(name.startswith(TOWER) for name in names):
        log.warning("%s: its vision tower is not used, since config.json has no vision_config", folder)
        aside.append(TOWER)
    if reason := _of_another_model(tensors, config.get("text_config", config)):
        log.warning("a draft head is left aside: %s", reason)
        aside.append(DRAFT_HEAD)
    if not aside:
        return tensors
    kept = {tensor.name: tensor for tensor in tensors if not tensor.name.startswith(tuple(aside))}
    return TensorSet(kept, tensors.source)


def _of_another_model(tensors: TensorSet, text: dict[str, Any]) -> str | None:
    """Why a draft head in a file of its own cannot be this model's; None when it can, or there is none."""
    files: dict[bool, set[str]] = {True: set(), False: set()}
    for tensor in tensors:
        files[tensor.name.startswith(DRAFT_HEAD)].add(_file(tensor.source))
    if not files[True] or files[True] & files[False]:
        return None
    there = {tensor.name: tensor for tensor in tensors if tensor.name.startswith(DRAFT_HEAD)}
    layers = text.get("mtp_num_hidden_layers") or 1
    wanted = {shape.name: shape.shape for shape in text_shapes(text | {"mtp_num_hidden_layers": layers})}
    file = min(files[True])
    for name, tensor in there.items():
        if name not in wanted:
            return f"{file}: {name} belongs to no draft head of this model"
        if tensor.shape != wanted[name]:
            return f"{file}: {name} has shape {list(tensor.shape)}, this model's has {list(wanted[name])}"
    missing = [name for name in wanted if name.startswith(DRAFT_HEAD) and name not in there]
    return f"{file}: {missing[0]} is missing" if missing else None


def _file(source: str) -> str:
    return source.rpartition(" (")[0] or source
