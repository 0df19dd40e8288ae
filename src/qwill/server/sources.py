"""Images and videos of a request: from what its parts point at to their bytes, within the operator's limits."""

import asyncio
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from qwill.errors import MediaError
from qwill.media.image import FORMATS, data_bytes
from qwill.server.fetch import Fetcher
from qwill.server.settings import Settings
from qwill.text.chat_template import MEDIA_KINDS, part_kind

KEYS = ("image_url", "image", "video_url", "video", "url", "path")


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
        loaded = await asyncio.gather(*(self._load(part) for part in parts))
        found = {id(part): contents for part, contents in zip(parts, loaded, strict=True)}
        return [_with_bytes(message, found) for message in messages]

    async def _load(self, part: Mapping[str, Any]) -> bytes:
        kind = MEDIA_KINDS[part_kind(part)]
        address = next((part[key] for key in KEYS if part.get(key)), None)
        if isinstance(address, Mapping):
            address = address.get("url")
        if isinstance(address, bytes):
            contents = address
        elif not isinstance(address, str):
            raise MediaError(f"a content part of type {kind} has no address; give a data:, http(s): or file: one")
        elif address[:5].lower() == "data:":
            contents = data_bytes(address, kind)
        elif address[:7].lower() in ("http://", "https:/"):
            contents = await self._fetcher.fetch(address, kind)
        else:
            contents = await asyncio.to_thread(self._from_file, address, kind)
        if len(contents) > self._limits.media_bytes:
            raise MediaError(f"an {kind} has more than {self._limits.media_bytes} bytes; send a smaller one")
        await asyncio.to_thread(self._check, contents, kind)
        return contents

    def _from_file(self, address: str, kind: str) -> bytes:
        """Only what lies in a folder that the operator allowed, wherever links and dots lead."""
        scheme, _, rest = address.partition("://")
        path = Path(unquote(urlsplit(address).path) if rest and scheme.lower() == "file" else address)
        if "\0" in str(path):
            raise MediaError(f"the address of an {kind} holds a zero byte")
        inside = path.is_absolute() and any(path.resolve().is_relative_to(folder) for folder in self._folders)
        if not inside or not path.is_file():
            raise MediaError(
                f"the server may not read that {kind}'s file; send its contents in a data: address, or have the"
                " operator allow its folder (--media-folder)"
            )
        if path.stat().st_size > self._limits.media_bytes:
            raise MediaError(f"an {kind} has more than {self._limits.media_bytes} bytes; send a smaller one")
        return path.read_bytes()

    def _check(self, contents: bytes, kind: str) -> None:
        """Refuses an image by the size in its header, before it is decoded."""
        from PIL import Image

        if kind != "image":
            return
        try:
            with Image.open(BytesIO(contents), formats=FORMATS) as image:
                pixels = image.width * image.height
        except Exception:
            return  # `load_image` says what is wrong with it
        if pixels > self._limits.image_pixels:
            raise MediaError(f"an image has {pixels:,} pixels; send one of at most {self._limits.image_pixels:,}")


def _media_parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if not isinstance(content, Sequence) or isinstance(content, str | bytes):
        return []
    return [part for part in content if isinstance(part, Mapping) and part_kind(part) in MEDIA_KINDS]


def _with_bytes(message: Mapping[str, Any], found: Mapping[int, bytes]) -> Mapping[str, Any]:
    if not _media_parts(message):
        return message
    content = [
        {"type": MEDIA_KINDS[part_kind(part)], MEDIA_KINDS[part_kind(part)]: found[id(part)]}
        if id(part) in found
        else part
        for part in message["content"]
    ]
    return {**message, "content": content}
