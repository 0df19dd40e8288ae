"""The language model: embeddings, layers of DeltaNet and attention, final norm, head."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qwill.model.adapters import Span
from qwill.model.attention import GatedAttention
from qwill.model.batch import Batch, Cache
from qwill.model.config import TextConfig
from qwill.model.feed_forward import feed_forward
from qwill.model.gated_delta import GatedDeltaNet
from qwill.model.loader import Loader
from qwill.model.projections import Additions
from qwill.model.rope import TextRope
from qwill.weights.folders.head import EMBEDDINGS, HEAD

LARGE_VOCABULARY = 32_768
ADDED_TOKENS = 320  # the family's 33, and the padding of 243 behind them


class TextModel:
    """Computes hidden states and logits of a batch; everything a sequence remembers is in the cache it is given."""

    def __init__(self, loader: Loader, config: TextConfig) -> None:
        self.config = config
        self.rope = TextRope(config.rope)
        self._operations = loader.operations
        has_head = loader.has("lm_head.weight")
        # Packing checks the values, so a tied table is not looked through twice.
        read = loader.table if has_head else loader.raw
        self._embeddings = read("embed_tokens.weight", config.vocab_size, config.hidden_size)
        # Before the layers: the largest tensor waits to be packed while little else is held.
        if has_head:
            self._head = loader.weight("lm_head.weight", config.vocab_size, config.hidden_size)
        else:
            self._head = loader.tied_weight(self._embeddings)
        self._added_to_head = Additions(loader.operations, [HEAD])
        self._layers = []
        for index, kind in enumerate(config.layer_types):
            own = loader.scope(f"layers.{index}")
            mixer = GatedAttention(own, config) if kind == "full_attention" else GatedDeltaNet(own, config)
            self._layers.append((mixer, feed_forward(own, config)))
        self._norm = loader.vector("norm.weight", config.hidden_size)
        self._draft_heads: list[Any] | None = None  # parts of the head, once it is packed
        self._draft_ids = np.empty(0, np.int64)

    def embed(self, batch: Batch) -> np.ndarray:
        """Embeddings [tokens, hidden_size] f32, those of media in the places of their placeholders."""
        hidden = self._operations.embedding(self._embeddings, batch.token_ids)
        for span in batch.adapted:
            ids, own = batch.token_ids[span.rows], hidden[span.rows]
            for adapter, scale in span.applied.parts:
                tokens = adapter.rows.get(EMBEDDINGS)
                if tokens is not None:
                    for token, values in zip(tokens.ids, tokens.values, strict=True):
                        own[ids == token] = values
                if adapter.embeddings is not None:
                    adapter.embeddings.add(self._operations, ids, own, scale)
        for rows, embeddings in batch.media:
            hidden[rows] = embeddings
        return hidden

    def forward(self, batch: Batch, cache: Cache) -> np.ndarray:
        """Hidden states after the final norm, [tokens, hidden_size] f32. Keys, values and states go into the cache."""
        hidden = self.embed(batch)
        rope = self.rope(batch.positions)
        attention = zip(cache.keys, cache.values, strict=True)
        recurrent = zip(cache.conv_states, cache.states, cache.pending, strict=True)
        for mixer, ffn in self._layers:
            if isinstance(mixer, GatedAttention):
                mixer.add_to(hidden, batch, rope, *next(attention))
            else:
                mixer.add_to(hidden, batch, *next(recurrent))
            ffn.add_to(hidden, batch.adapted)
        return self._operations.rms_norm(hidden, self._norm, self.config.rms_norm_eps)

    def logits(self, hidden: np.ndarray, adapted: Sequence[Span] = ()) -> np.ndarray:
        """Logits [rows, vocab] f32 of hidden states [rows, hidden_size] after the final norm."""
        logits = self._operations.linear(hidden, self._head)
        for span in adapted:
            for adapter, _ in span.applied.parts:
                tokens = adapter.rows.get(HEAD)
                if tokens is not None:
                    logits[span.rows, tokens.ids] = self._operations.linear(hidden[span.rows], tokens.packed)
        self._added_to_head.to([logits], hidden, adapted)
        return logits

    def draft_logits(self, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits [rows, tokens] f32 of the tokens that are worth guessing, and their ids [tokens], rising.

        Of a large vocabulary these are the first quarter, for a byte-level BPE numbers its tokens by how early they
        were merged, so about by how frequent they are; and the last ones before the padding, which end turns and
        reasoning and call tools.
        """
        if self._draft_heads is None:
            self._draft_heads, self._draft_ids = self._parts_for_drafts()
        parts = [self._operations.linear(hidden, head) for head in self._draft_heads]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)), self._draft_ids

    def _parts_for_drafts(self) -> tuple[list[Any], np.ndarray]:
        vocab_size = self.config.vocab_size
        if vocab_size >= LARGE_VOCABULARY:
            ranges = [(0, vocab_size // 4 // 16 * 16), ((vocab_size - ADDED_TOKENS) // 16 * 16, vocab_size)]
            heads = [self._head.part(first, last - first) for first, last in ranges]
            if all(head is not None for head in heads):
                return heads, np.concatenate([np.arange(*each) for each in ranges])
        return [self._head], np.arange(vocab_size)
