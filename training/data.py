"""Training data: examples drawn from the task lists, rendered with the chat template, tokenized and batched.

The examples of a step depend on the seed and the step's number only, so that a run can be resumed anywhere.
"""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jinja2
import numpy as np
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from training import picture_tasks, text_tasks
from training.model import Batch
from training.text_tasks import Example
from training.tokenizer import train_tokenizer
from training.vision import MERGE, PATCH, patches

TEMPLATE_FILE = Path(__file__).parent / "assets" / "chat_template.jinja"
IMAGE_PAD = "<|image_pad|>"
TEXT_EXAMPLES, PICTURE_GROUPS, PICTURE_EXAMPLES = 24, 4, 12  # of one step
MICRO_BATCH_TOKENS = 1800


class Encoded(NamedTuple):
    """Token ids of prompt and answer, how many are the prompt's, and the picture's patch grid (0, 0 without one)."""

    ids: list[int]
    prompt_length: int
    grid: tuple[int, int]


def token_id(tokenizer: Tokenizer, token: str) -> int:
    result = tokenizer.token_to_id(token)
    assert result is not None, token
    return result


def template(source: str) -> jinja2.Template:
    """A chat template with the two things that every runtime gives it: `tojson` and `raise_exception`."""

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source)


@cache
def chat_template() -> jinja2.Template:
    return template(TEMPLATE_FILE.read_text(encoding="utf-8"))


def prompt_text(example: Example) -> str:
    if example.raw:
        return str(example.messages[0]["content"])
    arguments: dict[str, Any] = {
        "messages": example.messages,
        "tools": example.tools,
        "enable_thinking": example.thinking,
    }
    return chat_template().render(add_generation_prompt=True, **arguments)


def answer_text(example: Example) -> str:
    """What the model has to write, its stop token included."""
    if example.raw:
        return example.answer + "<|endoftext|>"
    thoughts = f"{example.reasoning}\n</think>\n\n" if example.thinking else ""
    return thoughts + example.answer + "<|im_end|>"


def draw_text(rng: random.Random, held_out: bool) -> Example:
    task = rng.choices(tuple(text_tasks.TASKS), tuple(text_tasks.TASKS.values()))[0]
    return task(rng, held_out)


def draw_picture(rng: random.Random, height: int, width: int) -> Example:
    task = rng.choices(tuple(picture_tasks.TASKS), tuple(picture_tasks.TASKS.values()))[0]
    return task(rng, height, width)


def build_tokenizer(seed: int, vocab_size: int, count: int = 20_000) -> Tokenizer:
    """A tokenizer learned from `count` text examples and a few of the picture questions."""
    rng = random.Random(f"tokenizer {seed}")
    examples = [draw_text(rng, False) for _ in range(count)]
    examples += [draw_picture(rng, 64, 128) for _ in range(3 * count // 20)]
    return train_tokenizer((prompt_text(example) + answer_text(example) for example in examples), vocab_size)


def encode(example: Example, tokenizer: Tokenizer) -> Encoded:
    prompt, grid = prompt_text(example), (0, 0)
    if example.picture is not None:
        grid = (example.picture.shape[0] // PATCH, example.picture.shape[1] // PATCH)
        prompt = prompt.replace(IMAGE_PAD, IMAGE_PAD * (grid[0] * grid[1] // MERGE**2))
    # Tokenized apart, as at run time: the answer never merges with the prompt's last characters.
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    return Encoded(
        prompt_ids + tokenizer.encode(answer_text(example), add_special_tokens=False).ids, len(prompt_ids), grid
    )


def positions(encoded: Encoded, image_token: int) -> np.ndarray:
    """int64 [3, tokens]: time, height and width of each token; text counts on after a picture's longer side."""
    result = np.zeros((3, len(encoded.ids)), np.int64)
    height, width = encoded.grid[0] // MERGE, encoded.grid[1] // MERGE
    index, position = 0, 0
    while index < len(encoded.ids):
        if encoded.ids[index] == image_token:
            rows, columns = np.divmod(np.arange(height * width), width)
            result[:, index : index + height * width] = position + np.stack((np.zeros_like(rows), rows, columns))
            index, position = index + height * width, position + max(height, width)
        else:
            result[:, index] = position
            index, position = index + 1, position + 1
    return result


def collate(examples: list[Example], tokenizer: Tokenizer) -> Batch:
    """One batch, padded at the right. Pictures, when there are any, must all be of one size."""
    image_token = token_id(tokenizer, IMAGE_PAD)
    encoded = [encode(example, tokenizer) for example in examples]
    length = max(len(entry.ids) for entry in encoded)
    tokens = np.full((len(encoded), length), token_id(tokenizer, "<|endoftext|>"), np.int64)
    places = np.zeros((3, len(encoded), length), np.int64)
    trained = np.zeros((len(encoded), length), bool)
    for row, entry in enumerate(encoded):
        tokens[row, : len(entry.ids)] = entry.ids
        places[:, row, : len(entry.ids)] = positions(entry, image_token)
        trained[row, entry.prompt_length : len(entry.ids)] = True
    pictures = [patches(example.picture) for example in examples if example.picture is not None]
    pixels = torch.from_numpy(np.stack(pictures)) if pictures else None
    grids = {entry.grid for entry in encoded}
    assert len(grids) == 1, grids
    return Batch(torch.from_numpy(tokens), torch.from_numpy(places), torch.from_numpy(trained), pixels, grids.pop())


def training_step(seed: int, step: int, tokenizer: Tokenizer) -> list[Batch]:
    """The micro-batches of one step: text examples of similar length together, pictures by size."""
    rng = random.Random(f"train {seed} {step}")
    texts = sorted(
        (draw_text(rng, False) for _ in range(TEXT_EXAMPLES)), key=lambda e: len(prompt_text(e)) + len(answer_text(e))
    )
    groups: list[list[Example]] = [[]]
    for example in texts:
        longest = len(encode(example, tokenizer).ids)
        if (len(groups[-1]) + 1) * longest > MICRO_BATCH_TOKENS:
            groups.append([])
        groups[-1].append(example)
    for _ in range(PICTURE_GROUPS):
        height, width = rng.choice(picture_tasks.SIZES)
        groups.append([draw_picture(rng, height, width) for _ in range(PICTURE_EXAMPLES)])
    return [collate(group, tokenizer) for group in groups]
