"""Folders that are no model's: what they are, and what to give instead."""

import re
from pathlib import Path

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel, UserError
from qwill.weights.folders.shards import ADAPTERS, give_gguf, model_ggufs, unfinished
from qwill.weights.json_file import read_json

ADAPTER_CONFIG = "adapter_config.json"
_PIPELINE, _SENTENCES = "model_index.json", ("modules.json", "config_sentence_transformers.json")


def no_model(folder: Path) -> UserError:
    """The error for a folder without config.json."""
    if (folder / ADAPTER_CONFIG).is_file():
        return an_adapter(folder)
    if (folder / _PIPELINE).is_file():
        return UnsupportedModel(
            f"{folder}: is a pipeline of diffusers ({_class_name(folder / _PIPELINE)}), which makes pictures or videos;"
            " qwill runs language models of Qwen 3.5"
        )
    if any((folder / name).is_file() for name in _SENTENCES):
        return UnsupportedModel(f"{folder}: is a model of sentence-transformers{_inside(folder)}")
    if (folder / "params.json").is_file():
        return UnsupportedModel(
            f"{folder}: has params.json in place of config.json, a layout of other families; give a folder as"
            " transformers' save_pretrained writes it, or a .gguf file"
        )
    if gguf := model_ggufs(folder):
        return ModelNotFound(f"{folder}: has no config.json; {give_gguf(folder, gguf)}")
    if loading := unfinished(folder):
        return ModelNotFound(f"{folder}: has no config.json, and {loading}; let its download finish, or begin it again")
    if (folder / "blobs").is_dir() and (folder / "manifests").is_dir():
        return ModelNotFound(f"{folder}: is a store of Ollama's; name a model of it, as ollama:qwen3.5:4b")
    if any(folder.glob("*.safetensors")):
        return ModelNotFound(f"{folder}: has weights but no config.json; download that, too, from where they come")
    if (folder / "tokenizer.json").is_file() or (folder / "tokenizer_config.json").is_file():
        return ModelNotFound(f"{folder}: has a tokenizer, but no config.json and no weights; download the whole model")
    if not any(folder.iterdir()):
        return ModelNotFound(f"{folder}: has no config.json, for it is empty; download the model into it")
    return ModelNotFound(f"{folder}: has no config.json; is it a model's folder?{_inside(folder)}")


def an_adapter(folder: Path) -> UserError:
    """The error for a peft folder that was given as a model."""
    base = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    named = f", {base}," if isinstance(base, str) and base.isprintable() and base else ""
    return CheckpointError(
        f"{folder}: is a LoRA adapter, not a model; give the model that it was trained on{named} and --lora {folder}"
    )


def is_adapter_file(path: Path) -> bool:
    """Whether a file is an adapter's weights by its name."""
    return path.name.startswith(ADAPTERS) and (path.parent / ADAPTER_CONFIG).is_file()


def _class_name(path: Path) -> str:
    name = read_json(path).get("_class_name")
    return name if isinstance(name, str) and name.isprintable() else "of an unknown class"


def _inside(folder: Path) -> str:
    """Where a model may be meant: the folders below that have a config.json, as caches and trainers make them."""
    below = [path.parent for pattern in ("*", "snapshots/*") for path in folder.glob(f"{pattern}/config.json")]
    if not below:
        return ""
    newest = max(below, key=lambda path: (path.stat().st_mtime, _numbers(path.name)))
    return f"; give the folder below it that has one: {newest}"


def _numbers(name: str) -> list[int]:
    """The numbers in a name, by which checkpoint-1000 comes after checkpoint-500."""
    return [int(digits) for digits in re.findall(r"[0-9]{1,18}", name)]
