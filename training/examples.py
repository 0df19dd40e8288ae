"""One example of the training data: a conversation, the answer it asks for, and its pictures and videos."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mark:
    """One thing in a picture, told to the vision tower while it learns (and forgotten after).

    x, y: its centre in pixels of the finished picture; frame: the video frame it is in; label: a character or the name
    of a shape; colour: its name, or empty; order: how many things of the picture come before it, from left to right.
    """

    x: float
    y: float
    label: str
    colour: str = ""
    order: int = 0
    frame: int = 0


@dataclass(frozen=True, eq=False)
class Picture:
    """RGB uint8 [height, width, 3], both multiples of 32."""

    pixels: np.ndarray
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, eq=False)
class Video:
    """RGB uint8 [frames, height, width, 3]; an even number of frames, taken `fps` times a second."""

    frames: np.ndarray
    fps: float
    marks: tuple[Mark, ...] = ()


@dataclass
class Example:
    """A conversation up to the answer that is asked for, and that answer.

    `messages` may hold earlier turns, with the reasoning (`reasoning_content`), the tool calls and the results that
    came before; what the assistant says there is taught too. `answer` is what follows the reasoning, tool calls written
    out in the family's syntax. `raw` examples have no chat format: their only message is the text to continue. `media`
    belongs to the messages' `{"type": "image"}` and `{"type": "video"}` parts, in order. `task` names the row of the
    evaluation's table.
    """

    task: str
    messages: list[dict[str, Any]]
    answer: str
    reasoning: str = ""
    thinking: bool = False
    raw: bool = False
    tools: list[dict[str, Any]] = field(default_factory=list)
    media: list[Picture | Video] = field(default_factory=list)
