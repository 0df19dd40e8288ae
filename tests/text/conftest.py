"""A small tokenizer of the family's kind, trained on text in many scripts that is made up here."""

import random
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as LibraryTokenizer

from qwill.text.tokenizer import Tokenizer

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
MARKUP = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>", "<|fim_prefix|>"]
ALPHABETS = [(0x61, 0x7A), (0x41, 0x5A), (0x430, 0x44F), (0x3B1, 0x3C9), (0x5D0, 0x5EA), (0x627, 0x64A), (0x904, 0x94D)]
ALPHABETS += [
    (0xE01, 0xE3A),
    (0x1780, 0x17D3),
    (0x3041, 0x3096),
    (0x4E00, 0x4E80),
    (0xAC00, 0xAC80),
    (0x1F600, 0x1F640),
]


def _corpus(lines: int) -> list[str]:
    generator = random.Random(0)

    def word() -> str:
        first, last = generator.choice(ALPHABETS)
        last = min(last, first + 12)
        return "".join(chr(generator.randint(first, last)) for _ in range(generator.randint(1, 6)))

    words = [word() for _ in range(400)] + [
        "\n",
        "\n\n",
        "  ",
        "'ll",
        "<|",
        "|>",
        "im",
        "end",
        "think",
        "123",
        "!?",
        "e\u0301",
    ]
    return [" ".join(generator.choices(words, k=30)) for _ in range(lines)]


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = LibraryTokenizer(models.BPE())
    library.normalizer = normalizers.NFC()
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        _corpus(300), trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    )
    library.add_special_tokens(SPECIAL)
    library.add_tokens([AddedToken(token, normalized=False, special=False) for token in MARKUP])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    library.save(str(path))
    return path


@pytest.fixture(scope="session")
def library(tokenizer_json: Path) -> LibraryTokenizer:
    """The same file read by the library itself, whose handling of added tokens is the oracle for ours."""
    return LibraryTokenizer.from_file(str(tokenizer_json))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_json: Path) -> Tokenizer:
    return Tokenizer.from_file(tokenizer_json)
