"""A request's body as it comes: how large it may be, how long it may take, and what it is packed in."""

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Iterator

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from qwill.server.errors import Refusal
from qwill.server.http import GONE
from qwill.server.settings import Limits

MOST_DIGITS = 18  # of a content-length
PARTS = (b",", b"[", b"{")  # a body has at most one more value than it has of these
MOST_PARTS = 1_000_000  # an empty list takes three bytes of a body and sixty of memory
WITH_BODY = ("POST", "PUT", "PATCH")
PACKED = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
AS_IT_IS = ("", "identity")
PIECE = 256 << 10  # bytes that are unpacked at a time, between which others have their turn
GZIP, ZLIB, NO_HEADER = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Body:
    """Counts a request's body as it comes, unpacked, the values in it, and the time that it takes."""

    def __init__(self, receive: Receive, method: str, headers: Headers, limits: Limits) -> None:
        """Raises Refusal for a body that is stated to be too large, or packed in another way than gzip or deflate."""
        self._receive = receive
        self._limits = limits
        self._bytes = self._parts = self._came = 0
        self._complete = False
        self._deadline = time.monotonic() + limits.body_seconds
        stated = headers.get("content-length", "0")
        if not (stated.isascii() and stated.isdigit()):
            raise Refusal(400, "content-length must be the body's number of bytes")
        if len(stated) > MOST_DIGITS or int(stated) > limits.body_bytes:
            raise self._too_large()
        packing = ", ".join(headers.getlist("content-encoding")).strip().lower()
        self._packed: Packed | None = None
        if method in WITH_BODY and packing not in AS_IT_IS:
            if packing not in PACKED:
                raise Refusal(
                    415, f"a body may be packed with gzip or deflate, not {packing!r}; send it as it is",
                    param="content-encoding", headers={"Accept-Encoding": "gzip, deflate"},
                )  # fmt: skip
            self._packed = Packed(PACKED[packing])

    async def receive(self) -> Message:
        """What comes next of the body. Raises Refusal when it is too much, too late, or not what it is said to be."""
        if self._complete:  # what comes now is the client's leaving
            return await self._receive()
        if self._packed is None:
            return self._counted(await self._next())
        while not self._packed.has_more:
            message = await self._next()
            self._came += len(message.get("body", b""))
            if self._came > self._limits.body_bytes:
                raise self._too_large()
            self._packed.add(message.get("body", b""), is_last=not message.get("more_body", False))
        await asyncio.sleep(0)
        piece, more = self._packed.take()
        return self._counted({"type": "http.request", "body": piece, "more_body": more})

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(408, f"the body did not come within {self._limits.body_seconds:g} s") from None
        if message["type"] == "http.disconnect":
            raise Refusal(GONE, "the client has left")
        return message

    def _counted(self, message: Message) -> Message:
        body = message.get("body", b"")
        self._bytes += len(body)
        self._parts += sum(map(body.count, PARTS))
        self._complete = not message.get("more_body", False)
        if self._bytes > self._limits.body_bytes:
            raise self._too_large()
        if self._parts > MOST_PARTS:
            raise Refusal(413, f"the body may have {MOST_PARTS} values; send less", code="too_large")
        return message

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body may have {self._limits.body_bytes} bytes; send less", code="too_large")


class Packed:
    """Unpacks a body a piece at a time, so that a little that stands for very much costs no memory."""

    def __init__(self, name: str) -> None:
        """`name`: gzip, of any number of members, or deflate, with its header or without."""
        self._name = name
        self._came: deque[bytes] = deque()
        self._is_whole = False
        self._pieces = self._unpacked()

    @property
    def has_more(self) -> bool:
        """Whether `take` gives something without more of the body."""
        return bool(self._came) or self._is_whole

    def add(self, data: bytes, is_last: bool) -> None:
        """More of the body as it came."""
        if data:
            self._came.append(data)
        self._is_whole = is_last

    def take(self) -> tuple[bytes, bool]:
        """The next piece, at most `PIECE` bytes and perhaps none, and whether there is more to come."""
        piece = next(self._pieces, None)
        return (b"", False) if piece is None else (piece, True)

    def _unpacked(self) -> Iterator[bytes]:
        reader = None
        while True:
            while not self._came:
                if self._is_whole:
                    if reader is not None and not reader.eof:
                        raise self._broken("it ends too early")
                    return
                yield b""
            data = self._came.popleft()
            if reader is None or reader.eof:
                if reader is not None:
                    data = self._after_end(data)
                    if not data:
                        continue
                reader = zlib.decompressobj(self._header(data))
            try:
                piece = reader.decompress(data, PIECE)
            except zlib.error:
                raise self._broken("it cannot be unpacked") from None
            rest = reader.unused_data or reader.unconsumed_tail
            if rest or (len(piece) == PIECE and not reader.eof):  # without a rest, too, there may be more to unpack
                self._came.appendleft(rest)
            yield piece

    def _after_end(self, data: bytes) -> bytes:
        """The next of gzip's members, before which there may be zeros."""
        data = data.lstrip(b"\0")
        if data and self._name == "deflate":
            raise self._broken("something comes after its end")
        return data

    def _header(self, data: bytes) -> int:
        """What zlib is to expect. Some clients leave out the header of deflate, whose first byte ends in an 8."""
        if self._name == "gzip":
            return GZIP
        return ZLIB if data[0] & 15 == zlib.DEFLATED else NO_HEADER

    def _broken(self, why: str) -> Refusal:
        return Refusal(400, f"the body is not {self._name}: {why}", param="content-encoding")
