"""API keys: who may ask, how often, and how much at a time. Only their SHA-256 digests are kept."""

import hashlib
import hmac
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from qwill.errors import InvalidArgument

MINUTE = 60.0
LIMITS = ("requests_per_minute", "concurrent_requests")
KNOWN_FIELDS = {"sha256", *LIMITS}
ANYBODY = "anybody"


@dataclass(eq=False)
class Key:
    """`name` stands in logs and in the usage table. The limits are None for none."""

    name: str
    digest: bytes
    requests_per_minute: int | None = None
    concurrent_requests: int | None = None
    running: int = 0
    recent: "deque[float]" = field(default_factory=deque)

    def wait(self, now: float) -> float:
        """Seconds until another request is allowed; 0 for now."""
        while self.recent and self.recent[0] <= now - MINUTE:
            self.recent.popleft()
        if self.concurrent_requests is not None and self.running >= self.concurrent_requests:
            return 1.0
        if self.requests_per_minute is not None and len(self.recent) >= self.requests_per_minute:
            return self.recent[0] + MINUTE - now
        return 0.0


class Keys:
    """All keys of a server. Without any, everybody may ask."""

    def __init__(self, keys: Iterable[Key] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = list(keys)
        self._clock = clock
        self._anybody = Key(ANYBODY, b"")

    @property
    def required(self) -> bool:
        return bool(self._keys)

    def find(self, secret: str | None) -> Key | None:
        """Whose key that is; None if nobody's. Every key is compared, whatever the outcome, in constant time.

        `secret` is what a header says: a character for each byte.
        """
        if not self._keys:
            return self._anybody
        digest = hashlib.sha256((secret or "").encode("latin-1")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest) and secret:
                found = key
        return found

    def enter(self, key: Key) -> float:
        """Counts a request that begins. Returns 0, or the seconds after which it may come again."""
        now = self._clock()
        wait = key.wait(now)
        if wait == 0:
            key.running += 1
            if key.requests_per_minute is not None:
                key.recent.append(now)
        return wait

    def leave(self, key: Key) -> None:
        """Counts a request that ended."""
        key.running -= 1

    @classmethod
    def of(cls, secrets: Iterable[str], file: Path | None = None) -> "Keys":
        """Keys given as such, and those of a TOML file. Raises InvalidArgument.

        The file has a table for each name, with `sha256` (hexadecimal) and, if wanted, `requests_per_minute` and
        `concurrent_requests`.
        """
        keys = []
        for index, secret in enumerate(map(str.strip, secrets), start=1):
            if not secret:
                raise InvalidArgument("an API key is empty; give one of at least 16 random characters")
            keys.append(Key(f"key {index}", hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()))
        return cls([*keys, *(_read(file) if file is not None else [])])


def _read(file: Path) -> list[Key]:
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"the keys cannot be read from {file} ({error})") from error
    keys = []
    for name, table in tables.items():
        if not isinstance(table, dict) or table.keys() - KNOWN_FIELDS:
            raise InvalidArgument(f"{file}: [{name}] must be a table of {', '.join(sorted(KNOWN_FIELDS))}")
        try:
            digest = bytes.fromhex(table.get("sha256", ""))
        except (TypeError, ValueError):
            digest = b""
        if len(digest) != hashlib.sha256().digest_size:
            raise InvalidArgument(f"{file}: sha256 of [{name}] must be the key's digest in 64 hexadecimal digits")
        for limit in LIMITS:
            value = table.get(limit, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgument(f"{file}: {limit} of [{name}] must be a whole number of at least 1")
        keys.append(Key(name, digest, table.get(LIMITS[0]), table.get(LIMITS[1])))
    return keys
