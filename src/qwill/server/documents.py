"""Documents, pictures and sounds in messages: what is text is read, and what cannot be used gets a note in its place.

A client sends a conversation's whole history with every request and cannot take back what stands in it, so a document
that was refused would end the conversation.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from qwill.server.sources import MOST_ESCAPES

Part = dict[str, Any]  # text, an image or a video, in the OpenAI form
MOST_LETTERS = 200  # of a name in a note
TEXTS = frozenset({
    "application/csv", "application/ecmascript", "application/graphql", "application/javascript", "application/json",
    "application/jsonl", "application/ld+json", "application/markdown", "application/sql", "application/toml",
    "application/typescript", "application/x-httpd-php", "application/x-javascript", "application/x-ndjson",
    "application/x-python", "application/x-sh", "application/x-yaml", "application/xml", "application/yaml",
})  # fmt: skip
TEXT_ENDINGS = ("+json", "+xml", "+yaml")
# Others may be text whatever they are called: then they are read, too.
NO_TEXTS = re.compile(r"(image|audio|video|font)/.*|application/(pdf|zip|gzip|msword|vnd\..*)")
UNSEEN = re.compile(r"image/(svg\+xml|hei[cf](-sequence)?|jxl|vnd\.adobe\..*|x-(photoshop|xcf|raw))")
PDF = b"%PDF-"
CHARSET = re.compile(
    r"charset=\"?(utf-?8|utf-?(?:16|32)(?:-?[lb]e)?|us-ascii|iso-8859-\d+|windows-125\d|koi8-[ru]|shift_jis|euc-(?:jp|kr)"
    r"|gb(?:k|2312|18030)|big5)(?![\w-])",
    re.IGNORECASE,
)
CONTROLS = re.compile(r"[\0-\b\x0e-\x1a\x1c-\x1f\x7f]")  # none of which a text has
# What a block of an unknown type may have for its reader.
TOLD = ("title", "url", "text", "content", "source", "data", "stdout", "stderr")


@dataclass(frozen=True)
class Document:
    """A file in a message. `data`: its contents, in base64 or as a `data:` address; empty where only its name is known,
    which may be a web address or a number of files that are kept elsewhere. `context`: what the client says of it."""

    data: str = ""
    media_type: str = ""
    name: str = ""
    context: str = ""

    @property
    def kind(self) -> str:
        """Its media type, which a `data:` address states itself; empty where nothing is said."""
        stated = self.data[5:].partition(",")[0][:MOST_LETTERS] if _is_address(self.data) else ""
        stated = stated.removesuffix(";base64")
        return (stated if stated and not stated.startswith(";") else self.media_type).lower()

    @cached_property
    def text(self) -> str | None:
        """Its text; None for what has none."""
        kind = self.kind.partition(";")[0].strip()
        is_text = kind.startswith("text/") or kind in TEXTS or kind.endswith(TEXT_ENDINGS)
        if not self.data or unseen(kind) or (not is_text and NO_TEXTS.fullmatch(kind)):
            return None
        contents = _contents(self.data)
        return _decoded(contents, self.kind, is_text) if contents is not None else None

    @property
    def is_picture(self) -> bool:
        """Whether it is an image that can be seen here, or a damaged one."""
        return bool(self.data) and self.kind.startswith("image/") and not unseen(self.kind)

    @property
    def is_used(self) -> bool:
        """Whether the model sees more of it than a note."""
        return self.is_picture or self.text is not None

    def parts(self, place: str = "") -> list[Part]:
        """What the model sees of it: its name, what is said of it and its text, or a note."""
        if unseen(self.kind):
            return [picture_note(self.name or self.kind), *texts(self.context)]
        if self.is_picture:
            address = self.data if _is_address(self.data) else f"data:{self.kind};base64,{self.data}"
            return [*texts(self.context), medium("image", address, place)]
        if self.text is not None:
            return texts(self.name, self.context, self.text)
        about = " ".join(filter(None, ("Document", _short(self.name), f"({_short(self.kind)})" if self.kind else "")))
        return texts(f"[{about} cannot be read here; its text, or images of its pages, can be.]", self.context)


def medium(kind: Literal["image", "video"], address: str, place: str = "") -> Part:
    """An image or a video. `place` is where it stands in the request, if that is known."""
    return {"type": f"{kind}_url", f"{kind}_url": {"url": address}, **({"place": place} if place else {})}


def picture_note(name: str) -> Part:
    """What stands in the place of an image that cannot be seen here: its media type, or the number of a file."""
    return {"type": "text", "text": f"[An image ({_short(name)}) cannot be seen here; a PNG or JPEG file can be.]"}


def audio_note(form: str = "") -> Part:
    """What stands in the place of a sound."""
    about = f" ({_short(form)})" if form else ""
    return {"type": "text", "text": f"[Audio{about} cannot be heard here; its words can be read as text.]"}


def unseen(media_type: str) -> bool:
    """Whether that is a form of images that is not decoded here."""
    return UNSEEN.fullmatch(media_type.lower().partition(";")[0].strip()) is not None


def as_document(address: str) -> Document | None:
    """An image's address that leads to something else, as some clients send documents; None for images."""
    if not _is_address(address) or "," not in address:
        return None
    document = Document(address)
    kind = document.kind.partition(";")[0]
    is_image = "/" not in kind or kind.startswith(("image/", "video/")) or kind.endswith("/octet-stream")
    return None if is_image and not unseen(kind) else document


