"""What the vision tower is asked while it learns: what stands in each patch, and in which words.

A picture's answer says little about its patches. These questions are asked of every one, and thrown away when the model
is exported.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from training.examples import Mark, Picture, Video
from training.tasks.drawing import COLOUR_NAMES, LABELS
from training.vision import MERGE, PATCH, TEMPORAL

IGNORED = -100  # a patch without a target
PLACES = ("top", "bottom", "left", "right", "centre")
WORDS = (*LABELS, *COLOUR_NAMES, *PLACES)
MOST_ORDERS = 8
EMPTY_PATCH_WEIGHT = 0.05  # most patches show nothing
WORDS_WEIGHT = 0.5
SHARPNESS = 16.0  # of the cosine between a picture's token and a word


class Sight(NamedTuple):
    """Targets of a picture (or of several, with a first axis more), in the order of its patches.

    labels, colours int64 [patches]: what is there (the last one: nothing) and in which colour; orders int64 [3,
    patches]: how many things of a picture come before it, of all, of its label and of its colour; numbers int64 [6,
    tokens]: the same of a token's last thing, then how many others of all, of its label and of its colour the picture
    has; words float32 [tokens, words]: the words for what a token's patches show, 1 over their number each. IGNORED:
    nothing to say.
    """

    labels: np.ndarray
    colours: np.ndarray
    orders: np.ndarray
    numbers: np.ndarray
    words: np.ndarray


def place_words(mark: Mark, height: int, width: int) -> tuple[str, ...]:
    """The thirds of the picture that the mark lies in."""
    row = ("top", "", "bottom")[min(int(3 * mark.y / height), 2)]
    column = ("left", "", "right")[min(int(3 * mark.x / width), 2)]
    return tuple(word for word in (row, column) if word) or ("centre",)


def sight(media: Picture | Video, frame: int, height: int, width: int) -> Sight:
    """Targets of a picture, or of a video's frames from `frame` on."""
    rows, columns = height // PATCH, width // PATCH
    labels = np.full((rows, columns), len(LABELS), np.int64)
    colours = np.full((rows, columns), IGNORED, np.int64)
    orders = np.full((3, rows, columns), IGNORED, np.int64)
    numbers = np.full((6, rows // MERGE, columns // MERGE), IGNORED, np.int64)
    words = np.zeros((rows // MERGE, columns // MERGE, len(WORDS)), np.float32)
    totals = Counter(name for mark in media.marks for name in (mark.label, mark.colour))
    before: Counter[str] = Counter()
    for mark in sorted(media.marks, key=lambda mark: mark.order):
        if isinstance(media, Video) and not frame <= mark.frame < frame + TEMPORAL:
            continue
        row, column = min(int(mark.y) // PATCH, rows - 1), min(int(mark.x) // PATCH, columns - 1)
        labels[row, column] = LABELS.index(mark.label)
        colours[row, column] = COLOUR_NAMES.index(mark.colour) if mark.colour else IGNORED
        if isinstance(media, Picture):  # what came before in a video is not to be seen in its frame
            counts = mark.order, before[mark.label], before[mark.colour]
            others = len(media.marks) - 1, totals[mark.label] - 1, totals[mark.colour] - 1
            orders[:, row, column] = np.minimum(counts, MOST_ORDERS - 1)
            numbers[:, row // MERGE, column // MERGE] = np.minimum(counts + others, MOST_ORDERS - 1)
            before.update((mark.label, mark.colour))
        names = (mark.label, *((mark.colour,) if mark.colour else ()), *place_words(mark, height, width))
        words[row // MERGE, column // MERGE, [WORDS.index(word) for word in names]] = 1.0
    words /= np.maximum(words.sum(-1, keepdims=True), 1.0)

    def merged(grid: np.ndarray) -> np.ndarray:
        blocks = grid.reshape(*grid.shape[:-2], rows // MERGE, MERGE, columns // MERGE, MERGE)
        return blocks.swapaxes(-3, -2).reshape(*grid.shape[:-2], -1)

    said = words.reshape(-1, len(WORDS))
    return Sight(merged(labels), merged(colours), merged(orders), numbers.reshape(6, -1), said)


class Questions(nn.Module):
    """A linear answer to each question of a patch; a token's words are those whose embeddings it is near to, so that
    the text model finds in a picture what it knows how to find in a text."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.label = nn.Linear(size, len(LABELS) + 1)
        self.colour = nn.Linear(size, len(COLOUR_NAMES))
        self.order = nn.Linear(size, 3 * MOST_ORDERS)
        self.number = nn.Linear(out, 6 * MOST_ORDERS)
        weights = torch.ones(len(LABELS) + 1)
        weights[-1] = EMPTY_PATCH_WEIGHT
        self.register_buffer("label_weights", weights, persistent=False)

    def forward(self, patches: Tensor, tokens: Tensor, words: Tensor, targets: list[Tensor]) -> Tensor:
        """The sum of the cross-entropies, each the mean of its targets.

        patches [pictures, patches, size] before and tokens [pictures, tokens, out] after they are merged; words [words,
        out]: the embeddings of WORDS; targets: the fields of Sight.
        """
        assert isinstance(self.label_weights, Tensor)
        labels, colours, orders, numbers, said = targets
        flat = functional.layer_norm(patches.flatten(0, 1), (patches.shape[-1],))
        loss = functional.cross_entropy(self.label(flat), labels.flatten(), self.label_weights)
        merged = functional.layer_norm(tokens.flatten(0, 1).float(), (tokens.shape[-1],))
        for answer, wanted in (
            (self.colour(flat), colours.flatten()),
            (self.order(flat).unflatten(1, (3, MOST_ORDERS)), orders.transpose(1, 2).flatten(0, 1)),
            (self.number(merged).unflatten(1, (6, MOST_ORDERS)), numbers.transpose(1, 2).flatten(0, 1)),
        ):
            known = wanted != IGNORED
            if known.any():
                loss = loss + functional.cross_entropy(answer[known], wanted[known])
        known = said.flatten(0, 1).sum(-1) > 0
        if known.any():
            near = functional.normalize(tokens.flatten(0, 1)[known].float(), dim=-1)
            cosines = near @ functional.normalize(words, dim=-1).t()
            loss = loss + WORDS_WEIGHT * functional.cross_entropy(SHARPNESS * cosines, said.flatten(0, 1)[known])
        return loss
