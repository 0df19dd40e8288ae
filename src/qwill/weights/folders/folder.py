"""Opening a folder in released layout."""

import logging
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.assemble import FP8_BLOCK, assemble_hf
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders.head import EMBEDDINGS, HEAD, is_tied, settle_head, with_tie
from qwill.weights.folders.kinds import ADAPTER_CONFIG, an_adapter, no_model
from qwill.weights.folders.safetensors import read_folder
from qwill.weights.folders.set_aside import set_aside
from qwill.weights.folders.shards import ADAPTERS
from qwill.weights.foreign import refuse_foreign
from qwill.weights.gguf.config import MODEL_TYPES
from qwill.weights.json_file import read_json
from qwill.weights.mapped import RawTensor
from qwill.weights.packed import mlx
from qwill.weights.packed.schemes import read_scheme
from qwill.weights.packed.tensors import split_packed
from qwill.weights.recommended import with_recommended
from qwill.weights.rope_settings import rope_settings
from qwill.weights.tensor import TensorSet

log = logging.getLogger("qwill")

HF_MODEL_TYPES = tuple(name + ending for name in MODEL_TYPES.values() for ending in ("", "_text"))


def open_folder(folder: Path) -> Checkpoint:
    """Opens a folder with config.json; where that contradicts the tensors, the configuration is made true to them.

    Raises ModelNotFound, CheckpointError or UnsupportedModel.
    """
    config, text = _configuration(folder)
    for note in rope_settings(config).notes:
        log.warning("%s: %s", folder / "config.json", note)
    tensors = set_aside(_folder_tensors(folder, config, _quantization(folder, config, text)), config, folder)
    tensors = settle_head(tensors, is_tied(config))
    _check_vocabulary(tensors, text)
    processor = _optional_json(folder / "processor_config.json")
    tokenizer = folder / "tokenizer.json"
    if tokenizer.is_file():
        refuse_foreign(tokenizer)
    return Checkpoint(
        path=folder,
        format="hf",
        config=_with_draft_head(with_tie(config, HEAD not in tensors), tensors),
        tensors=tensors,
        v_heads_tiled=False,
        tokenizer_json=tokenizer if tokenizer.is_file() else None,
        vocabulary=None,
        chat_template=_folder_template(folder),
        generation_config=with_recommended(_optional_json(folder / "generation_config.json"), folder),
        image_processor=_processor(processor, "image_processor", folder / "preprocessor_config.json"),
        video_processor=_processor(processor, "video_processor", folder / "video_preprocessor_config.json"),
    )


def _check_vocabulary(tensors: TensorSet, text: dict[str, Any]) -> None:
    """Raises CheckpointError when the configuration counts other tokens than the table of embeddings has."""
    if EMBEDDINGS not in tensors:
        return
    table, said = tensors.peek(EMBEDDINGS), text.get("vocab_size")
    if table.shape[0] != said:
        raise CheckpointError(
            f"{table.source}: {EMBEDDINGS} has {table.shape[0]} rows, config.json says vocab_size {said!r}; write"
            f" {table.shape[0]} there if the tensors are right, or download the model again"
        )


def _with_draft_head(config: dict[str, Any], tensors: TensorSet) -> dict[str, Any]:
    """A configuration that counts the layers of the draft head that is there, where it says nothing of one."""
    names = (tensor.name.split(".") for tensor in tensors if tensor.name.startswith("mtp.layers."))
    layers = max((int(parts[2]) + 1 for parts in names), default=0)
    text = config.get("text_config", config)
    if not layers or text.get("mtp_num_hidden_layers"):
        return config
    text = text | {"mtp_num_hidden_layers": layers}
    return config | {"text_config": text} if "text_config" in config else text


def check_configuration(folder: Path) -> None:
    """Raises what `open_folder` would for the JSON files alone: for another architecture or a foreign quantization."""
    config, text = _configuration(folder)
    quantization = _quantization(folder, config, text)
    if quantization is None or ("quantization" in config and "quant_method" not in quantization):
        return  # only MLX writes the latter, and its schemes are told by the tensors
    if _has_blocks(quantization):
        _check_fp8(folder, quantization)
    else:
        read_scheme(folder, quantization)


def _configuration(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json, and of it what says of the language model."""
    weights = [file for file in folder.glob("*.safetensors") if not file.name.startswith(ADAPTERS)]
    if (folder / ADAPTER_CONFIG).is_file() and not weights:
        raise an_adapter(folder)
    if not (folder / "config.json").is_file():
        raise no_model(folder)
    config = read_json(folder / "config.json")
    model_type = config.get("model_type")
    if model_type is None and isinstance(kind := config.get("_class_name"), str):
        raise UnsupportedModel(f"{folder}: is a part of a pipeline of diffusers ({kind!r}), not a language model")
    if model_type not in HF_MODEL_TYPES:
        raise UnsupportedModel(
            f"{folder}: model_type {model_type!r} is not supported (Qwen 3.5: {', '.join(HF_MODEL_TYPES)})"
        )
    text = config.get("text_config", config)
    if not isinstance(text, dict):
        raise CheckpointError(f"{folder / 'config.json'}: text_config is no object")
    return config, text


def _quantization(folder: Path, config: dict[str, Any], text: dict[str, Any]) -> dict[str, Any] | None:
    """What the configuration says of quantized weights; older files of modelopt have it beside the configuration."""
    quantization = config.get("quantization_config", text.get("quantization_config"))
    if quantization is None and (folder / "hf_quant_config.json").is_file():
        beside = read_json(folder / "hf_quant_config.json").get("quantization")
        quantization = {"quant_method": "modelopt"} | beside if isinstance(beside, dict) else None
    if quantization is not None and not isinstance(quantization, dict):
        raise CheckpointError(f"{folder / 'config.json'}: quantization_config is no object")
    return quantization


def _folder_tensors(folder: Path, config: dict[str, Any], quantization: dict[str, Any] | None) -> TensorSet:
    raw_tensors = list(read_folder(folder))
    if mlx.has_mlx_layout(raw_tensors) or mlx.is_mlx_quantized(raw_tensors):
        return _mlx_tensors(folder, config, raw_tensors)
    if quantization is None:
        return assemble_hf(raw_tensors, folder)
    if _has_blocks(quantization):
        _check_fp8(folder, quantization)
        return assemble_hf(raw_tensors, folder)
    plain, packed = split_packed(raw_tensors, read_scheme(folder, quantization), folder)
    return assemble_hf(plain, folder, packed)


def _mlx_tensors(folder: Path, config: dict[str, Any], raw_tensors: list[RawTensor]) -> TensorSet:
    """Of a folder that MLX wrote, quantized or not; what it quantized may also lie in the released layout."""
    layout = mlx.has_mlx_layout(raw_tensors)
    if layout:
        raw_tensors = mlx.released_layout(raw_tensors, config, folder)
    plain, packed = split_packed(raw_tensors, mlx.mlx_scheme(config), folder)
    return assemble_hf(plain, folder, packed, norms_with_one=layout)


def _has_blocks(quantization: dict[str, Any]) -> bool:
    """Whether the weights are FP8 with a scale for each block, as the releases have them."""
    return quantization.get("quant_method") == "fp8" and quantization.get("weight_block_size") is not None


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
        refuse_foreign(file)
        try:
            return file.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{file}: is not UTF-8 text") from error
    # The last is where processors of older releases of transformers keep theirs.
    files = (folder / "tokenizer_config.json", folder / "chat_template.json")
    template = next(filter(None, (_optional_json(file).get("chat_template") for file in files)), None)
    if isinstance(template, list):  # several under names
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
