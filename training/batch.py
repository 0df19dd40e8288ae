"""What one pass of the training reads."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from training.layout import Layout


@dataclass
class MediaGroup:
    """Pictures of one size: pixels float32 [pictures, patches, 768 (a picture) or 1536 (two frames of a video)], the
    patch grid's height and width, and what the vision tower shall see, the fields of `training.sight.Sight`."""

    pixels: Tensor
    height: int
    width: int
    sight: list[Tensor]

    def to(self, device: torch.device) -> Self:
        return type(self)(
            self.pixels.to(device),
            self.height,
            self.width,
            [target.to(device) for target in self.sight],
        )


@dataclass
class TextBatch:
    """Sequences one after the other, as `layout` says.

    tokens int64 [rows]; positions int64 [rows, 3]; trained bool [rows]: the token is one the model has to predict; pads
    bool [rows]: the token stands for a part of a picture; media_rows int64 [pads]: its row in the embeddings of the
    groups, one after the other.
    """

    layout: Layout
    tokens: Tensor
    positions: Tensor
    trained: Tensor
    pads: Tensor
    media_rows: Tensor
    media: list[MediaGroup] = field(default_factory=list)

    def to(self, device: torch.device) -> Self:
        if device.type == "cpu":
            return self
        return type(self)(
            Layout(self.layout.lengths, device=device),
            self.tokens.to(device),
            self.positions.to(device),
            self.trained.to(device),
            self.pads.to(device),
            self.media_rows.to(device),
            [group.to(device) for group in self.media],
        )
