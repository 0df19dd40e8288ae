"""A conversation in one file: its messages, and what the model had computed of them."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qwill.engine.disk_cache import UNREADABLE, Put
from qwill.engine.prefix_cache import Place, Trail
from qwill.errors import SessionError
from qwill.system.files import FileHeldOpen, replace
from qwill.system.paths import fault_of_name, usable

FORMAT = 1  # of the file


@dataclass(frozen=True)
class Session:
    """A session's file as the prefix cache sees it: a snapshot of `length` tokens, or of none."""

    path: Path
    model: str
    messages: list[dict[str, Any]]
    length: int
    place: Place

    def find(self, trail: Trail, longer_than: int = 0) -> "Session | None":
        """Itself, when the trail begins with its tokens."""
        fits = longer_than < self.length < len(trail) and trail.place(self.length) == self.place
        return self if fits else None

    def read(self, pages: int, put: Put) -> list[np.ndarray] | None:
        """The states, after put(n, arrays) got the keys and values of each page, `pages` arrays each; None when the
        file has changed since it was opened.
        """
        try:
            about, arrays = _load(self.path)
        except UNREADABLE:
            return None
        if (about.get("length"), about.get("digest"), about.get("tail")) != (self.length, *_words(self.place)):
            return None  # another conversation was saved there
        count = pages * int(arrays[0])
        for begin in range(0, count, pages):
            put(begin // pages, arrays[1 + begin : 1 + begin + pages])
        return arrays[1 + count :]


def write_session(
    path: Path,
    model: str,
    messages: list[dict[str, Any]],
    place: Place,
    length: int,
    pages: list[list[np.ndarray]],
    states: list[np.ndarray],
) -> None:
    """Writes a session's file, whole or not at all. Raises SessionError."""
    digest, tail = _words(place)
    about = {"format": FORMAT, "model": model, "messages": messages, "length": length, "digest": digest, "tail": tail}
    text = np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8)
    if fault := fault_of_name(path.name):
        raise SessionError(f"{path}: {fault}; give another name")
    beside = usable(path.with_name(f"{path.name}.{os.getpid()}.tmp"))
    try:
        with beside.open("wb") as file:
            np.savez(file, text, np.array(len(pages)), *(array for page in pages for array in page), *states)
        replace(beside, usable(path))
    except FileHeldOpen as error:
        beside.unlink(missing_ok=True)
        raise SessionError(f"{path}: {error.strerror}") from error
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SessionError(f"{path}: {error.strerror}; name a file in a folder that can be written") from error


def open_session(path: Path) -> Session:
    """Reads a session's file, all of it, so that its checksums are looked at. Raises SessionError."""
    try:
        about, _ = _load(path)
        if about["format"] != FORMAT:
            raise SessionError(f"{path}: a session of format {about['format']}, this version reads {FORMAT}")
        place = bytes.fromhex(about["digest"]), bytes.fromhex(about["tail"])
        return Session(path, about["model"], list(about["messages"]), int(about["length"]), place)
    except FileNotFoundError as error:
        raise SessionError(f"{path}: no such file; /save or save_session writes one") from error
    except UNREADABLE as error:
        raise SessionError(f"{path}: not a session, or a damaged one ({error})") from error


def _words(place: Place) -> tuple[str, str]:
    return place[0].hex(), place[1].hex()


def _load(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    with usable(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        text, *arrays = [file[f"arr_{index}"] for index in range(len(file.files))]
    return json.loads(bytes(text)), arrays
