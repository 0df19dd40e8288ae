"""Token ids to text, one token at a time."""

import codecs

from qwill.text.tokenizer import Tokenizer


class Detokenizer:
    """Emits text as soon as its bytes are complete: all pushes and the flush together are the decoding of all ids at
    once.

    A character whose bytes are spread over tokens is held back until it is complete; U+FFFD appears only for bytes that
    can no longer become one.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special else frozenset()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """The text that `id` completes, possibly none."""
        return "" if id in self._skipped else self._decoder.decode(self._tokenizer.token_bytes(id))

    def flush(self) -> str:
        """What is left at the end: U+FFFD if a character stayed incomplete. The next push begins afresh."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
