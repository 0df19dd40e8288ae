"""Answers that /v1/responses remembers, in memory, so that a client need not send a conversation again."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwill.server.errors import Refusal
from qwill.server.openai.responses_items import CALLS, Stored

STORED_BYTES = 256 << 20
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Remembered:
    """A response as it was told, the items that it answers, and their bytes in memory with those of the response."""

    owner: str
    body: dict[str, Any]
    items: Sequence[Stored]
    size: int

    @property
    def all_items(self) -> list[Stored]:
        """The items that it answers, and its own."""
        return [*self.items, *self.body["output"]]

    def followed_by(self, new: Sequence[Stored]) -> list[Stored]:
        """The conversation with the items of the next request: without a call that was cut off, unless they have an
        output of it."""
        answered = {item.get("call_id") for item in new}
        own = [
            item
            for item in self.body["output"]
            if item["type"] not in CALLS or item["status"] == "completed" or item["call_id"] in answered
        ]
        return [*self.items, *own, *new]


class ResponseStore:
    """The newest responses, at most `most` and at most so many bytes, each for the key alone that asked for it."""

    def __init__(self, most: int, most_bytes: int = STORED_BYTES) -> None:
        self.most = most
        self._most_bytes = most_bytes
        self._responses: dict[str, Remembered] = {}  # the oldest first
        self._bytes = 0

    def get(self, owner: str, name: str, param: str | None = None) -> Remembered:
        """Raises Refusal when there is none of that name, or only somebody else's."""
        found = self._responses.get(name)
        if found is None or found.owner != owner:
            mend = "; send the conversation as input" if param else ""
            raise Refusal(
                404, f"no response {name!r} is stored here, where the newest {self.most} are{mend}",
                code="previous_response_not_found" if param else "not_found", param=param,
            )  # fmt: skip
        return found

    def items(self, owner: str) -> dict[str, Stored]:
        """All items by their ids, which are those of the newest response where several have the same."""
        own = [response for response in self._responses.values() if response.owner == owner]
        return {item["id"]: item for response in own for item in response.all_items}

    def size(self, items: Sequence[Stored], before: Remembered | None) -> int:
        """Bytes of a conversation that goes on from the one before. Raises Refusal when it is too large to store.

        What a conversation shares with an earlier one counts again: the earlier one may be forgotten first.
        """
        size = memory_of(items) + (before.size if before is not None else 0)
        if size > self._most_bytes // 2:  # the answer and its echo of the request are to fit, too
            limit = self._most_bytes // 2 // MEBIBYTE
            raise Refusal(400, f"a conversation of more than {limit} MiB is not stored; send store: false")
        return size

    def put(self, response: Remembered) -> None:
        """Remembers a response and forgets the oldest ones for it."""
        self._responses[response.body["id"]] = response
        self._bytes += response.size
        while len(self._responses) > self.most or self._bytes > self._most_bytes:
            self._forget(next(iter(self._responses)))

    def delete(self, owner: str, name: str) -> None:
        """Raises Refusal like `get`."""
        self.get(owner, name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._bytes -= self._responses.pop(name).size


def memory_of(value: Any) -> int:
    """Bytes that a value of JSON takes, about."""
    size, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        size += sys.getsizeof(value)
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    return size
