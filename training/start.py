"""Where a run begins that does not begin from nothing: the weights of a pair of GGUF files, such as the wheel's."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from qwill.quant.codecs import decode
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.load import open_checkpoint
from qwill.weights.names import Kind, place_hf
from qwill.weights.tensor import Tensor
from qwill.weights.v_heads import v_head_order
from training.model import DemoModel
from training.tokenizer import from_merges


def start_from(pair: Path, model: DemoModel) -> None:
    """Fills the model, but for what only the training needs, from the pair's text model (its vision file beside it)."""
    checkpoint = open_checkpoint(pair)
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("auxiliary.")}
    state = {name: torch.from_numpy(released(name, checkpoint)).reshape(t.shape) for name, t in wanted.items()}
    left = model.load_state_dict(state, strict=False)
    assert all(name.startswith("auxiliary.") for name in left.missing_keys), left


def released(name: str, checkpoint: Checkpoint) -> np.ndarray:
    """float32 values of a tensor under its released name, as they are released: norms without their 1, decays as
    logarithms, gate and up rows of an expert together, V heads grouped."""
    place = place_hf(name)
    assert place is not None, name
    text, tensors = checkpoint.config["text_config"], checkpoint.tensors
    if place.kind is Kind.GATE_UP:
        halves = [place.name.replace("gate_up_proj", half) for half in ("gate_proj", "up_proj")]
        return np.concatenate([float_values(tensors.peek(half)) for half in halves], axis=1)
    values = float_values(tensors.peek(place.name))
    if checkpoint.v_heads_tiled:
        rows, columns = (
            None if order is None else np.argsort(order) for order in v_head_order(place.name, values.shape, text)
        )
        values = values if rows is None else values[rows]
        values = values if columns is None else values[:, columns]
    if place.kind is Kind.NORM:
        return values - np.float32(1)
    return np.log(-values) if place.kind is Kind.DECAY else values


def float_values(tensor: Tensor) -> np.ndarray:
    """The tensor as a float32 array of its shape."""
    stored = np.concatenate([np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in tensor.parts])
    return decode(tensor.type, stored, tensor.shape)


def tokenizer_of(pair: Path) -> Tokenizer:
    """The tokenizer that the pair's text model was trained with."""
    vocabulary = open_checkpoint(pair).vocabulary
    assert vocabulary is not None, pair
    tokenizer = from_merges([(left, right) for left, right in (merge.split(" ") for merge in vocabulary.merges)])
    assert list(vocabulary.tokens) == [tokenizer.id_to_token(id) for id in range(tokenizer.get_vocab_size())]
    return tokenizer
