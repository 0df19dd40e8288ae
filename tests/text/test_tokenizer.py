"""The tokenizer against the library's own reading of the file, a brute-force BPE, and llama.cpp's vectors."""

import json
import os
import random
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.text.prompt import RenderedPrompt
from qwill.text.tokenizer import Tokenizer

ADDED = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "<|image_pad|>", "<|fim_prefix|>"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TRICKY = st.lists(
    TEXT | st.sampled_from([*ADDED, "<|im_", "end|>", "<", " ", "\n", "don't we'LL", "e\u0301", "123", "\r\n  x"]),
    max_size=8,
).map("".join)


def brute_force_ids(text: str, description: dict[str, Any]) -> list[int]:
    """Byte-level BPE as defined: split, map bytes to characters, join the lowest-ranked pair until none is left."""
    vocabulary, merges = description["model"]["vocab"], description["model"]["merges"]
    ranks = {tuple(merge): rank for rank, merge in enumerate(merges)}
    pattern = description["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + byte - sum(other < byte for other in printable)))
    ids = []
    for piece in regex.findall(pattern, unicodedata.normalize("NFC", text)):
        parts = [letters[byte] for byte in piece.encode()]
        while True:
            ranked = [(ranks[pair], at) for at, pair in enumerate(pairwise(parts)) if pair in ranks]
            if not ranked:
                break
            at = min(ranked)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [vocabulary[part] for part in parts]
    return ids


def assigned(text: str) -> str:
    """`text` without the characters that not all of Python, the regex module and the library may know."""
    return "".join(character for character in text if unicodedata.ucd_3_2_0.category(character) != "Cn")


@pytest.fixture(scope="module")
def description(tokenizer_json: Path) -> dict[str, Any]:
    return json.loads(tokenizer_json.read_text(encoding="utf-8"))


@given(text=TRICKY)
@settings(deadline=None, max_examples=200)
def test_plain_text_is_brute_force_bpe_and_never_a_control_token(
    tokenizer: Tokenizer, description: dict[str, Any], text: str
) -> None:
    text = assigned(text)
    ids = tokenizer.encode(text, allow_special=False)
    assert ids == brute_force_ids(text, description)
    assert not set(ids) & set(tokenizer.added_tokens.values())
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


@given(text=TRICKY)
@settings(deadline=None)
def test_with_special_tokens_it_is_the_library(tokenizer: Tokenizer, library: LibraryTokenizer, text: str) -> None:
    assert tokenizer.encode(text, allow_special=True) == library.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode_template(RenderedPrompt(text)) == tokenizer.encode(text, allow_special=True)


@given(data=st.data())
@settings(deadline=None)
def test_decoding_random_ids_is_the_library(
    tokenizer: Tokenizer, library: LibraryTokenizer, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
    assert tokenizer.decode(ids, skip_special=False) == library.decode(ids, skip_special_tokens=False)
    assert tokenizer.decode(ids) == library.decode(ids, skip_special_tokens=True)


def test_every_script_survives(tokenizer: Tokenizer) -> None:
    codes = [*range(0x3000), *range(0x3000 + random.randrange(7), 0x110000, 7)]
    characters = [chr(code) for code in codes if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    # One a line: the library's tables may not know the newest combining marks, whose order NFC would settle.
    text = "\n".join(characters)
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


def test_of_two_added_tokens_the_longer_counts(description: dict[str, Any], tmp_path: Path) -> None:
    extra = [
        {"id": 5000 + index, "content": text, "special": True} for index, text in enumerate(["<a", "<a>", "<think>"])
    ]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**description, "added_tokens": extra}))
    tokenizer = Tokenizer.from_file(path)
    assert tokenizer.encode("<a><a", allow_special=True) == [5001, 5000]
    # A file may call the answer's markup special; it stays visible all the same.
    assert tokenizer.special_ids == {5000, 5001}
    assert tokenizer.decode([5002, 5001]) == "<think>"


def test_lone_surrogates_become_replacement_characters_and_pairs_are_joined(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude00")) == "😀"


def test_ids_and_bytes(tokenizer: Tokenizer, library: LibraryTokenizer) -> None:
    assert tokenizer.vocab_size == library.get_vocab_size()
    assert tokenizer.token_id("<|im_end|>") == library.token_to_id("<|im_end|>")
    assert tokenizer.token_id("a") == library.token_to_id("a")
    assert tokenizer.token_id("no such token") is None
    assert tokenizer.token_bytes(tokenizer.added_tokens["<think>"]) == b"<think>"
    assert tokenizer.token_bytes(tokenizer.vocab_size + 7) == b""
    single = {tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)}
    assert {bytes([byte]) for byte in range(256)} <= single
    assert tokenizer.added_tokens["<|im_end|>"] in tokenizer.special_ids
    assert tokenizer.added_tokens["<think>"] not in tokenizer.special_ids


@pytest.mark.parametrize("odd", ["", "a b", "\xad", "\u0100x\n", "日本"])
def test_all_bytes_at_once(description: dict[str, Any], odd: str) -> None:
    """Also of tokens whose characters stand for no bytes, and of rows without a token."""
    tokens, merges, types = gguf_lists(description)
    tokenizer = Tokenizer.from_vocabulary([*tokens, odd or "[PAD]"], merges, [*types, 1], "qwen35")
    for count in (tokenizer.vocab_size, tokenizer.vocab_size + 9, 300):
        assert tokenizer.vocabulary_bytes(count) == [tokenizer.token_bytes(id) for id in range(count)]


