"""Byte-level BPE, with the added tokens kept apart.

Text is normalized and split by the `tokenizers` library; vocabulary and merges are in a table of our own, which is
built in a fifth of the library's time. Neither ever sees added tokens: splitting at `<|im_end|>`, `<think>` and the
like happens here, so whether a piece of text may become a control token is a decision of the caller and never an
accident of the text.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from tokenizers import Regex, normalizers, pre_tokenizers

from qwill._native import BytePairs
from qwill.errors import CheckpointError, UnsupportedModel
from qwill.text.prompt import RenderedPrompt, added_token_pattern

# One split pattern for each value of `tokenizer.ggml.pre`. They differ in combining marks: Qwen 3.5 keeps them inside
# words.
SPLIT_PATTERNS = {
    "qwen35": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}

# `tokenizer.ggml.token_type` values.
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4

# The answer's own markup. Converters that call every `<...>` a control token must not make it vanish from the output.
_MARKUP = frozenset({"<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"})


MOST_TOKENS = 1 << 24

# uint8 bytes with strings among them, each behind its length in eight bytes; the first one's position; where each ends.
Stored = tuple[np.ndarray, int, np.ndarray]


@runtime_checkable
class StoredStrings(Protocol):
    """Strings that lie in a file as our table reads them."""

    def stored(self) -> Stored:
        """The bytes, the position of the first string, and where each ends (int64)."""


class Tokenizer:
    """Text to token ids and back.

    `added_tokens` maps every added token's text to its id; `special_ids` are those among them that never belong to the
    answer's text. `vocab_size` is one more than the highest id that has a token; a model's embedding may have more
    rows.
    """

    def __init__(
        self,
        pairs: BytePairs,
        added_tokens: Mapping[str, int],
        special_ids: Iterable[int],
        pattern: str,
        normalize: bool = True,
        ignore_merges: bool = False,
    ) -> None:
        """Build from parts; `from_file` and `from_vocabulary` read them from a checkpoint.

        `pattern` is the regular expression of one pre-token, `normalize` applies NFC first. `ignore_merges`: a
        pre-token that is a token is not built from its bytes.
        """
        self._pairs = pairs
        self._split = pre_tokenizers.Split(Regex(pattern), "isolated")
        self._nfc = normalizers.NFC() if normalize else None
        self._ignore_merges = ignore_merges
        self.added_tokens = dict(added_tokens)
        self.special_ids = frozenset(special_ids)
        self.vocab_size = max(pairs.size, 1 + max(self.added_tokens.values(), default=-1))
        self._added_bytes = {id: text.encode() for text, id in self.added_tokens.items()}
        self._added_pattern = added_token_pattern(self.added_tokens)

    @classmethod
    def from_file(cls, tokenizer_json: Path) -> "Tokenizer":
        """Read a `tokenizer.json`. Raises CheckpointError if it is torn, UnsupportedModel if it is not of this kind."""
        try:
            description = json.loads(tokenizer_json.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{tokenizer_json}: not a readable tokenizer file ({error})") from error
        try:
            model, added = description["model"], description.get("added_tokens") or []
            if model.get("type", "BPE") != "BPE":
                raise UnsupportedModel(f"{tokenizer_json}: a {model['type']} tokenizer; qwill runs byte-level BPE")
            for token in added:
                if token.get("lstrip") or token.get("rstrip") or token.get("single_word"):
                    raise UnsupportedModel(f"{tokenizer_json}: added token {token['content']!r} eats its surroundings")
            return cls(
                _byte_pairs(
                    list(model["vocab"]),
                    _checked_ids(model["vocab"].values()),
                    [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
                ),
                added_tokens={token["content"]: token["id"] for token in added},
                special_ids=[
                    token["id"] for token in added if token.get("special") and token["content"] not in _MARKUP
                ],
                pattern=_split_pattern(description.get("pre_tokenizer"), tokenizer_json),
                normalize=_is_nfc(description.get("normalizer"), tokenizer_json),
                ignore_merges=bool(model.get("ignore_merges")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{tokenizer_json}: not a tokenizer file ({error!r})") from error

    @classmethod
    def from_vocabulary(
        cls,
        tokens: Sequence[str],
        merges: Sequence[str],
        token_types: Sequence[int] | np.ndarray,
        pre: str,
        normalize: bool = True,
    ) -> "Tokenizer":
        """Rebuild from a GGUF's vocabulary: `tokens[id]` in the byte alphabet, merges as "left right", GGUF token
        types.

        Raises UnsupportedModel for a `pre` other than those of SPLIT_PATTERNS, CheckpointError for lists that do not
        agree and for a merge of what is no token.
        """
        if pre not in SPLIT_PATTERNS:
            raise UnsupportedModel(f"tokenizer.ggml.pre is {pre!r}; qwill knows {', '.join(SPLIT_PATTERNS)}")
        if len(tokens) != len(token_types):
            raise CheckpointError(f"the vocabulary has {len(tokens)} tokens but {len(token_types)} token types")
        kinds = np.asarray(token_types)
        # Older converters call the rows that pad the embedding user-defined.
        added = {
            tokens[id]: id
            for id in np.flatnonzero((kinds == _CONTROL) | (kinds == _USER_DEFINED)).tolist()
            if tokens[id] != f"[PAD{id}]"
        }
        ids = np.where(kinds == _NORMAL, np.arange(len(kinds)), -1)
        return cls(
            _byte_pairs(tokens, ids, merges, without=added),
            added_tokens=added,
            special_ids=[id for token, id in added.items() if kinds[id] == _CONTROL and token not in _MARKUP],
            pattern=SPLIT_PATTERNS[pre],
            normalize=normalize,
        )

    def check_rows(self, rows: int, source: Path) -> None:
        """Raises CheckpointError when a token has no row among so many of a model's embeddings. `source` is named."""
        if self.vocab_size > rows:
            added = (f"{text!r} is number {id}" for text, id in self.added_tokens.items() if id >= rows)
            raise CheckpointError(
                f"{source}: is no byte-level BPE of at most {rows} tokens, as many as the embeddings have"
                f" rows ({next(added, f'they go to {self.vocab_size - 1}')}); take the tokenizer that belongs to them"
            )

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Token ids of `text`. Added tokens are recognized only with `allow_special`; without it they are ordinary
        text.

        Lone surrogates, which no UTF-8 text has, become U+FFFD.
        """
        if not allow_special:
            return self._encode_plain(text)
        return self.encode_template(RenderedPrompt(text))

    def encode_template(self, rendered: RenderedPrompt) -> list[int]:
        """Token ids of a rendered conversation: added tokens of the template count, look-alikes in the user's text do
        not."""
        ids: list[int] = []
        start = 0
        for match in self._added_pattern.finditer(rendered.marked):
            ids += self._encode_plain(rendered.unmark(rendered.marked[start : match.start()]))
            ids.append(self.added_tokens[match.group()])
            start = match.end()
        ids += self._encode_plain(rendered.unmark(rendered.marked[start:]))
        return ids

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD, ids without a token nothing."""
        skipped = self.special_ids if skip_special else frozenset()
        return b"".join(self.token_bytes(id) for id in ids if id not in skipped).decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes that `id` stands for; none for an id without a token (the padding rows of an embedding)."""
        added = self._added_bytes.get(id)
        return self._pairs.bytes(id) if added is None else added

    def vocabulary_bytes(self, count: int) -> list[bytes]:
        """The bytes of the tokens 0 to `count`, as `token_bytes` gives them."""
        return [self.token_bytes(id) for id in range(count)]

    def token_id(self, text: str) -> int | None:
        """The id of the added token `text`, or of the single ordinary token whose bytes are `text`; None without
        one."""
        if text in self.added_tokens:
            return self.added_tokens[text]
        ids = self._encode_plain(text)
        return ids[0] if len(ids) == 1 else None

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if self._nfc is not None and not text.isascii():
            text = self._nfc.normalize_str(text)
        return self._pairs.encode(self._split.pre_tokenize_str(text), self._ignore_merges)


def _byte_pairs(
    tokens: Sequence[str], ids: np.ndarray, merges: Sequence[str], without: Iterable[str] = ()
) -> BytePairs:
    """The table of all tokens with an id of at least 0 but those `without`. Merges are "left right".

    Raises CheckpointError for a merge whose parts or result are no tokens.
    """
    pairs = BytePairs(*_stored(tokens), ids.astype(np.int32))
    for token in without:
        pairs.forget(token)
    wrong = pairs.set_merges(*_stored(merges))
    if wrong >= 0:
        words = merges[wrong].split(" ")
        if len(words) != 2:
            raise CheckpointError(f"the vocabulary has {merges[wrong]!r} for a merge of two tokens")
        raise CheckpointError(f"the vocabulary has no token for the merge of {words[0]!r} and {words[1]!r}")
    return pairs


def _stored(strings: Sequence[str]) -> Stored:
    if isinstance(strings, StoredStrings):
        return strings.stored()
    # All at once, apart from each other by a byte that is in none of them: one by one takes five times as long.
    text = np.frombuffer("\0".join(strings).encode("utf-8", "surrogatepass") + b"\0", np.uint8)
    ends = np.flatnonzero(text == 0)
    if len(ends) != len(strings):
        return _stored_one_by_one(strings)
    lengths = np.diff(ends, prepend=-1) - 1
    stored = np.cumsum(8 + lengths, dtype=np.int64)
    buffer = np.empty(stored[-1], np.uint8)
    is_length = np.zeros(len(buffer), bool)
    places = (stored - lengths - 8)[:, None] + np.arange(8)
    is_length[places] = True
    buffer[places] = lengths.astype("<u8")[:, None].view(np.uint8)
    buffer[~is_length] = text[text != 0]
    return buffer, 0, stored


def _stored_one_by_one(strings: Sequence[str]) -> Stored:
    texts = [string.encode("utf-8", "surrogatepass") for string in strings]
    buffer = b"".join(len(text).to_bytes(8, "little") + text for text in texts)
    return np.frombuffer(buffer, np.uint8), 0, np.cumsum([8 + len(text) for text in texts], dtype=np.int64)


def _checked_ids(ids: Iterable[Any]) -> np.ndarray:
    """Raises CheckpointError for what cannot be the number of a token."""
    found = list(ids)
    for id in found:
        if type(id) is not int or not 0 <= id < MOST_TOKENS:
            raise CheckpointError(f"the vocabulary gives a token the id {id!r}")
    return np.array(found, np.int64)


def _split_pattern(pre_tokenizer: dict[str, Any] | None, source: Path) -> str:
    """The regular expression in a `tokenizer.json`: one Split, then bytes."""
    steps = (pre_tokenizer or {}).get("pretokenizers") or []
    if [step["type"] for step in steps] == ["Split", "ByteLevel"]:
        split, byte_level = steps
        plain = split["behavior"] == "Isolated" and not split["invert"] and not byte_level["add_prefix_space"]
        if plain and not byte_level["use_regex"] and "Regex" in split["pattern"]:
            return split["pattern"]["Regex"]
    raise UnsupportedModel(
        f"{source}: its pre_tokenizer is not one Split by a regular expression followed by ByteLevel"
    )


def _is_nfc(normalizer: dict[str, Any] | None, source: Path) -> bool:
    if normalizer is not None and normalizer.get("type") != "NFC":
        raise UnsupportedModel(f"{source}: normalizer {normalizer.get('type')!r}; qwill knows NFC or none")
    return normalizer is not None
