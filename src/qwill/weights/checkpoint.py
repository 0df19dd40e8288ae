"""What all readers of models give: a `Checkpoint`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwill.weights.tensor import TensorSet
from qwill.weights.vocabulary import Vocabulary


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


def memory_needed(checkpoint: Checkpoint) -> int:
    """Bytes that the weights take in memory: those of all tensors, as they lie in the files."""
    return sum(tensor.nbytes + sum(scale.nbytes for scale in tensor.scales or ()) for tensor in checkpoint.tensors)
