"""What holds for any damage to a video's file."""

import random

from qwill.errors import MediaError
from qwill.media.video import VideoSettings, load_video

MOST_EDITS = 6


def frames_or_a_media_error(seed: bytes, chance: random.Random, beginnings: tuple[int, int]) -> None:
    """Overwrites up to MOST_EDITS bytes, many of them among the first, where headers are: frames with their times, or a
    message of one line.
    """
    data = bytearray(seed)
    for _ in range(chance.randint(1, MOST_EDITS)):
        data[chance.randrange(min(len(data), chance.choice((*beginnings, 10**6))))] = chance.randrange(256)
    try:
        loaded = load_video(bytes(data), VideoSettings(max_pixels=40_960))
    except MediaError as error:
        message = str(error)
    else:
        message = ""
        assert len(loaded.pixels) == len(loaded.timestamps) >= 1
    assert "\n" not in message
