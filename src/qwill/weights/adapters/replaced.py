"""A checkpoint with the tensors that adapters put in place of its own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qwill.errors import InvalidArgument, UnsupportedModel
from qwill.weights.adapters.adapter import Adapter
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders.head import EMBEDDINGS, HEAD, with_tie
from qwill.weights.tensor import Tensor, TensorSet


def with_replaced(checkpoint: Checkpoint, adapters: Sequence[Adapter]) -> Checkpoint:
    """The checkpoint with the tensors that adapters put in place of its own, and with their vocabulary where it grew.

    Raises InvalidArgument when two adapters replace the same.
    """
    replaced: dict[str, Tensor] = {}
    for adapter in adapters:
        for name, tensor in adapter.replaced.items():
            if name in replaced:
                raise InvalidArgument(f"{tensor.source}: {replaced[name].source} replaces {name} too; take one of them")
            replaced[name] = tensor
    if not replaced:
        return checkpoint
    embeddings = checkpoint.tensors.peek(EMBEDDINGS)
    table = replaced.get(EMBEDDINGS, embeddings)
    if HEAD not in checkpoint.tensors and HEAD not in replaced and table.shape == embeddings.shape:
        # Trained embeddings are no longer tied to the head, which stays.
        replaced[HEAD] = replace(embeddings, name=HEAD)
    config = checkpoint.config
    if table.shape != embeddings.shape:
        text = config.get("text_config", config) | {"vocab_size": table.shape[0]}
        config = config | {"text_config": text} if "text_config" in config else text
    config = with_tie(config, HEAD not in checkpoint.tensors and HEAD not in replaced)
    head = replaced.get(HEAD) or (checkpoint.tensors.peek(HEAD) if HEAD in checkpoint.tensors else table)
    if head.shape != table.shape:
        raise UnsupportedModel(f"{table.source}: has shape {list(table.shape)} and the head {list(head.shape)}")
    tensors = {tensor.name: tensor for tensor in checkpoint.tensors} | replaced
    tokenizer = next((adapter.tokenizer_json for adapter in adapters if adapter.tokenizer_json is not None), None)
    grown: dict[str, Any] = {} if tokenizer is None else {"tokenizer_json": tokenizer, "vocabulary": None}
    return replace(checkpoint, config=config, tensors=TensorSet(tensors, checkpoint.tensors.source), **grown)
