"""The table of tokens and merges against the `tokenizers` library, on odd vocabularies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwill._native import BytePairs
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models, pre_tokenizers

from qwill.errors import CheckpointError
from qwill.text.tokenizer import Tokenizer, _byte_pairs, _stored

ALPHABET = pre_tokenizers.ByteLevel.alphabet()
LETTERS = ["a", "b", "c", "Ġ", "Ã", "©", "Ċ"]  # a, b, c, space, the two bytes of é, a newline
TEXT = st.text("abcé \nd", max_size=60)
EVERYTHING = r"[\s\S]+"  # one pre-token


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Tokens, of which some stand twice and some letters are missing, and merges of them, some of which stand twice."""
    tokens = draw(st.lists(st.sampled_from(LETTERS), min_size=2, unique=True))
    merges = []
    for _ in range(draw(st.integers(0, 25))):
        left, right = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        merges.append(f"{left} {right}")
        tokens.append(left + right)
    return tokens, draw(st.permutations(merges))


@settings(max_examples=200, deadline=None)
@given(vocabularies(), TEXT, st.booleans(), st.data())
def test_any_vocabulary_is_the_library(
    made: tuple[list[str], list[str]], text: str, whole: bool, data: st.DataObject
) -> None:
    tokens, merges = made
    ids = np.array(data.draw(st.permutations(range(3, 3 + len(tokens)))))
    vocabulary = dict(zip(tokens, ids.tolist(), strict=True))
    pairs = [tuple(merge.split(" ")) for merge in merges]
    library = LibraryTokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=whole))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(_byte_pairs(tokens, ids, merges), {}, [], EVERYTHING, normalize=False, ignore_merges=whole)
    assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids
    assert tokenizer.vocab_size == 1 + max(vocabulary.values())
    byte_of = {character: byte for byte, character in enumerate(_characters())}
    for id in range(3 + len(tokens)):
        token = library.id_to_token(id) or ""
        assert tokenizer.token_bytes(id) == bytes(byte_of[character] for character in token)


def test_every_byte_has_its_character() -> None:
    characters = _characters()
    assert sorted(characters) == sorted(ALPHABET)
    pairs = _byte_pairs(characters, np.arange(256)[::-1].copy(), [])
    assert [pairs.bytes(255 - byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    library = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for code in (*range(0x250), 0x7FF, 0x800, 0xFFFD, 0x10FFFF):
        ((spelled, _),) = library.pre_tokenize_str(chr(code))
        assert pairs.encode([(chr(code), (0, 1))], False) == [pairs.find(character) for character in spelled]


def test_what_is_forgotten_is_no_token() -> None:
    table = _byte_pairs(["a", "b", "x"], np.array([0, 1, -1]), [], without=["b", "none"])
    assert [table.find(token) for token in "abx"] == [0, -1, -1]
    assert (table.size, table.bytes(1), table.bytes(-1), table.bytes(1 << 40)) == (1, b"", b"", b"")
    assert table.encode([("abab", (0, 4))], False) == [0, 0]
    with pytest.raises(CheckpointError, match="no token for the merge of 'a' and 'b'"):
        _byte_pairs(["a", "b", "ab"], np.arange(3), ["a b"], without=["b"])


@given(st.lists(st.text(st.sampled_from("ab\0é€\ud800😀"), max_size=9), max_size=20))
def test_strings_are_laid_out_as_they_are_read(strings: list[str]) -> None:
    data, begin, ends = _stored(strings)
    read = []
    for end in ends.tolist():
        length = int.from_bytes(data[begin : begin + 8].tobytes(), "little")
        assert begin + 8 + length == end
        read.append(data[begin + 8 : end].tobytes().decode("utf-8", "surrogatepass"))
        begin = end
    assert (read, begin) == (strings, len(data))


def test_arrays_that_do_not_agree_are_refused() -> None:
    data, ends = np.zeros(8, np.uint8), np.array([8])
    assert BytePairs(data, 0, ends, np.array([0], np.int32)).size == 1  # the empty token
    for start, wrong_ends, ids in ((0, [8], [0, 1]), (0, [9], [0]), (1, [8], [0]), (-1, [8], [0]), (0, [8, 8], [0, 1])):
        with pytest.raises(ValueError, match=r"ends of strings|one id"):
            BytePairs(data, start, np.array(wrong_ends), np.array(ids, np.int32))


def _characters() -> list[str]:
    """The character of each byte, as GPT-2 defined it."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]
