"""The MTP head's logits against llama.cpp's draft context, on files by its converter.

llama.cpp computes the head in a context of its own kind, whose batch holds a token and a hidden state each; the states
are those that the main context keeps on request. Both calls are declared for C++ in llama-ext.h and exported.
"""

from pathlib import Path

import numpy as np
import peer
import pytest
from conftest import Converted
from model.harness import BACKENDS, Ours, assert_same_logits

from qwill.model.batch import Batch

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("name", ["V = 2 K", "V = 4 K, tied", "experts, V = 2 K"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_draft_logits(name: str, backend: str, converted: dict[str, Converted], rng: np.random.Generator) -> None:
    token_ids = rng.integers(0, 288, 41).astype(np.int32)
    theirs, ours = draft_logits(converted[name].files["f32"], token_ids, backend)
    assert_same_logits(ours, theirs)


def draft_logits(file: Path, token_ids: np.ndarray, backend: str) -> tuple[np.ndarray, np.ndarray]:
    """The head's logits at all tokens but the last: llama.cpp's, and ours from llama.cpp's states."""
    theirs = peer.run_llama(file, ["logits", "hidden", "draft_logits"], tokens=token_ids)
    count = len(token_ids) - 1
    ours = Ours(file, backend)
    assert ours.model.mtp is not None
    batch = Batch(
        token_ids=token_ids[1:],
        positions=np.broadcast_to(np.arange(count, dtype=np.int32), (3, count)).copy(),
        starts=np.array([0, count], np.int32),
        contexts=np.array([0], np.int32),
        slots=np.array([0], np.int32),
        block_tables=np.arange(8, dtype=np.int32)[None],
        replayed=np.array([0], np.int32),
        kept=np.array([count], np.int32),
    )
    states = ours.model.mtp.forward(batch, theirs["hidden"][:-1].copy(), ours.engine._runner._cache)
    return theirs["draft_logits"], ours.model.text.logits(states)
