"""Opening a GGUF file, with the vision file that belongs to it."""

from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError
from qwill.weights.assemble import assemble_gguf
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.gguf import GgufFile, read_gguf
from qwill.weights.gguf_config import (
    add_vision,
    chat_template,
    fits_model,
    generation_config,
    language_config,
    video_processor,
)
from qwill.weights.vocabulary import read_vocabulary


def open_gguf(path: Path, mmproj: Path | None) -> Checkpoint:
    """Opens a `.gguf` file, with the vision file `mmproj` or the one found beside it.

    Raises ModelNotFound, CheckpointError or UnsupportedModel.
    """
    file = read_gguf(path)
    if file.metadata.get("general.type") == "adapter":
        raise CheckpointError(f"{path}: is an adapter; give the model that it was made for, and --lora {path}")
    vocabulary = read_vocabulary(file) if "tokenizer.ggml.tokens" in file.metadata else None
    config = language_config(file, vocabulary)
    image_settings: dict[str, Any] = {}
    video_settings: dict[str, Any] = {}
    vision = read_gguf(mmproj) if mmproj is not None else _find_vision(path, config)
    raw_tensors = list(file.tensors.values())
    if vision is not None:
        image_settings = add_vision(config, vision)
        video_settings = video_processor(vision, image_settings)
        raw_tensors += vision.tensors.values()
    return Checkpoint(
        path=path,
        format="gguf",
        config=config,
        tensors=assemble_gguf(raw_tensors, path, config["text_config"]["num_hidden_layers"]),
        v_heads_tiled=True,
        tokenizer_json=None,
        vocabulary=vocabulary,
        chat_template=chat_template(file.metadata),
        generation_config=generation_config(file.metadata, vocabulary) if vocabulary else {},
        image_processor=image_settings,
        video_processor=video_settings,
    )


def _find_vision(path: Path, config: dict[str, Any]) -> GgufFile | None:
    """The first `mmproj*.gguf` beside a model, or one folder up, that holds a vision tower for its hidden size.

    Repositories keep the parts of a large quantization in a folder of their own and the vision file above it.
    """
    for candidate in (*sorted(path.parent.glob("mmproj*.gguf")), *sorted(path.parent.parent.glob("mmproj*.gguf"))):
        file = read_gguf(candidate)
        if fits_model(file, config):
            return file
    return None
