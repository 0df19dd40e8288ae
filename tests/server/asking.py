"""Plain requests, with patience: httpx gives up after five seconds, which a busy machine may take for an answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pydantic

from server.running import PATIENCE


class Person(pydantic.BaseModel):
    """What `ABOUT_ANNA` asks for, in words that the demonstration model was trained on."""

    name: str
    age: int


ANNA = Person(name="Anna", age=31)
ABOUT_ANNA = (
    "Read: This is Anna. Age 31.\nPut it into JSON of this schema: "
    '{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}'
)


def send(method: str, url: str, timeout: float = PATIENCE, **more: Any) -> httpx.Response:
    """A request without the certificates that httpx reads otherwise, which takes longer than the answer."""
    with httpx.Client(verify=False, timeout=timeout) as client:
        return client.request(method, url, **more)


@contextmanager
def streamed(url: str, **more: Any) -> Iterator[httpx.Response]:
    """The answer to a POST while it comes. Its connection ends with the block."""
    with httpx.Client(verify=False, timeout=PATIENCE) as client, client.stream("POST", url, **more) as answer:
        yield answer
