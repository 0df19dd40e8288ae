"""What requests want of their prompts themselves, beside what follows them: log-probabilities, or the mean state."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from qwill.engine.sampler import Sampled, with_logprobs

LOGIT_BYTES = 64 << 20  # of the logits that are there at a time: those of a long prompt would fill any memory


class PromptReader(Protocol):
    """Sees every hidden state of a prompt, once and in order, so its request computes all of them: none comes from a
    cache. What it makes of them depends neither on the pieces in which they come nor on other requests.
    """

    def read(self, hidden: np.ndarray, logits: Callable[[np.ndarray], np.ndarray]) -> None:
        """Takes the states [tokens, hidden_size] f32 of the prompt's next tokens. `logits` makes logits [rows, vocab]
        f32 of some of them.
        """


class PromptLogprobs:
    """Log-probabilities of a prompt's tokens, as the sampler gives them of drawn ones. `samples` are those of the
    tokens so far, from the second one on: nothing tells what the first was likely to be.
    """

    def __init__(self, token_ids: Sequence[int], count: int) -> None:
        """`count`: how many of the likeliest tokens are told for each place."""
        self.samples: list[Sampled] = []
        self._token_ids = token_ids
        self._count = count

    def read(self, hidden: np.ndarray, logits: Callable[[np.ndarray], np.ndarray]) -> None:
        """Raises QwillError when logits hold NaN or +inf."""
        first, begin, rows = len(self.samples) + 1, 0, 1
        tokens = self._token_ids[first : first + len(hidden)]  # the last state tells what follows the prompt
        while begin < len(tokens):
            some = logits(hidden[begin : min(begin + rows, len(tokens))])
            for row, token in zip(some, tokens[begin:], strict=False):
                self.samples.append(with_logprobs(token, row, self._count, first + len(self.samples)))
            begin += len(some)
            rows = max(1, LOGIT_BYTES // some[0].nbytes)


class MeanState:
    """The mean of a prompt's hidden states after the final norm."""

    def __init__(self, dimensions: int | None = None) -> None:
        """`dimensions`: how many of its values are wanted, the first ones; all by default."""
        self._dimensions = dimensions
        self._sum = np.zeros(0)
        self._count = 0

    def read(self, hidden: np.ndarray, logits: Callable[[np.ndarray], np.ndarray]) -> None:
        if not self._count:
            self._sum = np.zeros(hidden.shape[1])
        for row in hidden:  # one after the other, so that pieces make no difference
            self._sum += row
        self._count += len(hidden)

    @property
    def unit(self) -> np.ndarray:
        """The values that are wanted, [dimensions] f32, scaled to length 1; nothing but zeros stays as it is."""
        mean = self._sum[: self._dimensions] / max(self._count, 1)
        length = float(np.sqrt(np.square(mean).sum()))
        return (mean / (length or 1.0)).astype(np.float32)
