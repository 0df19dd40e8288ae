"""Opening an adapter for a checkpoint: a peft folder or a GGUF file, held against the base's shapes and name."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qwill.errors import CheckpointError, InvalidArgument, ModelNotFound, UnsupportedModel
from qwill.weights.adapters.adapter import Adapter, LowRank, TokenRows
from qwill.weights.adapters.gguf_adapter import is_adapter, read_gguf_adapter
from qwill.weights.adapters.peft_folder import is_peft_folder, read_peft
from qwill.weights.assemble import assemble_gguf, assemble_hf
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders.head import EMBEDDINGS, HEAD, same_values
from qwill.weights.gguf.config import MODEL_TYPES
from qwill.weights.gguf.file import read_gguf
from qwill.weights.tensor import Tensor
from qwill.weights.v_heads import v_head_order

TABLES = (EMBEDDINGS, HEAD)
_MEMBER = re.compile(r"qwen-?(3\.\d+)-(\d+(?:\.\d+)?b(?:-a\d+b)?)(-base)?(?![a-z0-9])", re.IGNORECASE)
log = logging.getLogger("qwill")


def open_adapter(path: Path, checkpoint: Checkpoint) -> Adapter:
    """An adapter as the checkpoint needs it.

    Raises ModelNotFound, UnsupportedModel for a kind of adapter that is not known, and CheckpointError for a damaged
    one or one of another base, with the first tensor that does not fit. The log warns when it says that it was made
    from another member of the family.
    """
    if not path.exists():
        raise ModelNotFound(f"{path}: no such adapter; give a peft folder or a .gguf file")
    if path.name == "adapter_model.safetensors":
        path = path.parent
    adapter = _open_folder(path, checkpoint) if path.is_dir() else _open_gguf(path, checkpoint)
    _check_shapes(adapter, checkpoint)
    if not (adapter.low_rank or adapter.rows or adapter.replaced):
        raise CheckpointError(f"{path}: changes nothing; it holds no tensors")
    _warn_of_base(adapter, checkpoint)
    return adapter


def table_shape(checkpoint: Checkpoint, name: str) -> tuple[int, ...] | None:
    """The shape of a tensor of the base; a tied head has that of the embeddings."""
    if name == HEAD and name not in checkpoint.tensors:
        name = EMBEDDINGS
    return checkpoint.tensors.peek(name).shape if name in checkpoint.tensors else None


def _open_folder(folder: Path, checkpoint: Checkpoint) -> Adapter:
    if not is_peft_folder(folder):
        raise CheckpointError(f"{folder}: has no adapter_config.json; give a peft folder or a .gguf file")
    shapes = {tensor.name: tensor.shape for tensor in checkpoint.tensors}
    found = read_peft(folder, shapes)
    replaced = {tensor.name: tensor for tensor in assemble_hf(found.replaced, folder)}
    for tensor in assemble_hf(found.base_tables, folder):
        if tensor.name in TABLES and not _is_own(tensor, checkpoint):
            replaced[tensor.name] = tensor
    low_rank: Mapping[str, LowRank] = found.low_rank
    if checkpoint.v_heads_tiled:
        low_rank = _reordered(low_rank, checkpoint, to_tiled=True)
        _check_order(replaced, checkpoint)
    tokenizer = folder / "tokenizer.json"
    grown = any(name in TABLES and tensor.shape != table_shape(checkpoint, name) for name, tensor in replaced.items())
    return Adapter(
        path=folder,
        low_rank=low_rank,
        rows=_tied_rows(found.rows, checkpoint),
        replaced=replaced,
        base=found.config.base,
        tokenizer_json=tokenizer if grown and tokenizer.is_file() else None,
    )


def _is_own(table: Tensor, checkpoint: Checkpoint) -> bool:
    """Whether a table is the model's own: peft keeps the base's beside their changes. A quantized one is as near."""
    base = checkpoint.tensors.peek(table.name if table.name in checkpoint.tensors else EMBEDDINGS)
    if table.shape != base.shape:
        return False
    return base.type.name not in ("F32", "F16", "BF16") or same_values(table, base)


def _open_gguf(path: Path, checkpoint: Checkpoint) -> Adapter:
    file = read_gguf(path)
    if not is_adapter(file):
        raise InvalidArgument(f"{path}: is a model, no adapter; give it as MODEL")
    text = checkpoint.config.get("text_config", checkpoint.config)
    model_type = str(checkpoint.config.get("model_type", "")).removesuffix("_text")
    architecture = next((name for name, own in MODEL_TYPES.items() if own == model_type), "")
    low_rank: Mapping[str, LowRank]
    low_rank, others = read_gguf_adapter(file, architecture, text["num_hidden_layers"])
    if not checkpoint.v_heads_tiled:
        low_rank = _reordered(low_rank, checkpoint, to_tiled=False)
    replaced = {tensor.name: tensor for tensor in assemble_gguf(others, path, text["num_hidden_layers"])}
    if not checkpoint.v_heads_tiled:
        _check_order(replaced, checkpoint)
    base = file.metadata.get("general.base_model.0.name", "")
    return Adapter(path, low_rank, replaced=replaced, base=base if isinstance(base, str) else "")


def _reordered(low_rank: Mapping[str, LowRank], checkpoint: Checkpoint, to_tiled: bool) -> dict[str, LowRank]:
    """With V heads in the checkpoint's order. What has another shape stays, and is refused for that."""
    result = {}
    for name, matrix in low_rank.items():
        rows = columns = None
        if matrix.shape == table_shape(checkpoint, name):
            rows, columns = v_head_order(name, matrix.shape, _text(checkpoint))
        if not to_tiled:
            rows, columns = (None if order is None else np.argsort(order) for order in (rows, columns))
        result[name] = matrix.ordered(rows, columns)
    return result


