"""How much of a prompt a step may read beside the answers that others are watching. Policy only: no arrays."""

LONGEST_GAP = 2.0  # a step with a piece of a prompt takes at most so many times as long as one without
LEAST_TOKENS = 16  # of a prompt in a step, however slow: it has to end some day
WEIGHT = 0.2  # of the newest step in the averages


class Pace:
    """Learns what a step takes without prompts and what each token of a prompt adds, from the steps so far."""

    def __init__(self) -> None:
        self._plain: float | None = None
        self._token: float | None = None

    def add_step(self, decoding: int, prompt_tokens: int, seconds: float) -> None:
        """A step that wrote for `decoding` requests and read `prompt_tokens`."""
        if prompt_tokens == 0:
            self._plain = _average(self._plain, seconds)
        elif decoding == 0 or self._plain is not None:
            rest = seconds - (self._plain or 0.0 if decoding else 0.0)
            self._token = _average(self._token, max(rest, 0.0) / prompt_tokens)

    def prompt_tokens(self) -> int | None:
        """How many tokens of prompts the next step may read beside watched answers; None before anything is known."""
        if self._plain is None or self._token is None:
            return None
        if self._token == 0:
            return None
        return max(LEAST_TOKENS, int((LONGEST_GAP - 1) * self._plain / self._token))


def _average(old: float | None, new: float) -> float:
    return new if old is None else old + WEIGHT * (new - old)
