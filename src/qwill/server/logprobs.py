"""Log-probabilities, in the form that the dialects share."""

from typing import Any

from qwill.answer import Answer, TokenLogprob
from qwill.text.tokenizer import Tokenizer

LEAST = -9999.0  # JSON has no infinities


class NewLogprobs:
    """Those of an answer's tokens since the last time: text is held back where it may turn out to be something else."""

    def __init__(self, answer: Answer) -> None:
        self._request = answer.request
        self._told = 0

    def take(self) -> list[TokenLogprob] | None:
        """None where nobody asked for any."""
        if self._request.params.logprobs is None:
            return None
        samples = self._request.samples[self._told :]
        self._told += len(samples)
        return [TokenLogprob(one.token, one.logprob or 0.0, one.top or []) for one in samples]


def text_of(tokenizer: Tokenizer | None, token: int) -> str:
    """A token's text; bytes that are not UTF-8 by themselves are replaced."""
    return tokenizer.token_bytes(token).decode("utf-8", "replace") if tokenizer is not None else ""


def entry(tokenizer: Tokenizer | None, one: TokenLogprob) -> dict[str, Any]:
    """A token with the likeliest ones of its place."""
    top = [_one(tokenizer, token, logprob) for token, logprob in one.top]
    return _one(tokenizer, one.token_id, one.logprob) | {"top_logprobs": top}


def _one(tokenizer: Tokenizer | None, token: int, logprob: float) -> dict[str, Any]:
    spelled = list(tokenizer.token_bytes(token)) if tokenizer is not None else []
    return {"token": text_of(tokenizer, token), "logprob": max(logprob, LEAST), "bytes": spelled}
