"""Opening a folder in released layout."""

from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel
from qwill.weights.assemble import FP8_BLOCK, assemble_hf
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.gguf_config import MODEL_TYPES
from qwill.weights.head import HEAD, is_tied, settle_head, with_tie
from qwill.weights.json_file import read_json
from qwill.weights.mapped import RawTensor
from qwill.weights.packed import mlx
from qwill.weights.packed.schemes import read_scheme
from qwill.weights.packed.tensors import split_packed
from qwill.weights.recommended import with_recommended
from qwill.weights.safetensors import read_folder
from qwill.weights.tensor import TensorSet

HF_MODEL_TYPES = tuple(name + ending for name in MODEL_TYPES.values() for ending in ("", "_text"))


def open_folder(folder: Path) -> Checkpoint:
    """Opens a folder with config.json. Raises ModelNotFound, CheckpointError or UnsupportedModel."""
    config, text = _configuration(folder)
    tensors = settle_head(_folder_tensors(folder, config, _quantization(folder, config, text)), is_tied(config))
    processor = _optional_json(folder / "processor_config.json")
    tokenizer = folder / "tokenizer.json"
    return Checkpoint(
        path=folder,
        format="hf",
        config=with_tie(config, HEAD not in tensors),
        tensors=tensors,
        v_heads_tiled=False,
        tokenizer_json=tokenizer if tokenizer.is_file() else None,
        vocabulary=None,
        chat_template=_folder_template(folder),
        generation_config=with_recommended(_optional_json(folder / "generation_config.json"), folder),
        image_processor=_processor(processor, "image_processor", folder / "preprocessor_config.json"),
        video_processor=_processor(processor, "video_processor", folder / "video_preprocessor_config.json"),
    )


def check_configuration(folder: Path) -> None:
    """Raises what `open_folder` would for the JSON files alone: for another architecture or a foreign quantization."""
    config, text = _configuration(folder)
    quantization = _quantization(folder, config, text)
    if quantization is None or "quant_method" not in quantization or "quantization" in config:
        return  # what MLX quantized is known by its tensors
    if quantization["quant_method"] == "fp8":
        _check_fp8(folder, quantization)
    else:
        read_scheme(folder, quantization)


def _configuration(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json, and of it what says of the language model."""
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
    if quantization.get("quant_method") == "fp8":
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
