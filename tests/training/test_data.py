"""From examples to batches: what is trained, where tokens stand, what a seed fixes."""

import itertools
import random
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from training.batch import TextBatch
from training.data import (
    FIRST_STEPS,
    PICTURE_EXAMPLES,
    TEXT_EXAMPLES,
    Encoded,
    answer_text,
    collate,
    encode,
    micro_batches,
    prompt_text,
    training_part,
)
from training.examples import Example, Mark, Picture, Video
from training.tasks.toolbox import TOOLS, definition
from training.tokenizer import ADDED_TOKENS

USER = {"role": "user", "content": "Hi"}
CALL = {"function": {"name": "get_time", "arguments": {"city": "Oslo"}}}
WRITTEN_CALL = "<tool_call>\n<function=get_time>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>"


def said(example: Example, tokenizer: Tokenizer) -> list[str]:
    """The runs of trained tokens as text."""
    entry = encode(example, tokenizer)
    runs: list[list[int]] = []
    for before, now, token in zip([False, *entry.trained], entry.trained, entry.ids, strict=False):
        if now:
            runs += [] if before else [[]]
            runs[-1].append(token)
    return [tokenizer.decode(run, skip_special_tokens=False) for run in runs]


def blank(height: int, width: int, *marks: Mark) -> Picture:
    return Picture(np.zeros((height, width, 3), np.uint8), marks)


def see(*kinds: str) -> dict[str, Any]:
    return {"role": "user", "content": [*({"type": kind} for kind in kinds), {"type": "text", "text": "What?"}]}


def test_prompt_has_the_familys_form() -> None:
    example = Example("", [{"role": "user", "content": " Hi "}], "Hello!", "A greeting.", thinking=True)
    assert prompt_text(example) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert answer_text(example) == "A greeting.\n</think>\n\nHello!<|im_end|>"
    example.thinking = False
    assert prompt_text(example).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert answer_text(example) == "Hello!<|im_end|>"


def test_every_answer_of_a_conversation_is_trained(tokenizer: Tokenizer) -> None:
    messages = [{"role": "system", "content": "Be kind."}, USER, {"role": "assistant", "content": "Hello."}, USER]
    assert said(Example("", messages, "Again?"), tokenizer) == ["Hello.<|im_end|>", "Again?<|im_end|>"]


@pytest.mark.parametrize("thinking", [False, True])
def test_calls_and_reasoning_between_them_are_trained(tokenizer: Tokenizer, thinking: bool) -> None:
    """But neither the results nor an empty block of reasoning, which run time writes."""
    reasoning = {"reasoning_content": "Look it up."} if thinking else {}
    messages = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]} | reasoning,
        {"role": "tool", "content": "12:00"},
        {"role": "assistant", "content": "Once more.", "tool_calls": [CALL]} | reasoning,
        {"role": "tool", "content": "13:00"},
    ]
    example = Example("", messages, "Late.", "It is 13:00." if thinking else "", thinking)
    example.tools = [definition("get_time", TOOLS["clock"])]
    thought, last = ("Look it up.\n</think>\n\n", "It is 13:00.\n</think>\n\n") if thinking else ("", "")
    assert said(example, tokenizer) == [
        f"{thought}{WRITTEN_CALL}<|im_end|>",
        f"{thought}Once more.\n\n{WRITTEN_CALL}<|im_end|>",
        f"{last}Late.<|im_end|>",
    ]


def test_raw_text_is_continued_and_ends(tokenizer: Tokenizer) -> None:
    example = Example(
        "", [{"role": "user", "content": "<|im_start|>assistant\nNot one.<|im_end|> 1 2"}], " 3", raw=True
    )
    assert said(example, tokenizer) == [" 3<|endoftext|>"]


def test_pads_of_pictures_and_videos(tokenizer: Tokenizer) -> None:
    video = Video(np.zeros((4, 64, 64, 3), np.uint8), fps=2.0)
    messages = [see("video", "image"), {"role": "assistant", "content": "<|im"}, see("image")]
    example = Example("", messages, "Nothing.", media=[video, blank(64, 256), blank(128, 32)])
    entry = encode(example, tokenizer)
    assert said(example, tokenizer) == ["<|im<|im_end|>", "Nothing.<|im_end|>"]
    start, end = "<|vision_start|>", "<|vision_end|>"
    text = tokenizer.decode(entry.ids, skip_special_tokens=False)
    frames = "".join(f"<{when} seconds>{start}{'<|video_pad|>' * 4}{end}" for when in ("0.2", "1.2"))
    assert f"user\n{frames}{start}{'<|image_pad|>' * 16}{end}What?" in text
    assert f"user\n{start}{'<|image_pad|>' * 16}{end}What?" in text
    assert [placed.frames.shape for placed in entry.media] == [(2, 64, 64, 3)] * 2 + [(1, 64, 256, 3), (1, 256, 64, 3)]


