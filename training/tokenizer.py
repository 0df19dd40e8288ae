"""A byte-level BPE of our own under the family's split rule, with the family's added tokens at its end.

The model has to copy words that it never saw, from any place of a prompt. So a word is spelled alike behind a space, a
quote or a line break, and of pieces that many other copied words share. No trainer at hand takes such conditions; the
merges are learned here (`merges.py`).
"""

import re
from collections import Counter
from collections.abc import Iterable

import regex
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from training.merges import Merge, ranked, shared_pieces_only, spelled

SPLIT_RULE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXT_LIKE = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> "
    "<tool_response> </tool_response> <think> </think>"
)
IN_ORDER = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> "
    + TEXT_LIKE
    + " <|audio_start|> <|audio_end|> <tts_pad> <tts_text_bos> <tts_text_eod> <tts_text_bos_single> <|audio_pad|>"
)
# (token, whether it is "special"), in the order of the released vocabulary.
ADDED_TOKENS = tuple((content, content not in TEXT_LIKE.split()) for content in IN_ORDER.split())


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
SPACE = "\u0120"  # how byte-level BPE writes it
SPACED_WORDS = 300  # at most so many words get a token with the space before them, and a quarter of all merges
# A split-off piece: the one character that may lead a word, and the rest.
LED = regex.compile(r"([^\r\n\p{L}\p{N}]?)([\p{L}\p{M}].*)", regex.DOTALL)


def as_bytes(text: str) -> str:
    """Each byte as the character that byte-level BPE writes it with."""
    return "".join(piece for piece, _ in BYTES.pre_tokenize_str(text))


def count_words(texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each piece of the split rule occurs, without the character before a word; and each word that follows a
    space; both as bytes."""
    added = re.compile("|".join(re.escape(content) for content, _ in ADDED_TOKENS))
    split = regex.compile(SPLIT_RULE)
    pieces = Counter(piece for text in texts for part in added.split(text) for piece in split.findall(part))
    words: Counter[str] = Counter()
    spaced: Counter[str] = Counter()
    for piece, count in pieces.items():
        led = LED.fullmatch(piece)
        words[as_bytes(led[2] if led else piece)] += count
        if led and led[1] == " ":
            spaced[as_bytes(led[2])] += count
    return words, spaced


def spaced_merges(spaced: Counter[str], merges: list[Merge], copied: Iterable[str], most: int) -> list[Merge]:
    """Joins a space to the `most` most frequent of the words that are one token and begin no copied word."""
    ranks = ranked(merges)
    first = {spelled(word, ranks)[0] for word in copied}
    single = (word for word, _ in spaced.most_common() if len(spelled(word, ranks)) == 1 and word not in first)
    return [(SPACE, word) for word, _ in zip(single, range(most), strict=False)]


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, taught: Iterable[str] = (), unseen: Iterable[str] = ()
) -> Tokenizer:
    """A tokenizer with exactly `vocab_size` tokens, the added ones included, learned from rendered conversations.

    taught, unseen: the words that turn up anywhere to be copied, in training and (only there) in the evaluation.
    """
    words, spaced = count_words(texts)
    taught, unseen = [as_bytes(word) for word in taught], [as_bytes(word) for word in unseen]
    for word in (*taught, *unseen):
        del words[word], spaced[word]
    room = vocab_size - len(ADDED_TOKENS) - len(pre_tokenizers.ByteLevel.alphabet())
    merges = shared_pieces_only(words, taught, unseen, room)
    most = min(SPACED_WORDS, room // 4)
    joined = spaced_merges(spaced, merges[: room - most], (*taught, *unseen), most)
    tokenizer = from_merges(merges[: room - len(joined)] + joined)
    assert tokenizer.get_vocab_size() == vocab_size, tokenizer.get_vocab_size()
    return tokenizer


def from_merges(merges: list[Merge]) -> Tokenizer:
    """The tokenizer that joins bytes by the merges, in their order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [first + second for first, second in merges]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT_RULE), behavior="isolated"), BYTES]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(content, special=special, normalized=False) for content, special in ADDED_TOKENS])
    return tokenizer
