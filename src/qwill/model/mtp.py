"""The multi-token-prediction head: hidden state of token t and embedding of token t + 1 predict token t + 2."""

import numpy as np

from qwill.model.attention import GatedAttention
from qwill.model.batch import Batch, Cache
from qwill.model.feed_forward import feed_forward
from qwill.model.loader import Loader
from qwill.model.text import TextModel


class MtpHead:
    """One decoder layer over [norm(embedding) ; norm(hidden)], sharing embeddings and head with the text model.

    Its keys and values are the last layer of the cache.
    """

    def __init__(self, loader: Loader, text: TextModel) -> None:
        config = text.config
        hidden = config.hidden_size
        self._operations = loader.operations
        self._text = text
        self._eps = config.rms_norm_eps
        self._embedding_norm = loader.vector("pre_fc_norm_embedding.weight", hidden)
        self._hidden_norm = loader.vector("pre_fc_norm_hidden.weight", hidden)
        self._combine = loader.weight("fc.weight", hidden, 2 * hidden)
        layer = loader.scope("layers.0")
        self._attention = GatedAttention(layer, config)
        self._feed_forward = feed_forward(layer, config)
        self._norm = loader.vector("norm.weight", hidden)

    def forward(self, batch: Batch, hidden: np.ndarray, cache: Cache) -> np.ndarray:
        """Hidden states [tokens, hidden_size] f32 after the head's norm; `TextModel.logits` turns them into logits.

        `batch.token_ids` are the tokens that follow; `hidden` [tokens, hidden_size] are the text model's states after
        its final norm, or this method's own result when it drafts further.
        """
        ops = self._operations
        combined = np.concatenate(
            [
                ops.rms_norm(self._text.embed(batch), self._embedding_norm, self._eps),
                ops.rms_norm(hidden, self._hidden_norm, self._eps),
            ],
            axis=1,
        )
        out = ops.linear(combined, self._combine)
        self._attention.add_to(out, batch, self._text.rope(batch.positions), cache.keys[-1], cache.values[-1])
        self._feed_forward.add_to(out, batch.adapted)
        return ops.rms_norm(out, self._norm, self._eps)