def _text(checkpoint: Checkpoint) -> dict[str, Any]:
    text: dict[str, Any] = checkpoint.config.get("text_config", checkpoint.config)
    return {"linear_value_head_dim": 128} | text


def _check_order(replaced: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    for name, tensor in replaced.items():
        if any(order is not None for order in v_head_order(name, tensor.shape, _text(checkpoint))):
            raise UnsupportedModel(
                f"{tensor.source}: a whole {name} has its V heads in the order of the other file format; merge the"
                " adapter into a model of its own format first"
            )


def _tied_rows(rows: Mapping[str, TokenRows], checkpoint: Checkpoint) -> dict[str, TokenRows]:
    """peft stores rows of a tied table once, and they are the head's as well."""
    found = dict(rows)
    if HEAD not in checkpoint.tensors and EMBEDDINGS in found:
        found.setdefault(HEAD, found[EMBEDDINGS])
    return found


def _check_shapes(adapter: Adapter, checkpoint: Checkpoint) -> None:
    """Everything has its place in the base. Raises CheckpointError for the first tensor that has none."""
    grown = {name: tensor.shape for name, tensor in adapter.replaced.items() if name in TABLES}
    for name, matrix in adapter.low_rank.items():
        base = grown.get(name) or table_shape(checkpoint, name)
        if matrix.shape != base:
            raise _of_another(matrix.source, name, matrix.shape, base, adapter)
        if matrix.bias is not None and matrix.bias.shape != base[-2:-1]:
            raise _of_another(f"{matrix.source}, bias", name, matrix.bias.shape, base[-2:-1], adapter)
        length = base[-1:] if name == EMBEDDINGS else base[-2:-1]
        if matrix.magnitude is not None and matrix.magnitude.shape != length:
            raise _of_another(f"{matrix.source}, magnitude", name, matrix.magnitude.shape, length, adapter)
    for name, rows in adapter.rows.items():
        base = grown.get(name) or table_shape(checkpoint, name)
        if name not in TABLES or base is None or rows.values.shape[1:] != base[1:] or rows.ids.max() >= base[0]:
            raise _of_another(rows.source, name, (int(rows.ids.max()) + 1, *rows.values.shape[1:]), base, adapter)
    for name, tensor in adapter.replaced.items():
        base = table_shape(checkpoint, name)
        if tensor.shape != base and not (name in TABLES and base is not None and tensor.shape[1:] == base[1:]):
            raise _of_another(tensor.source, name, tensor.shape, base, adapter)


def _of_another(
    source: str, name: str, shape: tuple[int, ...], base: tuple[int, ...] | None, adapter: Adapter
) -> CheckpointError:
    has = "has no such tensor" if base is None else f"has {list(base)}"
    said = f" ({adapter.base})" if adapter.base else ""
    return CheckpointError(
        f"{source}: is made for {name} of shape {list(shape)}, the model {has}; the adapter was made for"
        f" another model{said}"
    )


def _warn_of_base(adapter: Adapter, checkpoint: Checkpoint) -> None:
    made_for, given = (_member(name) for name in (adapter.base, str(checkpoint.path)))
    if made_for and given and made_for != given:
        log.warning(
            "%s: was made from %s and this model is %s; shapes fit, answers may be worse", adapter.path, made_for, given
        )


def _member(name: str) -> str:
    """The member of the family that a name or path tells of, in the released spelling without its case."""
    found = list(_MEMBER.finditer(name))
    return f"qwen{found[-1][1]}-{found[-1][2]}{found[-1][3] or ''}".lower() if found else ""
