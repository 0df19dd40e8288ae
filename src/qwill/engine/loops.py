"""Finds answers that repeat themselves and would not end."""

import numpy as np

LONGEST_PERIOD = 128
REPETITIONS = 10
LEAST_TOKENS = 256


class LoopDetector:
    """Follows one answer. It loops once its last tokens are one stretch of 1 to 128 tokens, 10 times or more, over 256
    tokens or more.

    Tables, lists of zeros and copied text repeat less exactly or less long; who asks for more of the same than that is
    told apart from a runaway by nobody, so a request has to ask for the detector.
    """

    def __init__(self) -> None:
        periods = np.arange(1, LONGEST_PERIOD + 1)
        # Tokens that must be equal to the one a period before, for the whole stretch to be covered.
        self._needed = np.maximum(REPETITIONS * periods, LEAST_TOKENS) - periods
        self._runs = np.zeros(LONGEST_PERIOD, np.int64)
        # Twice as long as what is looked at, and moved to its front when it is full. -1 is no token.
        self._tokens = np.full(2 * LONGEST_PERIOD, -1, np.int64)
        self._end = LONGEST_PERIOD
        self.looping = False

    def add(self, token: int) -> None:
        """Takes the next token; `looping` says whether it completed a loop."""
        if self._end == len(self._tokens):
            self._tokens[:LONGEST_PERIOD] = self._tokens[LONGEST_PERIOD:]
            self._end = LONGEST_PERIOD
        before = self._tokens[self._end - LONGEST_PERIOD : self._end][::-1]  # period p stands at p - 1
        self._runs += 1
        self._runs *= before == token
        self._tokens[self._end] = token
        self._end += 1
        self.looping = bool((self._runs >= self._needed).any())