def words_of(block: Mapping[str, Any]) -> str:
    """The texts that a block of an unknown type has for its reader, a line each; empty for none."""
    return "\n".join(_words({key: value for key, value in block.items() if key in TOLD}))


def texts(*lines: str | None) -> list[Part]:
    """Parts of text, without those that are empty."""
    return [{"type": "text", "text": line} for line in lines if line]


def joined(pieces: Iterable[tuple[list[Part], bool]]) -> list[Part]:
    """The parts of several pieces of content, of which each may have to stand on lines of its own."""
    parts: list[Part] = []
    was_apart = False
    for more, apart in pieces:
        for part in more:
            if (apart or was_apart) and parts and parts[-1]["type"] == part["type"] == "text":
                parts[-1]["text"] += "" if parts[-1]["text"].endswith("\n") else "\n"
            parts.append(part)
            was_apart = apart
    return parts


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        # JSON may hold halves of surrogate pairs, and no text does.
        return [value.strip().encode("utf-8", "replace").decode()] if value.strip() else []
    if isinstance(value, list):
        return [word for one in value if isinstance(one, dict | str) for word in _words(one)]
    if not isinstance(value, dict):
        return []
    told = [key for key in TOLD if key in value and (key != "data" or value.get("type") == "text")]
    return [word for key in told for word in _words(value[key])]


def _is_address(data: str) -> bool:
    return data[:5].lower() == "data:"


def _contents(data: str) -> bytes | None:
    """The bytes; None for what is damaged."""
    coded: str | bytes = data
    if _is_address(data):
        head, comma, body = data.partition(",")
        if not comma or body.count("%") > MOST_ESCAPES:
            return None
        coded = unquote_to_bytes(body)
        if not head.lower().endswith(";base64"):
            return coded
    if isinstance(coded, str):
        coded = coded.encode("ascii", "replace")
    coded = b"".join(coded.split())
    try:
        return b64decode(coded + b"=" * (-len(coded) % 4), validate=True)
    except (NotBase64, ValueError):
        return None


def _decoded(contents: bytes, kind: str, is_text: bool) -> str | None:
    """As text in the encoding that it says or shows; None for what is none."""
    if contents.startswith(PDF):
        return None
    encodings = ["utf-16"] if contents[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig"]
    if is_text:
        stated = CHARSET.search(kind)
        encodings = [*([stated[1]] if stated else []), *encodings, "windows-1252"]
    for encoding in encodings:
        try:
            text = contents.decode(encoding)
        except UnicodeError:
            continue
        if not CONTROLS.search(text):
            return text
    return None


def _short(name: str) -> str:
    """On one line, and not too long."""
    name = " ".join(name.split())
    return name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…"
