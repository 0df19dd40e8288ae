"""The vision tower that GGUF metadata describe, in the shape of a released `config.json`.

The format has no keys for how videos are sampled and resized. qwill's own files say it in the vision file, under
`qwill.video.`: min_pixels, max_pixels (of frames * height * width), min_frames, max_frames (uint32) and fps (float32).
Where they are missing the family's values hold.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.gguf.config import MEDIA_TOKENS
from qwill.weights.gguf.file import GgufFile
from qwill.weights.gguf.kinds import VISION_ARCHITECTURES, other_kind
from qwill.weights.gguf.metadata import MetadataReader
from qwill.weights.shapes import TEMPORAL_PATCH_SIZE

VIDEO_PREFIX = "qwill.video"
VIDEO_COUNTS = ("min_pixels", "max_pixels", "min_frames", "max_frames")
PROJECTOR = "qwen3vl_merger"


def _projector(file: GgufFile) -> str | None:
    value = file.metadata.get("clip.projector_type", file.metadata.get("clip.vision.projector_type"))
    return value if isinstance(value, str) else None


def other_model(file: GgufFile, config: dict[str, Any]) -> str | None:
    """Why an mmproj file is of another family, or of a model of another width; None when it may be this model's."""
    if (projector := _projector(file)) != PROJECTOR:
        what = other_kind(file) or "it is a language model; give it as MODEL, and an mmproj file here"
        if file.metadata.get("general.architecture") in VISION_ARCHITECTURES:
            what = "it is of another family"
        return f"vision projector {projector!r} is not supported, only {PROJECTOR}: {what}"
    width, hidden_size = (
        MetadataReader(file, "clip.vision").integer("projection_dim"),
        config["text_config"]["hidden_size"],
    )
    return None if width == hidden_size else f"is for a model of hidden size {width}, this one has {hidden_size}"


def add_vision(config: dict[str, Any], file: GgufFile) -> dict[str, Any]:
    """Adds `vision_config` from the metadata of an mmproj file; returns the image processor's settings.

    Raises UnsupportedModel for another projector, CheckpointError when the file belongs to another model.
    """
    if reason := other_model(file, config):
        raise (CheckpointError if _projector(file) == PROJECTOR else UnsupportedModel)(f"{file.path}: {reason}")
    reader = MetadataReader(file, "clip.vision")
    deepstack = reader.raw("is_deepstack_layers")
    if isinstance(deepstack, np.ndarray) and deepstack.any():
        raise UnsupportedModel(f"{file.path}: deepstack vision towers are not supported")
    missing = [token for key, token in MEDIA_TOKENS.items() if key not in config]
    if missing:
        raise CheckpointError(f"{file.path}: the language model's vocabulary has no {missing[0]}")
    positions, patches = file.tensors.get("v.position_embd.weight"), file.tensors.get("v.patch_embd.weight")
    if positions is None or patches is None or len(patches.shape) != 4:
        raise CheckpointError(f"{file.path}: v.position_embd.weight or v.patch_embd.weight is missing")
    patch_size, merge_size = reader.integer("patch_size"), reader.integer("spatial_merge_size", 2)
    config["vision_config"] = {
        "model_type": f"{config['model_type']}_vision",
        "depth": reader.integer("block_count"),
        "hidden_size": reader.integer("embedding_length"),
        "intermediate_size": reader.integer("feed_forward_length"),
        "num_heads": reader.integer("attention.head_count"),
        "in_channels": patches.shape[1],
        "patch_size": patch_size,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
        "spatial_merge_size": merge_size,
        "out_hidden_size": config["text_config"]["hidden_size"],
        "num_position_embeddings": positions.shape[0],
        "hidden_act": "gelu_pytorch_tanh",
        "deepstack_visual_indexes": [],
    }
    processor: dict[str, Any] = {
        "patch_size": patch_size,
        "merge_size": merge_size,
        "temporal_patch_size": TEMPORAL_PATCH_SIZE,
    }
    for key in ("image_mean", "image_std"):
        if isinstance(values := reader.raw(key), np.ndarray):
            processor[key] = [float(value) for value in values]
    if reader.raw("image_min_pixels") is not None and reader.raw("image_max_pixels") is not None:
        shortest, longest = reader.integer("image_min_pixels"), reader.integer("image_max_pixels")
        processor["size"] = {"shortest_edge": shortest, "longest_edge": longest}
    return processor


def video_processor(file: GgufFile, image_processor: Mapping[str, Any]) -> dict[str, Any]:
    """The video processor's settings: the images', with the limits of an mmproj file's `qwill.video.` keys."""
    reader = MetadataReader(file, VIDEO_PREFIX)
    processor = {name: value for name, value in image_processor.items() if name != "size"}
    processor |= {name: reader.integer(name) for name in VIDEO_COUNTS if reader.raw(name) is not None}
    if reader.raw("fps") is not None:
        processor["fps"] = reader.number("fps")
    return processor
