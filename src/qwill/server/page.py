"""The web page at `/` and the files that it is made of. Nothing else on the disk can be asked for."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).with_name("web")
INDEX, DOCS = "index.html", "docs.html"
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = (
    "answers.js", "blocks.js", "card.js", "composer.js", "conversation.js", "docs.css", "docs.js", "dom.js",
    "icon.svg", "inline.js", "kept.js", "main.js", "markdown.js", "media.js", "messages.css", "messages.js",
    "page.css", "scroll.js", "settings.js", "sidebar.js", "store.js", "stream.js", "theme.js",
)  # fmt: skip
# Scripts and styles come from files of this server alone, and the page talks to nobody else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src data: blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
UNUSED = ("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "microphone", "payment", "usb")
HEADERS = {
    "cache-control": "no-cache",  # kept, but asked for again each time, so that a new version never meets an old file
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in UNUSED),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class File:
    """A file of the page. `tag` changes with its contents."""

    contents: bytes
    media_type: str
    tag: str


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _answer(request, INDEX)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """What can be asked, from the OpenAPI document; FastAPI's own page is made of files of another server."""
    return _answer(request, DOCS)


@router.get("/web/{name}")
async def file(request: Request, name: str) -> Response:
    """A script, a style or the icon."""
    if name not in FILES:
        raise HTTPException(404, f"the page has no file {name!r}")
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = _read(name)
    headers = {**HEADERS, "etag": found.tag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if found.tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(found.contents, media_type=found.media_type, headers=headers)


@cache
def _read(name: str) -> File:
    contents = (FOLDER / name).read_bytes()
    return File(contents, TYPES[Path(name).suffix], f'"{sha256(contents).hexdigest()[:32]}"')
