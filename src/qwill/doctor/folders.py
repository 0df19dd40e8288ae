"""Folders that qwill reads models from and writes to: called by the variables that place them, never by their paths."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qwill.server.cache_folder import user_cache
from qwill.weights.hub.cache import cache_folder
from qwill.weights.hub.ollama_store import SYSTEM_STORE, manifests, stores

COUNT_SECONDS = 0.4  # for all files together; folders on a network can take long


def folders() -> dict[str, Any]:
    """Of each where it lies, whether it can be written to, how much is free, and how much lies in it already."""
    until = time.monotonic() + COUNT_SECONDS
    hub, own, ollama = _path(cache_folder), _path(user_cache), _path(_ollama)
    return {
        "hub_cache": _folder(hub, _hub_place(), _repositories, until),
        "own_cache": _folder(own, _place(own, "qwill", "XDG_CACHE_HOME", "LOCALAPPDATA"), None, until),
        "ollama": _folder(ollama, _place(ollama, "", "OLLAMA_MODELS"), _stored, until),
        "temporary": _folder(_path(lambda: Path(tempfile.gettempdir())), _temporary_place(), None, None),
    }


def _path(where: Callable[[], Path]) -> Path | None:
    """None where it lies in the home of nobody, or there is no folder for temporary files."""
    try:
        return where()
    except (OSError, RuntimeError):
        return None


def _ollama() -> Path:
    return next((store for store in stores() if store.is_dir()), stores()[0])


def _folder(path: Path | None, place: str, models: Callable[[Path], int] | None, until: float | None) -> dict[str, Any]:
    """models: counts those in a folder. until: when counting bytes ends; None for a folder of others."""
    there = None if path is None else next((each for each in (path, *path.parents) if _exists(each)), path)
    size, whole = (None, True) if path is None or until is None else _bytes_in(path, until)
    return {
        "place": place,
        "exists": path is not None and _exists(path),
        "writable": there is not None and os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK),
        "free": None if there is None else _free(there),
        "models": None if path is None or models is None else _count(path, models),
        "bytes": size,
        "all_counted": whole,
    }


def _exists(path: Path) -> bool:
    """Whether there is such a file, as far as this user may know: Path.exists raises where one may not look."""
    return os.path.exists(path)


def _hub_place() -> str:
    if os.environ.get("HF_HUB_CACHE"):
        return "$HF_HUB_CACHE"
    if os.environ.get("HF_HOME"):
        return "$HF_HOME/hub"
    return f"{'$XDG_CACHE_HOME' if os.environ.get('XDG_CACHE_HOME') else '~/.cache'}/huggingface/hub"


def _place(path: Path | None, last: str, *variables: str) -> str:
    """By the variable that it lies under, or by the home folder."""
    if path is None:
        return next((f"${variable}" for variable in variables if os.environ.get(variable)), "~")
    for variable in variables:
        base = os.environ.get(variable)
        if base and path == Path(base).expanduser() / last:
            return f"${variable}/{last}".rstrip("/")
    if path == SYSTEM_STORE:
        return str(path)
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except (ValueError, RuntimeError):
        return "elsewhere"


def _temporary_place() -> str:
    folder = str(_path(lambda: Path(tempfile.gettempdir())))
    if folder in ("/tmp", "/var/tmp", "/usr/tmp"):
        return folder
    return next((f"${name}" for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name) == folder), "elsewhere")


def _repositories(folder: Path) -> int:
    return sum(1 for entry in folder.glob("models--*") if entry.is_dir())


def _stored(folder: Path) -> int:
    return sum(1 for _ in manifests(folder))


def _count(path: Path, models: Callable[[Path], int]) -> int | None:
    try:
        return models(path) if path.exists() else 0
    except OSError:
        return None


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _bytes_in(folder: Path, until: float) -> tuple[int, bool]:
    """Sum of the sizes of files, links not followed, and whether there was time for all."""
    total = 0
    for size in _sizes(folder):
        total += size
        if time.monotonic() > until:
            return total, False
    return total, True


def _sizes(folder: Path) -> Iterator[int]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(Path(entry.path))
            elif not entry.is_symlink():
                yield entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
