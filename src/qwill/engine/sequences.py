"""The arrays of all sequences: what starts one, ends one, copies it and brings it back."""

import tempfile
from dataclasses import dataclass
from typing import IO

import numpy as np

from qwill.engine.disk_cache import OnDisk
from qwill.engine.prefix_cache import Snapshot
from qwill.engine.request import Request
from qwill.engine.session import Session
from qwill.model.batch import Cache

Stored = OnDisk | Session


@dataclass(frozen=True)
class SavedState:
    """What a snapshot keeps beside its pages: recurrent states, and the text model's states [tokens, hidden_size] of
    its last tokens, which the draft head reads again once it knows what follows them.
    """

    recurrent: list[np.ndarray]
    unread: np.ndarray

    @property
    def arrays(self) -> list[np.ndarray]:
        return [*self.recurrent, self.unread]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


@dataclass(frozen=True)
class SavedRequest:
    """A request's arrays in a temporary file, which vanishes with it."""

    file: IO[bytes]
    pages: int


class Sequences:
    """Owns the cache. The scheduler decides who gets which pages and slots."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def begin(self, request: Request, snapshot: Snapshot[SavedState | Stored] | None) -> int:
        """Starts a request from zero states, or from those of a snapshot, whose last page it gets a copy of. Returns
        how many of its tokens need not be computed.
        """
        state: SavedState | None = None
        saved = snapshot.saved if snapshot is not None else None
        if isinstance(saved, Stored):
            state = self._read(request, saved)
        elif snapshot is not None:
            state = saved
            for array in self.paged:
                array[request.pages[len(snapshot.pages) - 1]] = array[snapshot.pages[-1]]
        if snapshot is None or state is None:
            self.cache.clear_slot(request.slot)
            return 0
        for array, recurrent in zip(self._recurrent, state.recurrent, strict=True):
            array[request.slot] = recurrent
        if len(state.unread):
            request.unread = [state.unread]
        return snapshot.length

    def _read(self, request: Request, stored: Stored) -> SavedState | None:
        def put(index: int, arrays: list[np.ndarray]) -> None:
            for array, page in zip(self.paged, arrays, strict=True):
                array[request.pages[index]] = page

        arrays = stored.read(len(self.paged), put)
        return SavedState(arrays[:-1], arrays[-1]) if arrays is not None else None

    def snapshot(self, request: Request, unread: np.ndarray) -> SavedState:
        """A copy of a request's recurrent states. unread: see `SavedState`."""
        return SavedState([array[request.slot].copy() for array in self._recurrent], unread)

    def copy_of(
        self, snapshot: Snapshot[SavedState | Stored]
    ) -> tuple[list[list[np.ndarray]], list[np.ndarray]] | None:
        """The arrays of each page of a snapshot, and its states; None when its file cannot be read any more."""
        if isinstance(snapshot.saved, SavedState):
            return [self.page(page) for page in snapshot.pages], snapshot.saved.arrays
        pages: list[list[np.ndarray]] = []
        states = snapshot.saved.read(len(self.paged), lambda _, arrays: pages.append(arrays))
        return (pages, states) if states is not None else None

    def page(self, page: int) -> list[np.ndarray]:
        """Copies of the keys and values of a page."""
        return [array[page].copy() for array in self.paged]

    def save(self, request: Request) -> None:
        """Writes pages, states and inputs that were laid by to a temporary file."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the request waits
        page_size = self.cache.keys[0].shape[2] if self.cache.keys else 1
        pages = np.array(request.pages[: -(-request.computed // page_size)], np.intp)
        for array in self.paged:
            np.save(file, array[pages], allow_pickle=False)
        for array in (*self._recurrent, *self.cache.pending):
            np.save(file, array[request.slot], allow_pickle=False)
        request.saved = SavedRequest(file, len(pages))

    def load(self, request: Request) -> None:
        """Reads them into other pages and another slot."""
        saved: SavedRequest = request.saved
        saved.file.seek(0)
        pages = np.array(request.pages[: saved.pages], np.intp)
        for array in self.paged:
            array[pages] = np.load(saved.file, allow_pickle=False)
        for array in (*self._recurrent, *self.cache.pending):
            array[request.slot] = np.load(saved.file, allow_pickle=False)
        self.forget(request)

    def forget(self, request: Request) -> None:
        """Drops the temporary file."""
        request.saved.file.close()
        request.saved = None

    @property
    def _recurrent(self) -> list[np.ndarray]:
        return [*self.cache.conv_states, *self.cache.states]

    @property
    def paged(self) -> list[np.ndarray]:
        """Keys and values of all layers, [pages, ...]."""
        return [*self.cache.keys, *self.cache.values]
