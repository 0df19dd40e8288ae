"""What each key has used: a SQLite file with a row for every day, key and model.

A request is written when it ends, by a thread of its own: the event loop never waits for a disk. The file has a
write-ahead log, so that a server that is killed loses at most the requests that were under way, and others may read
while it writes. Rows are added up in place, so several servers can share a file.
"""

import logging
import sqlite3
import threading
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

from qwill.errors import InvalidArgument

log = logging.getLogger("qwill.server")
APPLICATION_ID = 0x7157_494C  # "qWIL", in the file's header
SCHEMA_VERSION = 1
BUSY_SECONDS = 5.0  # to wait for another process that writes
RETRY_SECONDS = 5.0  # after which what could not be written is tried again


@dataclass(frozen=True)
class Tokens:
    """Tokens of a request, or of many. Cached and image tokens are some of the prompt's, reasoning tokens some of the
    answer's.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    image_tokens: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Usage:
    """What a key has used of a model on a day, such as 2026-02-28 (UTC)."""

    day: str
    key: str
    model: str
    requests: int
    tokens: Tokens


Place = tuple[str, str, str]  # day, key, model
COUNTS = ("requests", *(field.name for field in fields(Tokens)))
_COLUMNS = ", ".join(("day", "key", "model", *COUNTS))
_CREATE = f"""
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    {", ".join(f"{name} INTEGER NOT NULL" for name in COUNTS)},
    PRIMARY KEY (day, key, model)
) WITHOUT ROWID
"""
_ADD = f"""
INSERT INTO usage ({_COLUMNS}) VALUES (?, ?, ?, {", ".join("?" for _ in COUNTS)})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)}
"""


class UsageFile:
    """Adds up in a file what requests used."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it. Raises InvalidArgument when it is something else, or cannot be written."""
        self._path = path
        self._connection = _open_to_write(path)
        self._ended: SimpleQueue[tuple[Place, Tokens] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="qwill-usage", daemon=True)
        self._thread.start()

    def add(self, key: str, model: str, tokens: Tokens) -> None:
        """Counts a request that has ended; it is written soon."""
        day = datetime.now(UTC).date().isoformat()
        self._ended.put(((day, _encodable(key), _encodable(model)), tokens))

    def close(self) -> None:
        """Writes what is not written yet. Nothing can be added after that."""
        self._ended.put(None)
        self._thread.join()

    def _work(self) -> None:
        unwritten: dict[Place, tuple[int, Tokens]] = {}
        last, failing = False, False
        while not last:
            last = self._take(unwritten, RETRY_SECONDS if unwritten else None)
            try:
                self._write(unwritten)
                unwritten.clear()
                failing = False
            except sqlite3.Error as error:  # the counts are kept, and written with the next ones
                if last or not failing:
                    requests = sum(count for count, _ in unwritten.values())
                    fate = "is lost" if last else "is written later"
                    log.error("%s: the usage of %d requests %s (%s)", self._path, requests, fate, error)
                failing = True
        self._connection.close()

    def _take(self, unwritten: dict[Place, tuple[int, Tokens]], timeout: float | None) -> bool:
        """Waits for a request that ended, and takes all that have. Returns whether they were the last."""
        with suppress(Empty):
            entry = self._ended.get(timeout=timeout)
            while entry is not None:
                place, tokens = entry
                requests, sum_of_tokens = unwritten.get(place, (0, Tokens()))
                unwritten[place] = requests + 1, sum_of_tokens + tokens
                entry = self._ended.get_nowait()
            return True
        return False

    def _write(self, unwritten: dict[Place, tuple[int, Tokens]]) -> None:
        if unwritten:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                rows = [(*place, requests, *astuple(tokens)) for place, (requests, tokens) in unwritten.items()]
                self._connection.executemany(_ADD, rows)


def read_usage(path: Path, since: date | None = None, key: str | None = None) -> list[Usage]:
    """What the file holds of the days from `since` on, and of that key, in the order of day, key and model.

    A server may write meanwhile. Raises InvalidArgument for what is no usage file, and for a key that it never had.
    """
    if not path.is_file():
        raise InvalidArgument(f"{path}: no such file; name the one that `qwill serve --usage` writes")
    try:
        with closing(_open_to_read(path)) as opened:
            if _is_new(opened, path):
                raise InvalidArgument(f"{path} is empty; name the file that `qwill serve --usage` writes")
            known = [name for (name,) in opened.execute("SELECT DISTINCT key FROM usage ORDER BY key")]
            if key is not None and key not in known:
                raise InvalidArgument(f"{path} has nothing of a key {key!r}; it has {', '.join(known) or 'none yet'}")
            rows = opened.execute(
                f"SELECT {_COLUMNS} FROM usage WHERE day >= ? AND (? IS NULL OR key = ?) ORDER BY day, key, model",
                ("" if since is None else since.isoformat(), key, key),
            )
            return [Usage(day, name, model, requests, Tokens(*rest)) for day, name, model, requests, *rest in rows]
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Without its log nobody writes the file; taken as immutable it needs no files beside it, nor leaves any."""
    log_file = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if log_file.exists() else "immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS)


def _open_to_write(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        is_new = _is_new(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if is_new:
                connection.execute(_CREATE)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return connection
    except (sqlite3.Error, InvalidArgument) as error:
        if connection is not None:
            connection.close()
        raise error if isinstance(error, InvalidArgument) else _unusable(path, error) from error


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is empty. Raises InvalidArgument when it is another program's, damaged, or of a later qwill."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if (application, version, tables) == (0, 0, 0):
        return True
    if application != APPLICATION_ID:
        raise InvalidArgument(f"{path} is a database of another program; name another file for the usage")
    if version != SCHEMA_VERSION:
        raise InvalidArgument(f"{path} was written by a later qwill; use that one, or name another file for the usage")
    complaint = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if complaint != "ok":
        raise _unusable(path, complaint)
    return False


def _unusable(path: Path, problem: object) -> InvalidArgument:
    reason = " ".join(str(problem).split())
    return InvalidArgument(f"{path} cannot be used for the usage ({reason}); name another file, or restore this one")


def _encodable(text: str) -> str:
    """Names from the command line can hold bytes that are no text."""
    return text.encode("utf-8", "replace").decode()
