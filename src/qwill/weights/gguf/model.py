"""Opening a GGUF file, with the vision file that belongs to it."""

from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError
from qwill.weights.assemble import assemble_gguf
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.gguf.config import chat_template, generation_config, language_config
from qwill.weights.gguf.draft_files import draft_tensors, find_draft_head
from qwill.weights.gguf.file import GgufFile, read_gguf
from qwill.weights.gguf.kinds import draft_block, refuse_other_kinds
from qwill.weights.gguf.ollama import common_form
from qwill.weights.gguf.vision import add_vision, video_processor
from qwill.weights.gguf.vision_files import find_vision, warn_of_another_model
from qwill.weights.gguf.vocabulary import read_vocabulary
from qwill.weights.mapped import RawTensor
from qwill.weights.recommended import with_recommended
from qwill.weights.vocabulary import Vocabulary


def open_gguf(path: Path, mmproj: Path | None, draft_head: Path | None = None) -> Checkpoint:
    """Opens a `.gguf` file, with the vision file `mmproj` or the one found beside it, and likewise its draft head.

    Raises ModelNotFound, CheckpointError or UnsupportedModel.
    """
    file = read_gguf(path)
    refuse_other_kinds(file)
    form = common_form(file)
    file = form.model
    vocabulary = read_vocabulary(file) if "tokenizer.ggml.tokens" in file.metadata else None
    config = language_config(file, vocabulary)
    image_settings: dict[str, Any] = {}
    video_settings: dict[str, Any] = {}
    vision = _named_vision(mmproj, file) if mmproj is not None else form.vision or find_vision(file, path, config)
    raw_tensors = [*file.tensors.values(), *_draft_head(file, path, config, draft_head)]
    if vision is not None:
        image_settings = add_vision(config, vision)
        video_settings = video_processor(vision, image_settings)
        raw_tensors += vision.tensors.values()
    return Checkpoint(
        path=path,
        format="gguf",
        config=config,
        tensors=assemble_gguf(raw_tensors, path, config["text_config"]["num_hidden_layers"]),
        v_heads_tiled=form.v_heads_tiled,
        tokenizer_json=None,
        vocabulary=vocabulary,
        chat_template=chat_template(file.metadata),
        generation_config=_generation_config(file, vocabulary),
        image_processor=image_settings,
        video_processor=video_settings,
    )


def _draft_head(model: GgufFile, path: Path, config: dict[str, Any], named: Path | None) -> list[RawTensor]:
    """The draft head of another file, for a model that has none of its own; `config` then counts it."""
    if draft_block(model) is not None:
        return []
    tensors = draft_tensors(read_gguf(named), config) if named else find_draft_head(model, path, config)
    if tensors:
        config["text_config"]["mtp_num_hidden_layers"] = 1
    return tensors


def _generation_config(file: GgufFile, vocabulary: Vocabulary | None) -> dict[str, Any]:
    own = generation_config(file.metadata, vocabulary) if vocabulary else {}
    return with_recommended(own, file.path, [file.metadata.get(f"general.{key}") for key in ("name", "basename")])


def _named_vision(mmproj: Path, model: GgufFile) -> GgufFile:
    if mmproj.is_dir():
        raise CheckpointError(f"{mmproj}: is a folder; give the vision file in it")
    file = read_gguf(mmproj)
    vision = (common_form(file).vision if "general.architecture" in file.metadata else None) or file
    warn_of_another_model(vision, model)
    return vision
