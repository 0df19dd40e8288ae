"""Show what a model is made of: parameters, layers, tensor types, sizes."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwill.cli.options import add_model_argument, human_bytes
from qwill.model.config import ModelConfig, RopeConfig, model_config
from qwill.model.parameters import kv_bytes_per_token, parameter_count, state_bytes
from qwill.weights.checkpoint import Checkpoint, memory_needed
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint
from qwill.weights.mapped import mapped_file
from qwill.weights.naming.files import part_of
from qwill.weights.tensor import Tensor

if TYPE_CHECKING:
    from rich.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qwill inspect`."""
    add_model_argument(parser)
    parser.add_argument("--mmproj", metavar="FILE", help="vision file of a .gguf model (the one beside it)")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def execute(arguments: argparse.Namespace) -> None:
    """Prints the description of a model. Raises QwillError."""
    mmproj = Path(arguments.mmproj) if arguments.mmproj else None
    description = describe(open_checkpoint(resolve_model(arguments.model), mmproj))
    if arguments.json:
        print(json.dumps(description, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_summary(description))
    console.print(_mix(description["tensor_types"]))


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What --json shows; sizes in bytes."""
    config = model_config(checkpoint.config)
    text = config.text
    count = parameter_count(config)
    has_mtp = "mtp.fc.weight" in checkpoint.tensors
    return {
        "path": str(checkpoint.path),
        "format": checkpoint.format,
        "architecture": checkpoint.config["model_type"],
        "parameters": {
            "total": count.text + count.vision + (count.mtp if has_mtp else 0),
            "text": count.text,
            "active_text": count.active_text,
            "vision": count.vision,
            "mtp": count.mtp if has_mtp else 0,
        },
        "layers": {
            "total": text.layers,
            "gated_delta": text.layer_types.count("linear_attention"),
            "attention": text.layer_types.count("full_attention"),
            "mtp": text.mtp_layers if has_mtp else 0,
        },
        "draft_head_file": _own_file(checkpoint, "mtp.fc.weight"),
        "hidden_size": text.hidden_size,
        "experts": None if text.moe is None else {"total": text.moe.experts, "active": text.moe.top_k},
        "context": text.max_position_embeddings,
        "rope": _rope(text.rope),
        "vocabulary": text.vocab_size,
        "tokenizer": _tokenizer(checkpoint),
        "chat_template": "the model's own" if checkpoint.chat_template else "qwill's default",
        "vision": _vision(config, checkpoint),
        "tensor_types": _tensor_types(checkpoint),
        "files": {str(file): file.stat().st_size for file in _files(checkpoint)},
        "weight_bytes": memory_needed(checkpoint),
        "kv_bytes_per_token": kv_bytes_per_token(text),
        "state_bytes": state_bytes(text),
    }


def _tokenizer(checkpoint: Checkpoint) -> str | None:
    if checkpoint.tokenizer_json is not None:
        return checkpoint.tokenizer_json.name
    return f"in the file, {checkpoint.vocabulary.pre}" if checkpoint.vocabulary is not None else None


def _vision(config: ModelConfig, checkpoint: Checkpoint) -> dict[str, Any] | None:
    if config.vision is None:
        return None
    tower = config.vision
    return {
        "layers": tower.depth,
        "hidden_size": tower.hidden_size,
        "patch": tower.patch_size,
        "file": _own_file(checkpoint, "visual.patch_embed.proj.weight"),
    }


def _own_file(checkpoint: Checkpoint, name: str) -> str | None:
    """The GGUF file that holds a part of a model, where it is not the model's own."""
    if checkpoint.format == "hf" or name not in checkpoint.tensors:
        return None
    files = [_file_of(checkpoint.tensors.peek(tensor)) for tensor in (name, "embed_tokens.weight")]
    return None if part_of(files[0].name).stem == part_of(files[1].name).stem else str(files[0])


def _file_of(tensor: Tensor) -> Path:
    """A source is a file and, in parentheses, a name in it."""
    return Path(tensor.source.rpartition(" (")[0])


def _rope(rope: RopeConfig) -> dict[str, Any]:
    yarn = {"factor": rope.yarn_factor, "original_context": rope.yarn_original_context}
    return {"theta": rope.theta, "yarn": None if rope.yarn_factor is None else yarn}


def _tensor_types(checkpoint: Checkpoint) -> dict[str, dict[str, int]]:
    """Tensors, elements and bytes of each type, the largest share first."""
    types: dict[str, dict[str, int]] = {}
    for tensor in checkpoint.tensors:
        entry = types.setdefault(tensor.type.name, {"tensors": 0, "elements": 0, "bytes": 0})
        elements = 1
        for size in tensor.shape:
            elements *= size
        entry["tensors"] += 1
        entry["elements"] += elements
        entry["bytes"] += tensor.nbytes
    return dict(sorted(types.items(), key=lambda item: -item[1]["bytes"]))


def _files(checkpoint: Checkpoint) -> list[Path]:
    """The files that hold the tensors: shards, parts and the vision file."""
    # A source is a file and, in parentheses, a name in it; experts may lie in several.
    files = {_file_of(tensor) for tensor in checkpoint.tensors}
    mapped = (mapped_file(array) for tensor in checkpoint.tensors for array in tensor.stored)
    return sorted(files.union(file for file in mapped if file is not None))


def _summary(description: dict[str, Any]) -> "Table":
    from rich.table import Table

    parameters, layers, experts = description["parameters"], description["layers"], description["experts"]
    vision = description["vision"]
    active = f", {_billions(parameters['active_text'])} active" if experts else ""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "model": description["path"],
        "architecture": f"{description['architecture']} ({description['format']})",
        "parameters": f"{_billions(parameters['total'])} (text {_billions(parameters['text'])}{active})",
        "layers": f"{layers['total']}: {layers['gated_delta']} Gated DeltaNet, {layers['attention']} attention",
        "hidden size": str(description["hidden_size"]),
        "experts": f"{experts['active']} of {experts['total']} active" if experts else "none, dense",
        "context": f"{description['context']:,} tokens" + _stretched(description["rope"]["yarn"]),
        "tokenizer": f"{description['tokenizer'] or 'none'}, {description['vocabulary']:,} tokens",
        "chat template": description["chat_template"],
        "vision": f"{vision['layers']} layers of {vision['hidden_size']}{_in(vision['file'])}" if vision else "none",
        "draft head (MTP)": f"{layers['mtp']} layer{_in(description['draft_head_file'])}" if layers["mtp"] else "none",
        "weights": f"{human_bytes(description['weight_bytes'])} in {len(description['files'])} file(s)",
        "keys and values": f"{description['kv_bytes_per_token']:,} bytes a token of context, at 16 bits",
        "recurrent state": f"{human_bytes(description['state_bytes'])} a conversation",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _in(file: str | None) -> str:
    return f", in {Path(file).name}" if file else ""


def _stretched(yarn: dict[str, Any] | None) -> str:
    return f" (YaRN {yarn['factor']:g}, from {yarn['original_context']:,})" if yarn else ""


def _mix(types: dict[str, dict[str, int]]) -> "Table":
    from rich.table import Table

    table = Table("type", box=None, pad_edge=False, title="tensor types", title_justify="left")
    for name in ("tensors", "elements", "size", "share"):
        table.add_column(name, justify="right")
    total = sum(entry["bytes"] for entry in types.values())
    for name, entry in types.items():
        share = f"{100 * entry['bytes'] / total:.1f}%"
        table.add_row(name, f"{entry['tensors']}", f"{entry['elements']:,}", human_bytes(entry["bytes"]), share)
    return table


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 10**9 else f"{count / 1e6:.1f} M"
