"""Images and videos of a request: from what its parts point at to their bytes, within the operator's limits."""

import asyncio
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from qwill.errors import MediaError
from qwill.media.image import FORMATS, data_bytes
from qwill.server.fetch import Fetcher
from qwill.server.settings import Settings
from qwill.system.paths import path_of_address
from qwill.text.chat_template import MEDIA_KINDS, part_kind, part_source

AT_ONCE = 4  # images and videos of one request: what they hold together is known only when they are there
TOGETHER = 8  # times the pixels of one image that those of a request may have in all
MOST_ESCAPES = 1 << 20  # %XX in a data: address; each takes a hundred bytes while they are read
ICON, PNG = b"\0\0\1\0", b"\x89PNG\r\n\x1a\n"


class Sources:
    """Turns parts with addresses into parts with bytes."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._folders = [folder.resolve() for folder in settings.media_folders]
        self._fetcher = Fetcher(settings.limits, settings.private_media)

    async def resolve(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The messages with each image and video as bytes. Raises MediaError."""
        parts = [part for message in messages for part in _media_parts(message)]
        if len(parts) > self._limits.media_parts:
            raise MediaError(f"a request may have {self._limits.media_parts} images and videos, not {len(parts)}")
        if not parts:
            return list(messages)
        found = await self._load_all(parts)
        return [_with_bytes(message, found) for message in messages]

    async def _load_all(self, parts: Sequence[Mapping[str, Any]]) -> dict[int, bytes]:
        """Contents by the identity of their parts, no more in all than a body may have, and not too many pixels."""
        found: dict[int, bytes] = {}
        slots = asyncio.Semaphore(AT_ONCE)
        pixels = 0

        async def load(part: Mapping[str, Any]) -> None:
            nonlocal pixels
            async with slots:
                kind = MEDIA_KINDS[part_kind(part)]
                contents = found[id(part)] = await self._placed(part, kind)
                if sum(map(len, found.values())) > self._limits.body_bytes:
                    raise MediaError(f"a request's images and videos may have {self._limits.body_bytes} bytes in all")
                if kind == "image":
                    more = await asyncio.to_thread(_pixels, contents, self._limits.image_pixels)
                    pixels += more
                if pixels > TOGETHER * self._limits.image_pixels:
                    most = TOGETHER * self._limits.image_pixels
                    raise MediaError(f"a request's images may have {most:,} pixels in all; send smaller or fewer ones")

        tasks = [asyncio.ensure_future(load(part)) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:  # the first that fails ends the others
            for task in tasks:
                task.cancel()
        return found

    async def _placed(self, part: Mapping[str, Any], kind: str) -> bytes:
        """Contents, or what is wrong with them and where they stand."""
        try:
            return await self._contents(part, kind)
        except MediaError as error:
            raise MediaError(str(error), part.get("place")) from error

    async def _contents(self, part: Mapping[str, Any], kind: str) -> bytes:
        address = part_source(part, kind)
        if isinstance(address, bytes):
            contents = address
        elif not isinstance(address, str) or not _is_text(address):
            raise MediaError(f"a content part of type {kind} has no address; give a data:, http(s): or file: one")
        elif address[:5].lower() == "data:":
            contents = await asyncio.to_thread(_from_data, address, kind)
        elif address[:7].lower() in ("http://", "https:/"):
            contents = await self._fetcher.fetch(address, kind)
        else:
            contents = await asyncio.to_thread(self._from_file, address, kind)
        if len(contents) > self._limits.media_bytes:
            raise MediaError(f"the {kind} has more than {self._limits.media_bytes} bytes; send a smaller one")
        return contents

    def _from_file(self, address: str, kind: str) -> bytes:
        """Only what lies in a folder that the operator allowed, wherever links and dots lead."""
        try:
            path = _path(address).resolve()
            if self._folders and any(path.is_relative_to(folder) for folder in self._folders):
                with open(path, "rb", opener=_open_quickly) as file:
                    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                        return file.read(self._limits.media_bytes + 1)
        except (OSError, ValueError, RuntimeError):  # no such file, no such name, links that go round
            pass
        raise MediaError(
            f"the server may not read that {kind}'s file; send its contents in a data: address, or have the"
            " operator allow its folder (--media-folder)"
        )


def _path(address: str) -> Path:
    """An absolute path; ValueError for what is none on this machine."""
    if address[:5].lower() == "file:":
        parts = urlsplit(address)
        if parts.netloc.lower() not in ("", "localhost"):
            raise ValueError("a file of another machine")
        address = path_of_address(unquote(parts.path))
    path = Path(address)
    if not path.is_absolute():
        raise ValueError("relative to nothing")
    return path


def _open_quickly(path: str, flags: int) -> int:
    """Opens without waiting for whoever writes into a pipe, and without following a link put there meanwhile."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))


def _from_data(address: str, kind: str) -> bytes:
    if address.count("%") > MOST_ESCAPES:
        raise MediaError(f"the {kind}'s data: address has too many escapes; give it in base64")
    return data_bytes(address, kind)


def _is_text(address: str) -> bool:
    """Whether it can be encoded: JSON may hold halves of surrogate pairs."""
    try:
        return bool(address.encode())
    except UnicodeEncodeError:
        return False


def _pixels(contents: bytes, most: int) -> int:
    """How many pixels an image has by its header, before it is decoded. Raises MediaError for more than `most`.

    0 for what is no image; `load_image` says later what is wrong with it.
    """
    from PIL import Image

    try:
        pixels = _pixels_of_icon(contents) if contents.startswith(ICON) else 0
        if pixels <= most:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(BytesIO(contents), formats=FORMATS) as image:
                    pixels = image.width * image.height
    except Exception:
        return 0
    if pixels > most:
        raise MediaError(f"an image has {pixels:,} pixels; send one of at most {most:,}")
    return pixels


def _pixels_of_icon(contents: bytes) -> int:
    """Those of the largest picture in it: Pillow decodes one on opening, whatever size the icon's directory gives."""
    largest = 0
    for entry in range(int.from_bytes(contents[4:6], "little")):
        start = int.from_bytes(contents[18 + 16 * entry : 22 + 16 * entry], "little")
        header = contents[start : start + 24]
        if header.startswith(PNG):
            width, height = int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
        else:
            width, height = int.from_bytes(header[4:8], "little"), int.from_bytes(header[8:12], "little")
        largest = max(largest, width * height)
    return largest


def _media_parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if not isinstance(content, Sequence) or isinstance(content, str | bytes):
        return []
    return [part for part in content if isinstance(part, Mapping) and part_kind(part) in MEDIA_KINDS]


def _with_bytes(message: Mapping[str, Any], found: Mapping[int, bytes]) -> Mapping[str, Any]:
    if not _media_parts(message):
        return message
    content = [_held(part, found[id(part)]) if id(part) in found else part for part in message["content"]]
    return {**message, "content": content}


def _held(part: Mapping[str, Any], contents: bytes) -> dict[str, Any]:
    """A part with its contents, which still knows its place."""
    kind = MEDIA_KINDS[part_kind(part)]
    return {"type": kind, kind: contents, **({"place": part["place"]} if "place" in part else {})}
