"""Snapshots in a folder, so that they outlive the memory and the program.

A snapshot's file holds its states and the keys and values of its last page; each whole page before lies in a file of
its own, which all snapshots that go through it share. Files are NumPy's .npz, whose checksums are looked at when they
are read, under names that their contents decide, written beside and then renamed. What is torn, foreign or of another
version is left out with a warning.
"""

import hashlib
import json
import logging
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from qwill.engine.prefix_cache import Place, Places, Trail
from qwill.system.files import remove, replace
from qwill.system.paths import usable

FORMAT = 1  # of the files; others are left out
WAITING_BYTES = 1 << 30  # that may wait for the disk; what comes then is not written
UNREADABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError)
Put = Callable[[int, list[np.ndarray]], None]  # takes the number of a page and its arrays
log = logging.getLogger("qwill")


@dataclass(frozen=True)
class Entry:
    """What is known of a snapshot's file."""

    place: Place
    length: int
    pages: tuple[str, ...]
    size: int

    @property
    def name(self) -> str:
        digest, tail = self.place
        return "snapshot-" + hashlib.blake2b(digest + tail, digest_size=16).hexdigest()


class DiskCache:
    """Snapshots of one model with one set of options, up to `budget` bytes; the one not used for longest goes first."""

    def __init__(self, folder: Path, model: str, budget: int, at_once: bool = True) -> None:
        """model: a fingerprint of all that the arrays depend on; its snapshots have a folder of their own. at_once:
        whether the engine adds each snapshot when it is made, or all that it still has when it is asked to.
        """
        self.folder = usable(folder / model)
        self.budget = budget
        self.at_once = at_once
        self._model = model
        self._entries: Places[Entry] = Places()
        self._page_sizes: dict[str, int] = {}
        self._page_users: Counter[str] = Counter()
        self._waiting: list[tuple[Future[None], int]] = []
        self._writer = ThreadPoolExecutor(1, "qwill-disk-cache")  # at the end, Python waits for what it still has
        self.folder.mkdir(parents=True, exist_ok=True)
        self._read_folder()

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self._entries.values()) + sum(self._page_sizes.values())

    def find(self, trail: Trail, longer_than: int = 0) -> "OnDisk | None":
        """The longest snapshot of more tokens than that which leaves at least one to be computed."""
        entry = self._entries.find(trail, longer_than)
        return OnDisk(self, entry) if entry is not None else None

    def has(self, place: Place) -> bool:
        return place in self._entries

    def add(
        self,
        trail: Trail,
        length: int,
        page: Callable[[int], list[np.ndarray]],
        states: Sequence[np.ndarray],
        waits: bool = False,
    ) -> None:
        """Writes a snapshot of the first `length` tokens in the background. page(n): copies of the arrays of page n.
        waits: until it is written, with copies of a page at a time, however many there are.
        """
        names = tuple(f"page-{name.hex()}" for name in trail.pages_before(length))
        new = {name: index for index, name in enumerate(names) if name not in self._page_sizes}
        last = page(len(names))
        page_bytes = sum(array.nbytes for array in last)
        place = trail.place(length)
        entry = Entry(place, length, names, page_bytes + sum(array.nbytes for array in states))
        needed = entry.size + page_bytes * len(new)
        if needed > self.budget or (not waits and self._bytes_waiting() + needed > WAITING_BYTES):
            return
        self._entries.add(place, entry)
        self._page_users.update(names)
        self._page_sizes.update(dict.fromkeys(new, page_bytes))
        about = {"format": FORMAT, "model": self._model, "length": length, "pages": names,
                 "digest": place[0].hex(), "tail": place[1].hex()}  # fmt: skip
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        pages: Iterable[tuple[str, list[np.ndarray]]] = ((name, page(index)) for name, index in new.items())
        written = self._writer.submit(self._write, pages if waits else list(pages), entry.name, [text, *last, *states])
        self._waiting.append((written, needed))
        if waits:
            wait([written])
        while self.used > self.budget:
            self._drop(self._entries.pop())

    def read(self, entry: Entry, pages: int, put: Put) -> list[np.ndarray] | None:
        """The states of a snapshot, after its pages were handed to put(n, arrays); None when a file is torn or gone,
        and then it is forgotten. pages: how many arrays a page has.
        """
        if self._bytes_waiting():
            self.flush()  # it may be what is still to be written
        try:
            for index, name in enumerate(entry.pages):
                put(index, self._load(name))
            text, *arrays = self._load(entry.name)
            about = json.loads(bytes(text))
            if (about["digest"], about["tail"]) != (entry.place[0].hex(), entry.place[1].hex()):
                raise ValueError("another snapshot's contents")
            put(len(entry.pages), arrays[:pages])
            os.utime(self._path(entry.name))
        except UNREADABLE as error:
            log.warning("%s: left out of the prefix cache: %s", self._path(entry.name), error)
            self._entries.pop(entry.place)
            self._drop(entry)
            return None
        return arrays[pages:]

    def close(self) -> None:
        """Waits until everything is written."""
        self.flush()
        self._writer.shutdown()

    def flush(self) -> None:
        """Waits until what was added so far is written."""
        self._writer.submit(lambda: None).result()
        self._bytes_waiting()

    def _read_folder(self) -> None:
        found = []
        sizes = {path.stem: path.stat().st_size for path in self.folder.glob("page-*.npz")}
        for path in self.folder.glob("snapshot-*.npz"):
            try:
                about = json.loads(bytes(self._load(path.stem, first_only=True)[0]))
                place = bytes.fromhex(about["digest"]), bytes.fromhex(about["tail"])
                entry = Entry(place, int(about["length"]), tuple(map(str, about["pages"])), path.stat().st_size)
                if (about["format"], about["model"], entry.name) != (FORMAT, self._model, path.stem):
                    raise ValueError("it belongs to another version or model")
                if missing := [name for name in entry.pages if name not in sizes]:
                    raise ValueError(f"{missing[0]}.npz is missing")
            except UNREADABLE as error:
                log.warning("%s: left out of the prefix cache: %s", path, error)
                continue
            found.append((path.stat().st_mtime, entry))
        for _, entry in sorted(found, key=lambda pair: pair[0]):
            self._entries.add(entry.place, entry)
            self._page_users.update(entry.pages)
        self._page_sizes = {name: size for name, size in sizes.items() if self._page_users[name]}

    def _load(self, name: str, first_only: bool = False) -> list[np.ndarray]:
        with self._path(name).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            count = 1 if first_only else len(file.files)
            return [file[f"arr_{index}"] for index in range(count)]

    def _write(self, pages: Iterable[tuple[str, list[np.ndarray]]], name: str, arrays: list[np.ndarray]) -> None:
        """The snapshot's own file comes last, so that it is there only when all of it is."""
        for each, contents in chain(pages, [(name, arrays)]):
            beside = self.folder / f"{each}.{os.getpid()}.tmp"
            with beside.open("wb") as file:
                np.savez(file, *contents)
            replace(beside, self._path(each))

    def _bytes_waiting(self) -> int:
        for written, _ in self._waiting:
            if written.done() and (error := written.exception()):
                log.warning("%s: the prefix cache could not be written: %s", self.folder, error)
        self._waiting = [(written, size) for written, size in self._waiting if not written.done()]
        return sum(size for _, size in self._waiting)

    def _drop(self, entry: Entry) -> None:
        """Deletes a snapshot's file, and the pages that no other has, once all that waits is written."""
        self._page_users.subtract(entry.pages)
        unused = [name for name in entry.pages if self._page_users[name] <= 0]
        for name in unused:
            self._page_sizes.pop(name, None)
            del self._page_users[name]
        paths = [self._path(name) for name in (entry.name, *unused)]
        self._writer.submit(_delete, paths)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def has_files(folder: str | Path) -> bool:
    """Whether a folder has snapshots, of whichever model."""
    return next(Path(folder).expanduser().glob("*/snapshot-*.npz"), None) is not None


def _delete(paths: Sequence[Path]) -> None:
    for path in paths:
        remove(path)


@dataclass(frozen=True)
class OnDisk:
    """A snapshot that was found on disk."""

    cache: DiskCache
    entry: Entry

    @property
    def length(self) -> int:
        return self.entry.length

    @property
    def place(self) -> Place:
        return self.entry.place

    def read(self, pages: int, put: Put) -> list[np.ndarray] | None:
        """See `DiskCache.read`."""
        return self.cache.read(self.entry, pages, put)
