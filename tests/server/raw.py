"""HTTP as bytes on a socket, for what no client would send."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

SECONDS = 60.0


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), SECONDS)


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes the connection."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def exchange(url: str, request: bytes) -> bytes:
    """All that the server says to a request that ends the connection, or breaks it."""
    with connect(url) as connection:
        try:
            connection.sendall(request)
            return read_all(connection)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def head(method: str, path: str, *lines: str) -> bytes:
    """The beginning of a request to a server on loopback, which is to close the connection after it."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines, "", ""]).encode()


def post(path: str, body: Any, *lines: str) -> bytes:
    """A whole request with a JSON body."""
    contents = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head("POST", path, f"Content-Length: {len(contents)}", *lines) + contents


def status(said: bytes) -> int:
    """The status of an answer, 0 for none."""
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0
