"""Byte-level BPE over the `tokenizers` library, with the added tokens kept apart.

The library only ever sees text without added tokens: splitting at `<|im_end|>`, `<think>` and the like happens here, so
whether a piece of text may become a control token is a decision of the caller and never an accident of the text.
"""

import itertools
import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

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


def _byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary, as character -> byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet.update((chr(256 + index), byte) for index, byte in enumerate(others))
    return alphabet


_BYTE_OF = _byte_alphabet()
# Each of those characters as the byte's own; the others up to U+00FF, which stand for no byte, leave Latin-1.
_TO_LATIN = dict.fromkeys(range(256), "\uffff") | {ord(character): chr(byte) for character, byte in _BYTE_OF.items()}


@runtime_checkable
class StoredStrings(Protocol):
    """A file's strings, which become a dictionary or pairs without a list between."""

    def places(self, kept: np.ndarray) -> dict[str, int]:
        """Index of each string that `kept` (bool) marks."""

    def pairs(self) -> list[tuple[str, str]] | None:
        """Both words of each string; None when one has not exactly two."""


class Tokenizer:
    """Text to token ids and back.

    `added_tokens` maps every added token's text to its id; `special_ids` are those among them that never belong to the
    answer's text. `vocab_size` is one more than the highest id that has a token; a model's embedding may have more
    rows.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        merges: Sequence[tuple[str, str]],
        added_tokens: Mapping[str, int],
        special_ids: Iterable[int],
        pattern: str,
        normalize: bool = True,
        ignore_merges: bool = False,
    ) -> None:
        """Build from parts; `from_file` and `from_vocabulary` read them from a checkpoint.

        `pattern` is the regular expression of one pre-token, `normalize` applies NFC first. Raises CheckpointError when
        a character or merge has no token.
        """
        _check_merges(vocabulary, merges)
        self._bpe = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges), ignore_merges=ignore_merges))
        self._bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        if normalize:
            self._bpe.normalizer = normalizers.NFC()
        self.added_tokens = dict(added_tokens)
        self.special_ids = frozenset(special_ids)
        self.vocab_size = 1 + max(max(each.values(), default=-1) for each in (vocabulary, self.added_tokens))
        self._bytes = {id: text.encode() for text, id in self.added_tokens.items()}
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
                vocabulary=model["vocab"],
                merges=_pairs(model["merges"]),
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
        agree.
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
        vocabulary = _places(tokens, kinds == _NORMAL)
        for token in added:
            vocabulary.pop(token, None)
        return cls(
            vocabulary=vocabulary,
            merges=_pairs(merges),
            added_tokens=added,
            special_ids=[id for token, id in added.items() if kinds[id] == _CONTROL and token not in _MARKUP],
            pattern=SPLIT_PATTERNS[pre],
            normalize=normalize,
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
        found = self._bytes.get(id)
        if found is None:
            token = self._bpe.id_to_token(id) or ""
            found = b"".join(bytes([_BYTE_OF[c]]) if c in _BYTE_OF else c.encode() for c in token)
            self._bytes[id] = found
        return found

    def vocabulary_bytes(self, count: int) -> list[bytes]:
        """The bytes of the tokens 0 to `count`, as `token_bytes` gives them, all at once."""
        found = [b""] * count
        for token, id in self._bpe.get_vocab(with_added_tokens=False).items():
            if id < count:
                try:
                    found[id] = token.translate(_TO_LATIN).encode("latin-1")
                except UnicodeEncodeError:
                    found[id] = self.token_bytes(id)
        for text, id in self.added_tokens.items():
            if id < count:
                found[id] = text.encode()
        return found

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
        return self._bpe.encode(text, add_special_tokens=False).ids


def _places(tokens: Sequence[str], kept: np.ndarray) -> dict[str, int]:
    """Index of each token that `kept` (bool) marks."""
    if isinstance(tokens, StoredStrings):
        return tokens.places(kept)
    return {tokens[id]: id for id in np.flatnonzero(kept).tolist()}


def _pairs(merges: Sequence[str] | Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Merges as pairs; files write one as "left right" or as a list of the two."""
    if isinstance(merges, StoredStrings) and (found := merges.pairs()) is not None:
        return found
    pairs: list[Any] = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]
    for pair in pairs if {*map(len, pairs)} - {2} else []:
        if len(pair) != 2:
            raise CheckpointError(f"the vocabulary has {' '.join(pair)!r} for a merge of two tokens")
    return pairs


def _check_merges(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    """Every part and every result must be a token. Loops in C: there are a quarter of a million merges."""
    known = vocabulary.__contains__
    lefts, rights = map(operator.itemgetter(0), merges), map(operator.itemgetter(1), merges)
    if all(map(known, lefts)) and all(map(known, rights)) and all(map(known, itertools.starmap(operator.add, merges))):
        return
    left, right = next(pair for pair in merges if not (known(pair[0]) and known(pair[1]) and known(pair[0] + pair[1])))
    raise CheckpointError(f"the vocabulary has no token for the merge of {left!r} and {right!r}")


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
