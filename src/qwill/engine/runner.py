"""Turns a schedule into a batch, runs the model on it and gives the logits that are needed."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from qwill.engine.scheduler import Chunk
from qwill.media.patches import Patches
from qwill.media.placement import MediaRows
from qwill.model.adapters import Applied, Span
from qwill.model.batch import Batch, Cache
from qwill.model.model import Model

EMBEDDING_BYTES = 256 << 20  # of images and videos that are remembered


class Runner:
    """Owns the arrays of all sequences."""

    def __init__(self, model: Model, cache: Cache) -> None:
        self._model = model
        self._cache = cache
        # Of images and videos that were seen lately, by digest, the latest last: a conversation shows them again.
        self._embeddings: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._embedding_bytes = 0

    def hidden_states(self, chunks: list[Chunk]) -> np.ndarray:
        """Hidden states [tokens, hidden_size] f32 after the final norm, of all tokens of all chunks, in their order."""
        return self._model.text.forward(self._batch(chunks), self._cache)

    def logits(self, hidden: np.ndarray, adapted: Sequence[Span] = ()) -> np.ndarray:
        """Logits [rows, vocab] f32 of rows of `hidden_states`, some of them `adapted`."""
        return self._model.text.logits(hidden, adapted)

    def draft_logits(self, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits [rows, tokens] f32 of rows of `drafted_states`, for the tokens worth guessing, and their ids."""
        return self._model.text.draft_logits(hidden)

    def drafted_states(self, chunks: list[Chunk], hidden: np.ndarray) -> np.ndarray:
        """The draft head's states [tokens, hidden_size] f32 for each token of the chunks, from which the token after
        its next is guessed. `hidden`: the text model's states of these tokens, or the head's own where it guesses on.
        Adapters do not change the head.
        """
        assert self._model.mtp is not None
        return self._model.mtp.forward(self._batch(chunks, ahead=1), hidden, self._cache)

    def _batch(self, chunks: list[Chunk], ahead: int = 0) -> Batch:
        """The chunks' tokens, or those `ahead` of them, in the places of the chunks."""
        token_ids = [token for chunk in chunks for token in chunk.request.tokens(chunk.first + ahead, chunk.count)]
        positions = [chunk.request.positions(chunk.first, chunk.count) for chunk in chunks]
        starts = list(accumulate((chunk.count for chunk in chunks), initial=0))
        return Batch(
            token_ids=np.array(token_ids, np.int32),
            positions=positions[0] if len(positions) == 1 else np.concatenate(positions, axis=1),
            starts=np.array(starts, np.int32),
            contexts=np.array([chunk.first for chunk in chunks], np.int32),
            slots=np.array([chunk.request.slot for chunk in chunks], np.int32),
            block_tables=_block_tables(chunks),
            replayed=np.array([chunk.request.replayed for chunk in chunks], np.int32),
            kept=np.array([chunk.kept for chunk in chunks], np.int32),
            media=tuple(
                part
                for chunk, start in zip(chunks, starts, strict=False)
                for rows in chunk.request.prompt.media
                if (part := self._media_part(rows, chunk.first + ahead, chunk.count, start)) is not None
            ),
            adapted=() if ahead else spans([(chunk.request.adapters, chunk.count) for chunk in chunks]),
        )

    def _media_part(
        self, rows: MediaRows, begin_token: int, count: int, start: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows of the batch, among the `count` from `start` on that hold the tokens from `begin_token` on, which
        this run of placeholders covers, and their embeddings; None when outside.
        """
        offset = rows.start - begin_token
        first, last = max(offset, 0), min(offset + rows.length, count)
        if first >= last:
            return None
        begin = rows.first_row + first - offset
        return np.arange(start + first, start + last), self._encode(rows.patches)[begin : begin + last - first]

    def _encode(self, patches: Patches) -> np.ndarray:
        found = self._embeddings.get(patches.digest)
        if found is not None:
            self._embeddings.move_to_end(patches.digest)
            return found
        assert self._model.vision is not None, "media are refused before, where there is no vision tower"
        made = self._model.vision.forward(patches.pixels, patches.grid)
        self._embeddings[patches.digest] = made
        self._embedding_bytes += made.nbytes
        while self._embedding_bytes > EMBEDDING_BYTES and len(self._embeddings) > 1:
            self._embedding_bytes -= self._embeddings.popitem(last=False)[1].nbytes
        return made


def together(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks with those of the same adapters side by side, so that each set's rows are one piece of the batch."""
    if not any(chunk.request.adapters.parts for chunk in chunks):
        return chunks
    return sorted(chunks, key=lambda chunk: chunk.request.adapters.digest)


def spans(counts: Iterable[tuple[Applied, int]]) -> tuple[Span, ...]:
    """The rows with adapters, from how many rows each of several requests has, those of the same adapters together."""
    found: list[Span] = []
    first = 0
    for applied, count in counts:
        if found and found[-1].last == first and found[-1].applied.digest == applied.digest:
            found[-1] = Span(found[-1].first, first + count, applied)
        elif applied.parts:
            found.append(Span(first, first + count, applied))
        first += count
    return tuple(found)


def _block_tables(chunks: list[Chunk]) -> np.ndarray:
    """Pages of each sequence, int32 [sequences, most pages]; shorter rows end in zeros, which no kernel reads."""
    rows = [np.frombuffer(chunk.request.pages, np.int32) for chunk in chunks]
    if len(rows) == 1:
        return rows[0][None]
    tables = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for table, row in zip(tables, rows, strict=True):
        table[: len(row)] = row
    return tables
