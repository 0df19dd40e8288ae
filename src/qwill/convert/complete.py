"""Whether a folder has all tensors that its configuration speaks of, in their shapes, before anything is made of it."""

from collections.abc import Mapping

from qwill.errors import CheckpointError
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders.head import HEAD, TIE
from qwill.weights.shapes import text_shapes, vision_shapes


def check_complete(checkpoint: Checkpoint, draft_head: bool) -> None:
    """Raises CheckpointError for a tensor of the text model, or of the draft head if it is wanted, that is missing, of
    another shape, or of no part of the model: what a model that is loaded is refused for, too.
    """
    text = checkpoint.config.get("text_config", checkpoint.config) | {TIE: HEAD not in checkpoint.tensors}
    if not draft_head:
        text["mtp_num_hidden_layers"] = 0
    wanted = {tensor.name: tensor.shape for tensor in text_shapes(text)}
    _check(checkpoint, wanted)
    for tensor in checkpoint.tensors:
        known = tensor.name in wanted or tensor.name.startswith("visual.")
        if not known and (draft_head or not tensor.name.startswith("mtp.")):
            raise CheckpointError(f"{tensor.source}: {tensor.name} is of no layer that the configuration counts")


def check_tower(checkpoint: Checkpoint) -> None:
    """The same of its vision tower."""
    shapes = vision_shapes(checkpoint.config["vision_config"])
    # The patch embedding is counted by its two time slices.
    slices = [shape.name for shape in shapes]
    wanted = {shape.name: (*shape.shape[:-1], slices.count(shape.name) * shape.shape[-1]) for shape in shapes}
    _check(checkpoint, wanted)
    for tensor in checkpoint.tensors:
        if tensor.name.startswith("visual.") and tensor.name not in wanted:
            raise CheckpointError(f"{tensor.source}: {tensor.name} is of no layer that the configuration counts")


def _check(checkpoint: Checkpoint, wanted: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in wanted.items():
        tensor = checkpoint.tensors.peek(name)
        if tensor.shape != shape:
            raise CheckpointError(
                f"{tensor.source}: {name} has shape {list(tensor.shape)}, the configuration says {list(shape)}"
            )
