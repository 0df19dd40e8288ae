"""Pages of mapped files that are given back, and files that are read past the cache: the bytes stay the same."""

import io
import mmap
import os
import random
import sys
from ctypes import addressof, c_char
from pathlib import Path

import pytest

from qwill.system.disk import open_past_cache
from qwill.system.pages import give_back

PAGES = 9


@pytest.mark.parametrize("seed", range(20))
def test_pages_that_were_given_back_are_read_again(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    contents = draw.randbytes(PAGES * mmap.PAGESIZE - draw.randrange(mmap.PAGESIZE))
    path = tmp_path / "x"
    path.write_bytes(contents)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        place = c_char.from_buffer(mapped)
        begin, end = sorted(draw.randrange(len(contents) + 1) for _ in range(2))
        give_back(mapped, addressof(place), begin, end)
        assert mapped[:] == contents
        del place


def test_a_file_is_read_past_the_cache(tmp_path: Path) -> None:
    """Or an OSError says that it cannot be: file systems in memory have no such thing."""
    contents = os.urandom(1 << 20)
    path = tmp_path / "x"
    path.write_bytes(contents)
    try:
        opened = open_past_cache(path)
    except OSError:
        assert sys.platform == "linux"
        return
    with io.FileIO(opened) as file, mmap.mmap(-1, 1 << 20) as room:
        assert file.readinto(room) == 1 << 20
        assert room[:] == contents
    with pytest.raises(FileNotFoundError):
        open_past_cache(tmp_path / "x2")
