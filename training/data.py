"""From examples to batches: rendered with the chat template, tokenized, placed on three axes, padded.

The examples of a step depend on the seed and the step's number only, so that a run can be resumed anywhere.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jinja2
import numpy as np
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from training.batch import MediaGroup, TextBatch
from training.examples import Example, Picture, Video
from training.layout import Layout
from training.preparation import prepared
from training.sight import Sight, sight
from training.tasks import pictures, text
from training.tasks.common import is_held_out, syllables
from training.tasks.languages import languages
from training.tasks.order import order
from training.tasks.words import COPIED
from training.tokenizer import train_tokenizer
from training.vision import MERGE, PATCH, TEMPORAL, patches

TEMPLATE_FILE = Path(__file__).parent / "assets" / "chat_template.jinja"
PADS = ("<|image_pad|>", "<|video_pad|>")
HIDDEN = ("\0", "\1")  # pads that are done, so that the next replacement does not find them
PARTS = 2  # of a step; workers share them
TEXT_EXAMPLES, PICTURE_EXAMPLES = 32, 32  # of one part
ORDER_EXAMPLES = 20  # of one part, all short
SEEN_PICTURES = 32  # of one part, for the vision tower alone
FIRST_STEPS = 1500  # with simpler examples
MICRO_BATCH_TOKENS = 6144
MADE_UP_WORDS = 600  # that the tokenizer is shown

# What the assistant says, its reasoning included; an empty block of reasoning belongs to the prompt.
SPOKEN = re.compile(r"<\|im_start\|>assistant\n(?:<think>\n(?:\n</think>\n\n)?)?(.*?<\|im_end\|>)", re.DOTALL)


class Placed(NamedTuple):
    """One picture, or one pair of a video's frames: frames [1 or 2, height, width, 3], and what they show."""

    frames: np.ndarray
    sight: Sight


class Encoded(NamedTuple):
    """Token ids, which of them the model has to say, and the pictures in the order of their pads."""

    ids: list[int]
    trained: list[bool]
    media: list[Placed]


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
    """The rendered conversation up to the answer, one pad for each picture or video."""
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


