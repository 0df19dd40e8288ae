"""What makes the logits of a folder's model: a head of its own, or the embeddings."""

import logging
from typing import Any

import numpy as np

from qwill.weights.lazy import ROWS_TOGETHER
from qwill.weights.mapped import give_back
from qwill.weights.tensor import Tensor, TensorSet
from qwill.weights.values import row_values, stored_rows

log = logging.getLogger("qwill")

HEAD, EMBEDDINGS = "lm_head.weight", "embed_tokens.weight"
TIE = "tie_word_embeddings"
# Values compared together: few enough that the first difference is soon found.
_CHUNK_VALUES = 1 << 20


def is_tied(config: dict[str, Any]) -> bool:
    """Whether a config.json says that the embeddings are the head; where it says it twice, outside `text_config`."""
    text = config.get("text_config", config)
    return bool(config.get(TIE, text.get(TIE, False)))


def with_tie(config: dict[str, Any], tied: bool) -> dict[str, Any]:
    """A configuration that says so in all places; itself where it does."""
    sections = [config] + ([config["text_config"]] if "text_config" in config else [])
    if is_tied(config) == tied and all(bool(section.get(TIE, tied)) == tied for section in sections):
        return config
    result = config | {TIE: tied}
    return result | {"text_config": config["text_config"] | {TIE: tied}} if "text_config" in config else result


def settle_head(tensors: TensorSet, tied: bool) -> TensorSet:
    """The tensors with the head as transformers takes it, and absent where it is the same as the embeddings.

    A stored head counts whatever the configuration says of it; only where it is `tied` and holds the values of the
    embeddings is it left out. A tied head without embeddings is both. The log says where file and configuration
    contradict each other.
    """
    if HEAD not in tensors:
        if EMBEDDINGS in tensors and not tied:
            log.warning(
                "%s: config.json says %s = false, but no lm_head.weight is stored; the embeddings are used for it",
                tensors.source,
                TIE,
            )
        return tensors
    if not tied:
        return tensors
    head, others = tensors.peek(HEAD), [tensor for tensor in tensors if tensor.name != HEAD]
    if EMBEDDINGS not in tensors:
        others.append(Tensor(EMBEDDINGS, head.shape, head.type, head.parts, head.source, head.scales))
    elif not same_values(head, tensors.peek(EMBEDDINGS)):
        log.warning(
            "%s: config.json says %s = true, but the stored lm_head.weight differs from the embeddings; it is used",
            tensors.source,
            TIE,
        )
        return tensors
    return TensorSet({tensor.name: tensor for tensor in others}, tensors.source)


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two matrices [rows, columns] hold the same numbers, in whatever types.

    Looks at the last rows first, where tokens are added, and no further than the first difference. Pages of `one` are
    given back.
    """
    if one.shape != other.shape:
        return False
    rows, columns = one.shape
    step = max(_CHUNK_VALUES // columns // ROWS_TOGETHER, 1) * ROWS_TOGETHER
    for begin in reversed(range(0, rows, step)):
        end = min(begin + step, rows)
        data, other_data = stored_rows(one, begin, end), stored_rows(other, begin, end)
        alike = one.type is other.type and one.scales is None and other.scales is None
        same = alike and np.array_equal(data, other_data)
        same = same or np.array_equal(row_values(one, data, begin, end), row_values(other, other_data, begin, end))
        give_back(data)
        if not same:
            return False
    return True