def gguf_lists(description: dict[str, Any]) -> tuple[list[str], list[str], list[int]]:
    added = description["added_tokens"]
    tokens = sorted(description["model"]["vocab"], key=description["model"]["vocab"].__getitem__)
    types = [1] * len(tokens) + [3 if token["special"] else 4 for token in added]
    merges = [" ".join(merge) for merge in description["model"]["merges"]]
    return tokens + [token["content"] for token in added], merges, types


@given(text=TRICKY)
@settings(deadline=None)
def test_a_gguf_vocabulary_gives_the_same_tokenizer(
    tokenizer: Tokenizer, description: dict[str, Any], text: str
) -> None:
    rebuilt = Tokenizer.from_vocabulary(*gguf_lists(description), pre="qwen35")
    assert rebuilt.encode(text, allow_special=True) == tokenizer.encode(text, allow_special=True)
    assert rebuilt.special_ids == tokenizer.special_ids
    assert rebuilt.vocab_size == tokenizer.vocab_size


def test_a_gguf_vocabulary_with_odd_types(description: dict[str, Any]) -> None:
    tokens, merges, types = gguf_lists(description)
    types[tokens.index("<think>")] = 3
    padded = Tokenizer.from_vocabulary([*tokens, f"[PAD{len(tokens)}]", "unused"], merges, [*types, 4, 5], "qwen35")
    assert padded.added_tokens["<think>"] not in padded.special_ids
    assert set(padded.added_tokens) == {token["content"] for token in description["added_tokens"]}
    assert padded.decode([len(tokens)]) == ""


def test_the_two_patterns_and_normalization_differ_where_they_should(description: dict[str, Any]) -> None:
    lists = gguf_lists(description)
    text = "क्षि x"  # Combining marks: inside the word for qwen35, outside for qwen2.
    qwen2 = {"pre_tokenizer": {"pretokenizers": [{"pattern": {"Regex": QWEN2_PATTERN}}]}, "model": description["model"]}
    assert Tokenizer.from_vocabulary(*lists, pre="qwen2").encode(text) == brute_force_ids(text, qwen2)
    assert Tokenizer.from_vocabulary(*lists, pre="qwen35").encode(text) == brute_force_ids(text, description)
    raw = Tokenizer.from_vocabulary(*lists, pre="qwen35", normalize=False)
    assert raw.decode(raw.encode("e\u0301")) == "e\u0301"


QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def test_foreign_and_torn_vocabularies_are_refused(description: dict[str, Any]) -> None:
    tokens, merges, types = gguf_lists(description)
    with pytest.raises(UnsupportedModel, match="llama-bpe"):
        Tokenizer.from_vocabulary(tokens, merges, types, pre="llama-bpe")
    with pytest.raises(CheckpointError, match="token types"):
        Tokenizer.from_vocabulary(tokens, merges, types[:-1], pre="qwen35")
    with pytest.raises(CheckpointError, match="no token for the merge"):
        Tokenizer.from_vocabulary(tokens, [*merges, "zz qq"], types, pre="qwen35")
    with pytest.raises(CheckpointError, match="merge of two"):
        Tokenizer.from_vocabulary(tokens, [*merges, "a b c"], types, pre="qwen35")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": None}, CheckpointError, "not a tokenizer file"),
        ({"model": {"type": "Unigram"}}, UnsupportedModel, "Unigram"),
        ({"normalizer": {"type": "NFKC"}}, UnsupportedModel, "NFKC"),
        ({"pre_tokenizer": {"type": "ByteLevel"}}, UnsupportedModel, "pre_tokenizer"),
        ({"added_tokens": [{"id": 9, "content": "<x>", "lstrip": True}]}, UnsupportedModel, "<x>"),
    ],
)
def test_foreign_files_are_refused_in_one_line(
    description: dict[str, Any], tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**description, **change}))
    with pytest.raises(error, match=words) as caught:
        Tokenizer.from_file(path)
    assert "\n" not in str(caught.value)


def test_torn_and_missing_files_are_refused(tokenizer_json: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_bytes(tokenizer_json.read_bytes()[:-100])
    for name in ("torn.json", "missing.json"):
        with pytest.raises(CheckpointError, match=name):
            Tokenizer.from_file(tmp_path / name)


@pytest.mark.peer
def test_llama_cpp_vectors() -> None:
    import gguf

    base = Path(os.environ["QWILL_LLAMA_CPP"]) / "models" / "ggml-vocab-qwen35.gguf"
    fields = gguf.GGUFReader(base).fields
    tokens, merges, types = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges", "token_type"))
    tokenizer = Tokenizer.from_vocabulary(tokens, merges, types, pre="qwen35", normalize=False)
    with open(f"{base}.inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    expected = [[int(id) for id in line.split()] for line in Path(f"{base}.out").read_text().split("\n")]
    assert len(texts) == len(expected) == 51
    assert [tokenizer.encode(text) for text in texts] == expected
    assert [tokenizer.decode(ids) for ids in expected] == texts
