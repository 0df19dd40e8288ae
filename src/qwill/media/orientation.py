"""Videos that are stored turned or mirrored, as phones do, brought upright."""

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_TYPES = 64  # of side data; FFmpeg 8.1 has 32


def upright(image: "Image", matrix: np.ndarray) -> "Image":
    """The image as a player shows it. `matrix`, [2, 2]: the file's rows (a, b), (c, d), by which what is stored at x, y
    is shown at a x + c y, b x + d y, with y downwards; lengths and places do not matter.
    """
    from PIL import Image

    (a, b), (c, d) = matrix.tolist()
    if a * d < b * c:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        a, b = -a, -b
    return image.rotate(-round(math.degrees(math.atan2(b, a))), expand=True)


def display_matrix(frame: Any) -> np.ndarray:
    """int32 [2, 2]: how a frame of PyAV is to be shown (see `upright`)."""
    from av.sidedata.sidedata import Type

    try:
        stored = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # beside it lies something that this version of PyAV has no name for
        stored = _with_known_side_data(frame, {known.value for known in Type}).side_data.get(Type.DISPLAYMATRIX)
    if stored is None:
        return np.eye(2, dtype=np.int32)
    return np.frombuffer(bytes(stored), np.int32).reshape(3, 3)[:2, :2]


def _with_known_side_data(frame: Any, known: set[Any]) -> Any:
    """The frame without side data of other types, through FFmpeg's filters, which go by their numbers."""
    from av.filter import Graph

    graph = Graph()
    end = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base or Fraction(1)
    )
    for number in set(range(MOST_TYPES)) - known:
        removal = graph.add("sidedata", f"mode=delete:type={number}")
        end.link_to(removal)
        end = removal
    end.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return graph.pull()