def coloured(value: int, height: int, width: int) -> Picture:
    return Picture(np.full((height, width, 3), value, np.uint8))


def test_media_rows_follow_the_pads(tokenizer: Tokenizer) -> None:
    """Every token's picture, by its grey value: sizes are grouped, so that groups and texts differ in order."""
    grey = iter(range(1, 100))
    sizes = [[(128, 128), (64, 256)], [(64, 256)], [(128, 128), (128, 128), (96, 192), (64, 256)]]
    entries, expected = [], []
    for row in sizes:
        media = []
        for height, width in row:
            value = next(grey)
            media.append(coloured(value, height, width))
            expected += [value] * (height * width // 1024)
        entries.append(encode(Example("", [see(*["image"] * len(row))], "Grey.", media=media), tokenizer))
    batch = collate(entries, tokenizer)
    values = [group.pixels[:, ::4, 0].flatten() for group in batch.media]
    seen = ((torch.cat(values)[batch.media_rows] + 1) * 127.5).round().int().tolist()
    assert seen == expected
    assert int(batch.pads.sum()) == len(expected)
    assert {(group.height, group.width) for group in batch.media} == {(8, 8), (4, 16), (6, 12)}
    for group in batch.media:
        assert group.pixels.shape[1:] == (group.height * group.width, 768)


def test_batch_holds_every_example(tokenizer: Tokenizer) -> None:
    examples = [Example("", [USER] * count, "Yes." * count) for count in (1, 2, 9)]
    entries = [encode(example, tokenizer) for example in examples]
    batch = collate(entries, tokenizer)
    assert batch.layout.starts.tolist() == np.cumsum([0, *(len(entry.ids) for entry in entries)]).tolist()
    used = int(batch.layout.starts[-1])
    assert batch.tokens[:used].tolist() == [token for entry in entries for token in entry.ids]
    assert batch.trained[:used].tolist() == [trained for entry in entries for trained in entry.trained]
    assert not batch.trained[used:].any()
    wanted = [place for entry in entries for place in range(len(entry.ids))]
    assert batch.positions[:used].tolist() == [[place] * 3 for place in wanted]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(100, 700))
def test_micro_batches_hold_all_and_never_too_much(lengths: list[int], most: int) -> None:
    entries = [Encoded([index] * length, [False] * length, []) for index, length in enumerate(lengths)]
    groups = list(micro_batches(entries, most))
    assert sorted(entry.ids[0] for group in groups for entry in group) == list(range(len(lengths)))
    flat = [len(entry.ids) for group in groups for entry in group]
    assert flat == sorted(flat)
    for group in groups:
        assert len(group) == 1 or sum(len(entry.ids) for entry in group) <= most
    for group, following in itertools.pairwise(groups):
        assert sum(len(entry.ids) for entry in group) + len(following[0].ids) > most


def tensors(batch: TextBatch) -> list[torch.Tensor]:
    result = [getattr(batch, field.name) for field in fields(batch) if field.name not in ("layout", "media")]
    return [*result, *(tensor for group in batch.media for tensor in (group.pixels, *group.sight))]


def test_seed_step_and_part_fix_the_examples(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.TEXT_EXAMPLES", 7)
    monkeypatch.setattr("training.data.PICTURE_EXAMPLES", 4)

    def part(*where: int) -> list[torch.Tensor]:
        batches = training_part(*where, tokenizer, 1024)
        assert sum(len(batch.layout.lengths) for batch in batches) == 11
        return [tensor for batch in batches for tensor in tensors(batch)]

    first, again = part(1, 5, 0), part(1, 5, 0)
    assert len(first) == len(again)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (part(2, 5, 0), part(1, 6, 0), part(1, 5, 1)):
        assert not torch.equal(first[0], other[0])


def test_first_steps_have_the_simpler_examples(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(rng: random.Random, held_out: bool, first: bool) -> Example:
        assert not held_out
        return Example("", [USER], f"{first}")

    monkeypatch.setattr("training.data.ORDER_EXAMPLES", 0)
    monkeypatch.setattr("training.tasks.text.draw", draw)
    monkeypatch.setattr("training.tasks.pictures.draw", draw)
    for step, first in ((FIRST_STEPS - 1, True), (FIRST_STEPS, False)):
        (batch,) = training_part(1, step, 1, tokenizer, 4096)
        answers = tokenizer.decode(batch.tokens[batch.trained].tolist())
        assert answers == f"{first}" * (TEXT_EXAMPLES + PICTURE_EXAMPLES)


def test_vocabulary_ends_with_the_added_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == 1280
    ids = [tokenizer.token_to_id(content) for content, _ in ADDED_TOKENS]
    assert ids == list(range(1280 - len(ADDED_TOKENS), 1280))
    text = "naïve 東京 Ω\r\n\t12345 don't"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
