"""Content of messages in the OpenAI form, as chat completions have it and many of Ollama's clients: its parts, and what
a chat template gets of them."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from qwill.server.documents import Document, as_document, audio_note, joined, medium, picture_note
from qwill.server.kinds import ByType, TextOr
from qwill.server.schemas import ImageAddress, Open, Placed, VideoAddress

Plain = dict[str, Any]  # a part as templates take it


class Shown(Placed):
    """A part of a type of its own. What the model gets no use of is told by the header."""

    type: str

    @abstractmethod
    def plain(self) -> list[Plain]:
        """What a template gets of it."""

    @property
    def is_used(self) -> bool:
        """Whether the model sees what it is for."""
        return True

    @property
    def is_apart(self) -> bool:
        """Whether it stands on lines of its own."""
        return False

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield from super().ignored_fields(place)
        if not self.is_used:
            yield place + self.type


class Words(Shown):
    """Text, in whatever form it comes."""

    text: str

    def plain(self) -> list[Plain]:
        return [{"type": "text", "text": self.text}]


class TextPart(Words):
    """Text."""

    type: Literal["text", "input_text", "output_text"]


class RefusalPart(Shown):
    """An earlier answer that declined."""

    type: Literal["refusal"]
    refusal: str

    def plain(self) -> list[Plain]:
        return [{"type": "text", "text": self.refusal}]


class Thought(Open):
    """A piece of reasoning."""

    text: str = ""


class ThoughtPart(Shown):
    """Reasoning of an earlier answer, as a part of it."""

    type: Literal["thinking", "reasoning"]
    thinking: Annotated[str | list[Thought], TextOr("a list of texts")] | None = None
    reasoning: str | None = None
    text: str | None = None

    @property
    def thought(self) -> str:
        """What it says, under any of its names."""
        told = self.thinking or self.reasoning or self.text or ""
        return told if isinstance(told, str) else "".join(piece.text for piece in told)

    def plain(self) -> list[Plain]:
        return [{"type": "text", "text": self.thought}]


class Picture(Shown):
    """An image, in whatever form it comes. One that cannot be seen gets a note in its place."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it is: a `data:` address, or one that the server fetches. Empty where there is none."""

    @property
    def name(self) -> str:
        """What is known of one without an address."""
        return ""

    @cached_property
    def document(self) -> Document | None:
        """What it is, where it is no image that can be seen."""
        return as_document(self.address)

    def plain(self) -> list[Plain]:
        if self.document is not None:
            return self.document.parts(self._place)
        if not self.address:
            return [picture_note(self.name)]
        return [medium("image", self.address, self._place)]

    @property
    def is_used(self) -> bool:
        return self.document.is_used if self.document is not None else bool(self.address)

    @property
    def is_apart(self) -> bool:
        return self.document is not None or not self.address

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not self.address and not self.name:
            raise ValueError(f"a part of type {self.type} needs the address of an image")
        return self


class ImagePart(Picture):
    """An image by its address."""

    type: Literal["image_url", "image", "input_image"]
    image_url: Annotated[ImageAddress | str, TextOr("an object with a url")] | None = None
    image: str | None = None
    file_id: str | None = None

    @property
    def address(self) -> str:
        given = self.image_url or self.image or ""
        return given if isinstance(given, str) else given.url

    @property
    def name(self) -> str:
        return self.file_id or ""


class VideoPart(Shown):
    """A video: a `data:` address, or one that the server fetches."""

    type: Literal["video_url", "video"]
    video_url: Annotated[VideoAddress | str, TextOr("an object with a url")] | None = None
    video: str | None = None

    @property
    def address(self) -> str:
        """Where it is; empty where nothing is said."""
        given = self.video_url or self.video or ""
        return given if isinstance(given, str) else given.url

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not self.address:
            raise ValueError(f"a part of type {self.type} needs the address of a video")
        return self

    def plain(self) -> list[Plain]:
        return [medium("video", self.address, self._place)]


class FileContents(Open):
    """A document: its contents in base64 or as a `data:` address, or the number of one that is kept elsewhere."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class File(Shown):
    """A document, in whatever form it comes. Text is read; what is none gets a note in its place."""

    @property
    @abstractmethod
    def document(self) -> Document:
        """What it holds."""

    def plain(self) -> list[Plain]:
        return self.document.parts(self._place)

    @property
    def is_used(self) -> bool:
        return self.document.is_used

    @property
    def is_apart(self) -> bool:
        return True


class FilePart(File):
    """A document."""

    type: Literal["file"]
    file: FileContents

    @cached_property
    def document(self) -> Document:
        return Document(self.file.file_data or "", name=self.file.filename or self.file.file_id or "")


class Audio(Open):
    """A sound."""

    data: Any = None
    format: str | None = None


class AudioPart(Shown):
    """A sound, which gets a note in its place."""

    type: Literal["input_audio"]
    input_audio: Audio

    def plain(self) -> list[Plain]:
        return [audio_note(self.input_audio.format or "")]

    @property
    def is_used(self) -> bool:
        return False

    @property
    def is_apart(self) -> bool:
        return True


Part = Annotated[
    TextPart | RefusalPart | ThoughtPart | ImagePart | VideoPart | FilePart | AudioPart, ByType("content parts")
]
Content = Annotated[str | list[Part], TextOr("a list of parts")]


def without_thoughts(content: str | Sequence[Shown]) -> tuple[str, str | Sequence[Shown]]:
    """The reasoning among the parts of an answer, and the other parts."""
    if isinstance(content, str):
        return "", content
    thoughts = [part.thought for part in content if isinstance(part, ThoughtPart)]
    return "".join(thoughts), [part for part in content if not isinstance(part, ThoughtPart)]


def plain_content(content: str | Sequence[Shown]) -> str | list[Plain]:
    """Content as templates take it. Documents and notes stand on lines of their own."""
    if isinstance(content, str):
        return content
    return joined((part.plain(), part.is_apart) for part in content)
