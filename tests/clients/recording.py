"""What a program sent and what it was answered, seen from outside the server."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Exchange:
    """One request and the answer to it. `body` is the request's JSON, None where it has none."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""
    left: bool = False  # the client closed the connection before the answer's end

    @property
    def cached(self) -> float:
        """The part of the prompt that came from the prefix cache, by the last usage that the answer tells."""
        told = self.answer.decode()
        cached = int(re.findall(r'"(?:cache_read_input_tokens|cached_tokens)":(\d+)', told)[-1])
        read = int(re.findall(r'"(?:input_tokens|prompt_tokens)":(\d+)', told)[-1])
        return cached / (cached + read if "cache_read_input_tokens" in told else read)

    @property
    def ignored(self) -> str:
        return self.answer_headers.get("x-qwill-ignored", "")


class Recorder:
    """An ASGI application around another one; `exchanges` grow as requests come in."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._earlier: list[Exchange] = []

    def clear(self) -> None:
        """What comes next is looked at alone; `write` has it all."""
        self._earlier += self.exchanges
        self.exchanges.clear()

    def write(self, file: Path) -> None:
        """Adds a line of JSON for each exchange."""
        with file.open("a") as out:
            for exchange in self._earlier + self.exchanges:
                line = {"method": exchange.method, "path": exchange.path, "body": exchange.body,
                        "status": exchange.status, "ignored": exchange.ignored,
                        "answer": exchange.answer.decode(errors="replace"), "agent": exchange.headers.get("user-agent"),
                        "headers": exchange.headers}  # fmt: skip
                out.write(json.dumps(line) + "\n")

    def around(self, asgi: Any) -> Any:
        async def recorded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await asgi(scope, receive, send)
                return
            exchange = Exchange(scope["method"], scope["path"], _decoded(scope["headers"]), None)
            self.exchanges.append(exchange)
            body, ended = bytearray(), False

            async def receiving() -> Any:
                message = await receive()
                if message["type"] == "http.request":
                    body.extend(message.get("body", b""))
                    if not message.get("more_body"):
                        exchange.body = _parsed(bytes(body))
                elif not ended:
                    exchange.left = True
                return message

            async def sending(message: Any) -> None:
                nonlocal ended
                if message["type"] == "http.response.start":
                    exchange.status = message["status"]
                    exchange.answer_headers = _decoded(message["headers"])
                elif message["type"] == "http.response.body":
                    exchange.answer += message.get("body", b"")
                    ended = not message.get("more_body")
                await send(message)

            await asgi(scope, receiving, sending)

        return recorded


def _decoded(headers: Any) -> dict[str, str]:
    return {bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1") for name, value in headers}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
