"""Content of messages and of functions' outputs in /v1/responses: its parts, what is stored of them, and what a chat
template gets of them."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter

from qwill.server.content import AudioPart, File, Picture, Plain, RefusalPart, Shown, Words, plain_content
from qwill.server.documents import Document, medium
from qwill.server.kinds import ByType, TextOr


class StoredPart(dict[str, Any]):
    """A part as it is listed. `place` leads to it in the request that brought it."""

    place = ""


class InputText(Words):
    """Text of a message or of a function's output."""

    type: Literal["input_text", "text"]


class OutputText(Words):
    """Text of an earlier answer."""

    type: Literal["output_text"]
    annotations: Any = None
    logprobs: Any = None


class InputImage(Picture):
    """An image: a `data:` address, or one that the server fetches. One that is kept elsewhere gets a note in its place.
    Screenshots are outputs of calls."""

    type: Literal["input_image", "computer_screenshot"]
    image_url: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: str | None = None

    @property
    def address(self) -> str:
        return self.image_url or ""

    @property
    def name(self) -> str:
        return self.file_id or ""


class InputVideo(Shown):
    """A video, which the OpenAI API does not know: a `data:` address, or one that the server fetches."""

    type: Literal["input_video"]
    video_url: str

    def plain(self) -> list[Plain]:
        return [medium("video", self.video_url, self._place)]


class InputFile(File):
    """A document: its contents in base64 or as a `data:` address, or where it is."""

    IGNORED = frozenset({"detail"})
    type: Literal["input_file"]
    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    detail: Any = None

    @cached_property
    def document(self) -> Document:
        return Document(self.file_data or "", name=self.filename or self.file_url or self.file_id or "")


Part = Annotated[
    InputText | OutputText | RefusalPart | InputImage | InputVideo | InputFile | AudioPart, ByType("content parts")
]
Content = Annotated[str | list[Part], TextOr("a list of parts")]
_PARTS: TypeAdapter[Sequence[Shown]] = TypeAdapter(list[Part])


def stored_part(part: Part) -> StoredPart:
    """A part as it is listed."""
    stored = StoredPart(part.model_dump(exclude_none=True))
    stored.place = part._place
    if isinstance(part, OutputText):
        for name in ("annotations", "logprobs"):
            if name in stored and not isinstance(stored[name], list):
                del stored[name]
        stored.setdefault("annotations", [])
    elif isinstance(part, InputText):
        stored["type"] = "input_text"
    elif isinstance(part, InputImage):
        stored.setdefault("detail", "auto")
    return stored


def plain_of(content: str | Sequence[Mapping[str, Any]]) -> str | list[Plain]:
    """Stored content in the form that chat templates take."""
    if isinstance(content, str):
        return content
    parts = _PARTS.validate_python(content)
    for part, stored in zip(parts, content, strict=True):
        part._place = stored.place if isinstance(stored, StoredPart) else ""
    return plain_content(parts)
