"""The data generator: same seed, same examples; answers that are right; labels where they belong."""

import random
import re

import numpy as np
import pytest
import torch
from training import picture_tasks, text_tasks
from training.data import IMAGE_PAD, answer_text, collate, draw_picture, draw_text, encode, prompt_text
from training.tokenizer import ADDED_TOKENS


def test_a_seed_fixes_the_examples():
    first, second = ([draw_text(random.Random(7), False) for _ in range(30)] for _ in range(2))
    assert first == second
    a, b = (draw_picture(random.Random(8), 64, 96) for _ in range(2))
    assert np.array_equal(a.picture, b.picture)
    assert a.answer == b.answer
    assert draw_text(random.Random(7), False) != draw_text(random.Random(9), False)


@pytest.mark.parametrize("held_out", [False, True])
def test_sums_are_right_and_held_out_pairs_stay_out(held_out):
    rng = random.Random(11 + held_out)
    for _ in range(500):
        example = text_tasks.arithmetic(rng, held_out)
        text = example.messages[0]["content"].replace("plus", "+").replace("minus", "-")
        a, sign, b = re.search(r"(\d+) ([+-]) (\d+)", text).groups()
        wanted = int(a) + int(b) if sign == "+" else int(a) - int(b)
        assert int(example.answer.split("=")[-1]) == wanted
        two_digits = max(int(a), int(b)) > 9
        assert text_tasks.held_out_sum(int(a), sign, int(b)) == (held_out and two_digits)


def test_reasoning_of_sums_adds_up():
    for a in range(100):
        for b in range(100):
            for sign in "+-":
                for claim in re.finditer(r"([\d +-]+) = (-?\d+)", text_tasks.steps(a, sign, b)):
                    assert sum(int(term) for term in claim[1].replace("- ", "+ -").split("+") if term.strip()) == int(
                        claim[2]
                    )


def test_sequences_are_right():
    rng = random.Random(5)
    for _ in range(300):
        example = text_tasks.sequence(rng, False)
        words = example.messages[0]["content"].split(": ")[-1].split()
        expected = {"copy": words, "reverse": words[::-1], "sort": sorted(words)}
        if example.task in expected:
            assert example.answer == " ".join(expected[example.task])
        elif "letters" in example.messages[0]["content"]:
            assert example.answer == str(len(words))


def test_a_single_shape_has_its_colour():
    """The answer's colour is the one farthest from the corners' (background) colour, over many drawings."""
    rng = random.Random(21)
    right = 0
    for _ in range(60):
        example = picture_tasks.one_shape(rng, 96, 96)
        named = [name for name in picture_tasks.COLOURS if name in example.answer]
        if not named:
            continue
        near = np.abs(example.picture.astype(int) - picture_tasks.COLOURS[named[0]]).max(-1) < 45
        right += near.mean() > 0.02
        assert near.mean() > 0.02, example.answer
    assert right > 20


def test_vocabulary_ends_with_the_added_tokens(tokenizer):
    assert tokenizer.get_vocab_size() == 1024
    ids = [tokenizer.token_to_id(content) for content, _ in ADDED_TOKENS]
    assert ids == list(range(1024 - len(ADDED_TOKENS), 1024))
    text = "naïve 東京 Ω\r\n\t12345 don't"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_only_the_answer_is_trained(tokenizer):
    rng = random.Random(4)
    examples = [draw_picture(rng, 64, 96) for _ in range(3)]
    batch = collate(examples, tokenizer)
    pad = tokenizer.token_to_id(IMAGE_PAD)
    assert batch.pixels.shape == (3, 24, 1536)
    assert ((batch.tokens == pad).sum(1) == 6).all()
    for row, example in enumerate(examples):
        trained = tokenizer.decode(batch.tokens[row][batch.trained[row]].tolist(), skip_special_tokens=False)
        assert trained == answer_text(example)
        length = len(encode(example, tokenizer).ids)
        # The picture takes 2 x 3 tokens and moves the position by 3 only.
        assert int(batch.positions[0, row, length - 1]) == length - 1 - 3
        assert torch.equal(
            batch.positions[1, row][batch.tokens[row] == pad] - batch.positions[0, row, 4],
            torch.tensor([0, 0, 0, 1, 1, 1]),
        )


def test_prompt_has_the_familys_form():
    example = text_tasks.Example("", [{"role": "user", "content": " Hi "}], "Hello!", "A greeting.", thinking=True)
    assert prompt_text(example) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert answer_text(example) == "A greeting.\n</think>\n\nHello!<|im_end|>"
    example.thinking = False
    assert prompt_text(example).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert answer_text(example) == "Hello!<|im_end|>"
