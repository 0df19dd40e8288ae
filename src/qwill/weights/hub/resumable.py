"""Large files of the hub, loaded into its cache so that a later try goes on where an earlier one stopped.

The hub's own client gives up what it has of a file when a download ends early. A file is known by the SHA-256 of its
bytes, under which the cache keeps it; what is there of it lies beside it until it is whole.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from qwill.errors import QwillError
from qwill.system.files import remove, replace
from qwill.system.paths import usable
from qwill.weights.hub.cache import cache_folder, repository_folder

log = logging.getLogger("qwill.weights")

MOST_BYTES = 50_000_000_000  # of a file that the hub hands out in one piece
FILES_AT_A_TIME = 4
_MOST_TRIES = 1000
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its path there, its size in bytes, and the SHA-256 of large files in hexadecimal."""

    name: str
    size: int
    sha256: str | None = None

    def blob(self, repository: str) -> Path | None:
        """Where the cache keeps the bytes of a large file."""
        return repository_folder(repository) / "blobs" / self.sha256 if self.sha256 else None

    def loaded_bytes(self, repository: str, commit: str) -> int:
        """How much of it is on the disk."""
        if (repository_folder(repository) / "snapshots" / commit / self.name).is_file():
            return self.size
        blob = self.blob(repository)
        if blob is None:
            return 0
        if blob.is_file():
            return self.size
        part = _partial(blob)
        return min(part.stat().st_size, self.size) if part.is_file() else 0


def is_resumable(file: RemoteFile) -> bool:
    """Whether a file is loaded here; small ones and larger ones are left to the hub's client."""
    return file.sha256 is not None and 0 < file.size <= MOST_BYTES


def fetch_files(files: Sequence[RemoteFile], repository: str, commit: str) -> None:
    """Loads resumable files into the cache, a few at a time, and names them in the snapshot of a commit.

    Raises what the hub's library raises, OSError of a full disk among it; then all stop, and what was loaded is kept.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
        try:
            for done in [pool.submit(_fetch, file, repository, commit, stop) for file in files]:
                done.result()
        except BaseException:  # Ctrl-C among them: nobody waits for gigabytes then
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Stopped(Exception):
    """Another file of the same download failed, or nobody waits any more."""


class _Target:
    """A file that refuses to be written when it is to stop."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file, self._stop = file, stop

    def write(self, data: bytes) -> int:
        if self._stop.is_set():
            raise _Stopped
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _fetch(file: RemoteFile, repository: str, commit: str, stop: threading.Event) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import WeakFileLock

    pointer = repository_folder(repository) / "snapshots" / commit / file.name
    blob = file.blob(repository)
    assert blob is not None
    if pointer.exists():
        return
    lock = cache_folder() / ".locks" / repository_folder(repository).name / f"{blob.name}.lock"
    for folder in (lock.parent, blob.parent, pointer.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if not blob.is_file():
            _load(file, hf_hub_url(repository, file.name, revision=commit), _partial(blob), stop)
            replace(_partial(blob), usable(blob))
        if not pointer.exists():
            _point(pointer, blob)


def _partial(blob: Path) -> Path:
    return usable(blob.with_name(f"{blob.name}.incomplete"))


def _load(file: RemoteFile, address: str, part: Path, stop: threading.Event) -> None:
    resumed = _append(file, address, part, stop)
    with part.open("rb") as source:
        whole = _sha256(source) == file.sha256
    if whole:
        return
    remove(part)
    if not resumed:
        raise QwillError(f"{file.name}: the hub sent other bytes than it announced; try again later")
    log.warning("%s: what an earlier try had loaded is damaged; it is loaded anew", file.name)
    _load(file, address, part, stop)


def _append(file: RemoteFile, address: str, part: Path, stop: threading.Event) -> int:
    """Loads what is missing of a file, trying again where that brings it forward. Returns how much was there."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with part.open("ab") as target:
        _empty_if_longer(target, file.size)
        first = target.tell()
        for _ in range(_MOST_TRIES):
            begin = target.tell()
            sink: Any = _Target(target, stop)
            try:
                http_get(address, sink, resume_size=begin, headers=build_hf_headers(), expected_size=file.size)
                return first
            except (HTTPError, OSError) as error:
                if isinstance(error, HfHubHTTPError) or getattr(error, "errno", None) is not None:
                    raise
                # Too much is of a server that sends the whole file when it is asked for the rest.
                emptied = _empty_if_longer(target, file.size)
                if target.tell() <= begin and not (emptied and begin):
                    raise  # nothing came
    raise QwillError(f"{file.name}: the connection breaks again and again; try again later")


def _empty_if_longer(target: BinaryIO, size: int) -> bool:
    if target.tell() <= size:
        return False
    target.seek(0)
    target.truncate()
    return True


def _sha256(source: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _point(pointer: Path, blob: Path) -> None:
    """As the hub's client does: a relative link, or the file itself where the system has no links."""
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        replace(usable(blob), usable(pointer))
