"""Turns a schedule into a batch, runs the model on it and gives the logits that are needed."""

from itertools import accumulate

import numpy as np

from qwill.engine.scheduler import Chunk
from qwill.media.patches import Patches
from qwill.media.placement import MediaRows
from qwill.model.batch import Batch, Cache
from qwill.model.model import Model


class Runner:
    """Owns the arrays of all sequences."""

    def __init__(self, model: Model, cache: Cache) -> None:
        self._model = model
        self._cache = cache
        # Embeddings of the media of prompts that are being read, by identity of their patches; dropped with the prompt.
        self._embeddings: dict[int, np.ndarray] = {}

    def hidden_states(self, chunks: list[Chunk]) -> np.ndarray:
        """Hidden states [tokens, hidden_size] f32 after the final norm, of all tokens of all chunks, in their order."""
        for chunk in chunks:
            if chunk.request.computed == 0:
                self._cache.clear_slot(chunk.request.slot)
        return self._model.text.forward(self._batch(chunks), self._cache)

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """Logits [rows, vocab] f32 of rows of `hidden_states`."""
        return self._model.text.logits(hidden)

    def forget_media(self, media: tuple[MediaRows, ...]) -> None:
        """Frees the embeddings of a prompt that is in the cache by now, or was cancelled."""
        for rows in media:
            self._embeddings.pop(id(rows.patches), None)

    def _batch(self, chunks: list[Chunk]) -> Batch:
        token_ids = [token for chunk in chunks for token in chunk.request.tokens(chunk.request.computed, chunk.count)]
        positions = [chunk.request.positions(chunk.request.computed, chunk.count) for chunk in chunks]
        starts = list(accumulate((chunk.count for chunk in chunks), initial=0))
        return Batch(
            token_ids=np.array(token_ids, np.int32),
            positions=positions[0] if len(positions) == 1 else np.concatenate(positions, axis=1),
            starts=np.array(starts, np.int32),
            contexts=np.array([chunk.request.computed for chunk in chunks], np.int32),
            slots=np.array([chunk.request.slot for chunk in chunks], np.int32),
            block_tables=_block_tables(chunks),
            media=tuple(
                part
                for chunk, start in zip(chunks, starts, strict=False)
                for rows in chunk.request.prompt.media
                if (part := self._media_part(rows, chunk, start)) is not None
            ),
        )

    def _media_part(self, rows: MediaRows, chunk: Chunk, start: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows of the batch that this run of placeholders covers, and their embeddings; None when outside."""
        offset = rows.start - chunk.request.computed
        first, last = max(offset, 0), min(offset + rows.length, chunk.count)
        if first >= last:
            return None
        begin = rows.first_row + first - offset
        return np.arange(start + first, start + last), self._encode(rows.patches)[begin : begin + last - first]

    def _encode(self, patches: Patches) -> np.ndarray:
        key = id(patches)
        if key not in self._embeddings:
            assert self._model.vision is not None, "media are refused before, where there is no vision tower"
            self._embeddings[key] = self._model.vision.forward(patches.pixels, patches.grid)
        return self._embeddings[key]


def _block_tables(chunks: list[Chunk]) -> np.ndarray:
    """Pages of each sequence, int32 [sequences, most pages]; shorter rows end in zeros, which no kernel reads."""
    rows = [np.frombuffer(chunk.request.pages, np.int32) for chunk in chunks]
    if len(rows) == 1:
        return rows[0][None]
    tables = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for table, row in zip(tables, rows, strict=True):
        table[: len(row)] = row
    return tables