def build_tokenizer(seed: int, vocab_size: int, count: int = 20_000) -> Tokenizer:
    """A tokenizer learned from `count` text examples, the languages' answers several times (they are short and rare),
    and some picture questions. Strings to read are left out: each character stays a token of its own. Words to copy
    are known to be such."""
    rng = random.Random(f"tokenizer {seed}")
    texts = []
    for _ in range(count):
        example = text.draw(rng, False)
        texts.append(prompt_text(example) + answer_text(example))
    texts += [languages(rng, False).answer for _ in range(count // 2)]
    for _ in range(count // 20):
        example = pictures.draw(rng, False)
        if "reading" not in example.task:
            texts.append(prompt_text(example) + answer_text(example))
    made = [syllables(rng, False) for _ in range(MADE_UP_WORDS)]
    taught = [word for word in COPIED if not is_held_out(word)] + made + [word.capitalize() for word in made]
    return train_tokenizer(texts, vocab_size, taught, [word for word in COPIED if is_held_out(word)])


def place_media(example: Example, prompt: str) -> tuple[str, list[Placed]]:
    """Pads multiplied to one for each token, a video's with their time stamps; and what they stand for."""
    placed: list[Placed] = []
    for drawn in example.media:
        media = prepared(drawn) if isinstance(drawn, Picture) else drawn
        frames = media.frames if isinstance(media, Video) else media.pixels[None]
        height, width = frames.shape[1:3]
        pads = height * width // (PATCH * MERGE) ** 2
        if isinstance(media, Picture):
            placed.append(Placed(frames, sight(media, 0, height, width)))
            prompt = prompt.replace(PADS[0], HIDDEN[0] * pads, 1)
            continue
        pieces = []
        for frame in range(0, len(frames), TEMPORAL):
            placed.append(Placed(frames[frame : frame + TEMPORAL], sight(media, frame, height, width)))
            seconds = (frame + frame + TEMPORAL - 1) / 2 / media.fps
            pieces.append(f"<{seconds:.1f} seconds><|vision_start|>{PADS[1] * pads}<|vision_end|>")
        video = "".join(pieces).replace(PADS[1], HIDDEN[1])
        prompt = prompt.replace(f"<|vision_start|>{PADS[1]}<|vision_end|>", video, 1)
    for hidden, pad in zip(HIDDEN, PADS, strict=True):
        prompt = prompt.replace(hidden, pad)
    return prompt, placed


def encode(example: Example, tokenizer: Tokenizer) -> Encoded:
    """Earlier answers are trained too. Spoken parts are tokenized apart, as at run time: what the model writes never
    merges with the prompt's last characters."""
    prompt, media = place_media(example, prompt_text(example))
    pieces: list[tuple[str, bool]] = []
    done = 0
    for spoken in SPOKEN.finditer(prompt) if not example.raw else ():
        pieces += [(prompt[done : spoken.start(1)], False), (spoken[1], True)]
        done = spoken.end()
    pieces += [(prompt[done:], False), (answer_text(example), True)]
    ids: list[int] = []
    trained: list[bool] = []
    for piece, said in pieces:
        tokens = tokenizer.encode(piece, add_special_tokens=False).ids
        ids += tokens
        trained += [said] * len(tokens)
    return Encoded(ids, trained, media)


def positions(encoded: Encoded, pads: tuple[int, int]) -> np.ndarray:
    """int64 [3, tokens]: time, height and width of each token; text counts on after a picture's longer side."""
    result = np.zeros((3, len(encoded.ids)), np.int64)
    sizes = iter(encoded.media)
    index, position = 0, 0
    while index < len(encoded.ids):
        if encoded.ids[index] in pads:
            frames = next(sizes).frames
            height, width = frames.shape[1] // (PATCH * MERGE), frames.shape[2] // (PATCH * MERGE)
            rows, columns = np.divmod(np.arange(height * width), width)
            result[:, index : index + height * width] = position + np.stack((np.zeros_like(rows), rows, columns))
            index, position = index + height * width, position + max(height, width)
        else:
            result[:, index] = position
            index, position = index + 1, position + 1
    return result


def media_groups(entries: list[Encoded], more: Sequence[Placed] = ()) -> tuple[list[MediaGroup], np.ndarray]:
    """The pictures by size, and for every pad, row by row, its row in the groups' embeddings one after the other.

    `more`: pictures that no text asks about.
    """
    groups: dict[tuple[int, ...], list[tuple[int, Placed]]] = defaultdict(list)
    everything = [placed for entry in entries for placed in entry.media]
    asked = len(everything)
    everything += more
    for index, placed in enumerate(everything):
        groups[placed.frames.shape].append((index, placed))
    rows: list[np.ndarray] = [np.empty(0, np.int64)] * len(everything)
    result, start = [], 0
    for (_, height, width, _), members in groups.items():
        tokens = height * width // (PATCH * MERGE) ** 2
        for index, _ in members:
            rows[index] = np.arange(start, start + tokens)
            start += tokens
        result.append(
            MediaGroup(
                torch.from_numpy(np.stack([patches(placed.frames) for _, placed in members])),
                height // PATCH,
                width // PATCH,
                [torch.from_numpy(np.stack(targets)) for targets in zip(*(p.sight for _, p in members), strict=True)],
            )
        )
    return result, np.concatenate(rows[:asked]) if asked else np.empty(0, np.int64)


def collate(entries: list[Encoded], tokenizer: Tokenizer, more: Sequence[Placed] = ()) -> TextBatch:
    """One batch; entries in the order of their lengths; `more`: pictures for the vision tower alone."""
    image_pad, video_pad = (token_id(tokenizer, pad) for pad in PADS)
    layout = Layout([len(entry.ids) for entry in entries])
    tokens = np.full(layout.rows, token_id(tokenizer, "<|endoftext|>"), np.int64)
    places = np.zeros((layout.rows, 3), np.int64)
    trained = np.zeros(layout.rows, bool)
    for start, entry in zip(layout.starts.tolist(), entries, strict=False):
        part = slice(start, start + len(entry.ids))
        tokens[part] = entry.ids
        places[part] = positions(entry, (image_pad, video_pad)).T
        trained[part] = entry.trained
    groups, order = media_groups(entries, more)
    pads = (tokens == image_pad) | (tokens == video_pad)
    assert int(pads.sum()) == len(order), (int(pads.sum()), len(order))
    return TextBatch(
        layout,
        torch.from_numpy(tokens),
        torch.from_numpy(places),
        torch.from_numpy(trained),
        torch.from_numpy(pads),
        torch.from_numpy(order),
        groups,
    )


def micro_batches(entries: list[Encoded], most: int) -> Iterator[list[Encoded]]:
    """Entries in the order of their lengths, at most `most` tokens together (or a single one)."""
    group: list[Encoded] = []
    count = 0
    for entry in sorted(entries, key=lambda entry: len(entry.ids)):
        if group and count + len(entry.ids) > most:
            yield group
            group, count = [], 0
        group.append(entry)
        count += len(entry.ids)
    yield group


def training_part(
    seed: int, step: int, part: int, tokenizer: Tokenizer, most: int, first_steps: int = FIRST_STEPS
) -> list[TextBatch]:
    """The micro-batches of one part of a step; those before `first_steps` have simpler examples."""
    rng = random.Random(f"train {seed} {step} {part}")
    first = step < first_steps
    examples = [text.draw(rng, False, first) for _ in range(TEXT_EXAMPLES)]
    examples += [pictures.draw(rng, False, first) for _ in range(PICTURE_EXAMPLES)]
    examples += [order(rng, False) for _ in range(0 if first else ORDER_EXAMPLES)]
    seen = [placed for _ in range(SEEN_PICTURES) for placed in place_media(pictures.draw_to_see(rng), "")[1]]
    groups = micro_batches([encode(example, tokenizer) for example in examples], most)
    return [collate(group, tokenizer, seen if index == 0 else ()) for index, group in enumerate(groups)]
