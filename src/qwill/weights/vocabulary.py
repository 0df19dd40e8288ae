"""Tokens and merges as a GGUF file counts them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwill.weights.string_array import StringArray

# llama.cpp's token types: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused (padding), 6 byte
NORMAL_TOKEN, CONTROL_TOKEN, USER_DEFINED_TOKEN, UNUSED_TOKEN = 1, 3, 4, 5


@dataclass(frozen=True)
class Vocabulary:
    """`tokenizer.ggml.*` of a GGUF file. Tokens and merges are decoded only when they are read.

    `tokens[id]` and `merges[rank]` ("left right") are in the byte-level alphabet; `token_types[id]` is llama.cpp's.
    """

    tokens: Sequence[str]
    merges: Sequence[str]
    token_types: np.ndarray
    model: str
    pre: str
    eos_token_id: int | None = None
    bos_token_id: int | None = None
    pad_token_id: int | None = None
    eot_token_id: int | None = None
    add_bos_token: bool = False

    def special_ids(self) -> dict[str, int]:
        """Ids of all tokens that are not of the normal type and not mere padding, by their text."""
        ids = np.flatnonzero((self.token_types != NORMAL_TOKEN) & (self.token_types != UNUSED_TOKEN))
        return {self.tokens[int(i)]: int(i) for i in ids}

    def give_back(self) -> None:
        """Lets the system drop the file's pages with tokens and merges, once they are in a tokenizer: 10 MB."""
        for strings in (self.tokens, self.merges):
            if isinstance(strings, StringArray):
                strings.give_back()
