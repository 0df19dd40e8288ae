"""A member of the family with random weights: every tensor in its true shape and stored type, and no file.

Tensors are drawn one by one as they are taken, so a model is built with the memory of its packed weights and one tensor
more. What such a model says is noise; its speed is that of a real one.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from qwill.quant.recipes import load_recipe
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.random_blocks import STANDARD_DEVIATION, random_blocks
from qwill.weights.shapes import TypedShape, typed_shapes
from qwill.weights.tensor import Tensor, TensorSet

DEFAULT_MIX = "Q4_K_M"
# Of the embeddings' values. The first layer adds about 4 to all tokens alike; were they not larger, all tokens would go
# to the same half of the experts, while a trained router spreads them.
EMBEDDING_DEVIATION = 16.0


def plan(text: dict[str, Any], mix: str) -> list[TypedShape]:
    """All tensors of a language model and of its draft head, if it has one, from its `text_config`.

    mix: a recipe's name, or a file with one. Raises InvalidArgument for one that does not suit the model.
    """
    return typed_shapes(text, load_recipe(mix))


def draw(tensor: TypedShape, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Random bytes of a tensor in its stored form, one part for each expert: norms 1, decays between fast and slow."""
    ending = tensor.name.rpartition("layers.")[2]
    if ending.endswith("norm.weight"):
        values = np.ones(tensor.shape, np.float32)
    elif ending.endswith("linear_attn.A"):
        values = -np.exp(rng.uniform(-3, 2, tensor.shape)).astype(np.float32)
    elif ending.endswith("conv1d.weight"):
        values = rng.normal(0, 0.5, tensor.shape).astype(np.float32)
    else:
        experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
        deviation = EMBEDDING_DEVIATION if tensor.name == "embed_tokens.weight" else STANDARD_DEVIATION
        return tuple(random_blocks(tensor.type, prod(tensor.shape) // experts, rng, deviation) for _ in range(experts))
    return (values.reshape(-1).view(np.uint8),)


class RandomTensors(TensorSet):
    """Tensors whose bytes are drawn when they are taken; until then they take no memory."""

    def __init__(self, tensors: Iterable[TypedShape], source: str, seed: int = 0) -> None:
        self._plan = {tensor.name: tensor for tensor in tensors}
        self._rng = np.random.Generator(np.random.SFC64(seed))
        super().__init__({name: _without_bytes(tensor, source) for name, tensor in self._plan.items()}, source)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor with freshly drawn bytes. Raises as `TensorSet.take` does."""
        return replace(super().take(name, shape), parts=draw(self._plan[name], self._rng))


def random_checkpoint(
    member: str, config: dict[str, Any], mix: str, layers: int | None = None, draft_head: bool = False
) -> Checkpoint:
    """The language model of `config` (in the shape of a released config.json), or its first `layers` layers, in memory.

    It has neither tokenizer nor vision tower, and a draft head only if asked for.
    """
    text = dict(config["text_config"])
    if not draft_head:
        text["mtp_num_hidden_layers"] = 0
    if layers is not None:
        text["num_hidden_layers"] = layers
    return Checkpoint(
        path=Path(f"{member}-{Path(mix).stem}"),
        format="random",
        config={"model_type": config["model_type"], "text_config": text}
        | {"tie_word_embeddings": text["tie_word_embeddings"]},
        tensors=RandomTensors(plan(text, mix), member),
        v_heads_tiled=True,
        tokenizer_json=None,
        vocabulary=None,
        chat_template=None,
        generation_config={},
        image_processor={},
        video_processor={},
    )


def _without_bytes(tensor: TypedShape, source: str) -> Tensor:
    experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
    nothing = np.broadcast_to(np.uint8(0), tensor.nbytes // experts)
    return Tensor(tensor.name, tensor.shape, tensor.type, (nothing,) * experts, source)
