"""Opening a checkpoint: a folder in released layout or a GGUF file, to one `Checkpoint`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel
from qwill.weights.assemble import FP8_BLOCK, assemble_gguf, assemble_hf
from qwill.weights.gguf import GgufFile, read_gguf
from qwill.weights.gguf_config import (
    MODEL_TYPES,
    add_vision,
    chat_template,
    fits_model,
    generation_config,
    language_config,
    video_processor,
)
from qwill.weights.packed.schemes import read_scheme
from qwill.weights.packed.tensors import split_packed
from qwill.weights.safetensors import read_folder, read_json
from qwill.weights.tensor import TensorSet
from qwill.weights.vocabulary import Vocabulary, read_vocabulary

HF_MODEL_TYPES = tuple(name + ending for name in MODEL_TYPES.values() for ending in ("", "_text"))


@dataclass(frozen=True)
class Checkpoint:
    """Everything a model's files say. `tensors` stay mapped; `config` has the shape of a released `config.json`.

    `v_heads_tiled`: v head j reads k head j % K (GGUF) instead of j // (V / K). Of `tokenizer_json` and `vocabulary`
    at most one is given. Absent JSON files are empty dicts.
    """

    path: Path
    format: str
    config: dict[str, Any]
    tensors: TensorSet
    v_heads_tiled: bool
    tokenizer_json: Path | None
    vocabulary: Vocabulary | None
    chat_template: str | None
    generation_config: dict[str, Any]
    image_processor: dict[str, Any]
    video_processor: dict[str, Any]


def open_checkpoint(path: Path, mmproj: Path | None = None) -> Checkpoint:
    """Opens a folder in released layout or a `.gguf` file, with the vision file `mmproj` or the one found beside it.

    Raises ModelNotFound, CheckpointError or UnsupportedModel; nothing big is read.
    """
    if path.is_dir():
        if mmproj is not None:
            raise CheckpointError(f"{mmproj}: a vision file goes with a .gguf model, {path} is a folder")
        return _open_folder(path)
    if not path.exists():
        raise ModelNotFound(f"{path}: no such file or folder")
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path}: give the folder that holds it, with its config.json: {path.parent}")
    return _open_gguf(path, mmproj)


def memory_needed(checkpoint: Checkpoint) -> int:
    """Bytes that the weights take in memory: those of all tensors, as they lie in the files."""
    return sum(tensor.nbytes + sum(scale.nbytes for scale in tensor.scales or ()) for tensor in checkpoint.tensors)


def _open_folder(folder: Path) -> Checkpoint:
    if not (folder / "config.json").is_file():
        gguf = sorted(file.name for file in folder.glob("*.gguf"))
        mend = f"give the file instead: {folder / gguf[0]}" if gguf else "is it a model's folder?"
        raise ModelNotFound(f"{folder}: has no config.json; {mend}")
    config = read_json(folder / "config.json")
    model_type = config.get("model_type")
    if model_type not in HF_MODEL_TYPES:
        raise UnsupportedModel(
            f"{folder}: model_type {model_type!r} is not supported (Qwen 3.5: {', '.join(HF_MODEL_TYPES)})"
        )
    text = config.get("text_config", config)
    if not isinstance(text, dict):
        raise CheckpointError(f"{folder / 'config.json'}: text_config is no object")
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    processor = _optional_json(folder / "processor_config.json")
    tokenizer = folder / "tokenizer.json"
    return Checkpoint(
        path=folder,
        format="hf",
        config=config,
        tensors=_folder_tensors(folder, _quantization(folder, config, text), tied),
        v_heads_tiled=False,
        tokenizer_json=tokenizer if tokenizer.is_file() else None,
        vocabulary=None,
        chat_template=_folder_template(folder),
        generation_config=_optional_json(folder / "generation_config.json"),
        image_processor=_processor(processor, "image_processor", folder / "preprocessor_config.json"),
        video_processor=_processor(processor, "video_processor", folder / "video_preprocessor_config.json"),
    )


def _quantization(folder: Path, config: dict[str, Any], text: dict[str, Any]) -> dict[str, Any] | None:
    """What the configuration says of quantized weights; older files of modelopt have it beside the configuration."""
    quantization = config.get("quantization_config", text.get("quantization_config"))
    if quantization is None and (folder / "hf_quant_config.json").is_file():
        beside = read_json(folder / "hf_quant_config.json").get("quantization")
        quantization = {"quant_method": "modelopt"} | beside if isinstance(beside, dict) else None
    if quantization is not None and not isinstance(quantization, dict):
        raise CheckpointError(f"{folder / 'config.json'}: quantization_config is no object")
    return quantization


def _folder_tensors(folder: Path, quantization: dict[str, Any] | None, tied: bool) -> TensorSet:
    if quantization is None:
        return assemble_hf(read_folder(folder), folder, tied)
    if quantization.get("quant_method") == "fp8":
        _check_fp8(folder, quantization)
        return assemble_hf(read_folder(folder), folder, tied)
    plain, packed = split_packed(read_folder(folder), read_scheme(folder, quantization), folder, tied)
    return assemble_hf(plain, folder, tied, packed)


def _check_fp8(folder: Path, quantization: dict[str, Any]) -> None:
    """Of the releases' own FP8 only blocks of 128 x 128 are read. Raises UnsupportedModel for the rest."""
    block, form = quantization.get("weight_block_size"), quantization.get("fmt", "e4m3")
    if block != [FP8_BLOCK, FP8_BLOCK] or form != "e4m3":
        raise UnsupportedModel(f"{folder}: FP8 {form} with blocks {block} is not supported, only e4m3 with [128, 128]")


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _processor(processor: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Newer checkpoints nest the settings in processor_config.json, which then comes first."""
    nested = processor.get(key)
    return nested if isinstance(nested, dict) else _optional_json(path)


def _folder_template(folder: Path) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{file}: is not UTF-8 text") from error
    template = _optional_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several under names
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _open_gguf(path: Path, mmproj: Path | None) -> Checkpoint:
    file = read_gguf(path)
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
