"""Writes answers as they come, for people at a terminal or for the next program in a pipe."""

import sys
from types import TracebackType
from typing import Self, TextIO

from qwill.answer import Completion, StreamDelta
from qwill.system.terminal import shows_styles

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
# What could move a terminal's cursor or change its title stays visible instead: everything but tab and newline.
CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
# What to say of an answer that ended otherwise than by itself or at its limit.
_ENDINGS = {
    "loop": "the answer repeated itself and was ended",
    "error": "the answer's structure was too complex to follow to its end",
}


class AnswerPrinter:
    """Writes one answer to `output`, reasoning before content, a blank line between.

    At a terminal the reasoning is dim; elsewhere it is left out unless `show_reasoning`.
    """

    def __init__(self, output: TextIO, show_reasoning: bool = False) -> None:
        self._output = output
        self._terminal = output.isatty()
        self._show_reasoning = show_reasoning or self._terminal
        self._styled = self._terminal and shows_styles()
        self._dim = False
        self._kind = ""
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, BrokenPipeError):
            return
        self._set_dim(False)
        if self._last not in ("", "\n"):
            self._output.write("\n")
        self._output.flush()

    def write(self, delta: StreamDelta) -> None:
        """Shows a piece of reasoning or content at once; other pieces have no text."""
        if not delta.text or (delta.kind == "reasoning" and not self._show_reasoning):
            return
        if self._kind and delta.kind != self._kind:
            self._set_dim(False)
            self._output.write("\n\n")
        self._kind = delta.kind
        self._set_dim(delta.kind == "reasoning")
        self._output.write(delta.text.translate(CONTROLS) if self._terminal else delta.text)
        self._output.flush()
        self._last = delta.text[-1]

    def _set_dim(self, dim: bool) -> None:
        if self._styled and dim != self._dim:
            self._output.write(_DIM if dim else _PLAIN)
            self._dim = dim


def speed_line(completion: Completion) -> str:
    """Tokens and tokens per second of an answer, for people."""
    usage, timings = completion.usage, completion.timings
    limit = ", stopped at the limit" if completion.finish_reason == "length" else ""
    return (
        f"[{usage['completion_tokens']} tokens at {timings['decode_tokens_per_second']:.1f} a second{limit};"
        f" prompt {usage['prompt_tokens']} at {timings['prefill_tokens_per_second']:.0f};"
        f" first after {timings['first_token_seconds']:.2f} s]"
    )


def show_ending(completion: Completion) -> None:
    """Writes to stderr why an answer is empty or cut off, if it is, and the speed when a person is looking."""
    if completion.finish_reason == "length" and completion.reasoning and not completion.text:
        tokens = completion.usage["completion_tokens"]
        print(
            f"qwill: still reasoning after {tokens} tokens; raise -n, or say --max-thinking N or --no-think",
            file=sys.stderr,
        )
    if completion.finish_reason in _ENDINGS:
        print(f"qwill: {_ENDINGS[completion.finish_reason]}", file=sys.stderr)
    if sys.stderr.isatty():
        print(speed_line(completion), file=sys.stderr)
