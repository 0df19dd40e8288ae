"""Blocks of content in the Anthropic dialect. Those of types that are not known here are taken, too: what the API adds
stands in the history of a conversation from then on."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from qwill.server.documents import Document, as_document
from qwill.server.kinds import ByType
from qwill.server.schemas import Open, Placed

CACHE = frozenset({"cache_control"})
KNOWN = (
    "text", "image", "document", "search_result", "tool_reference", "tool_use", "tool_result", "thinking",
    "redacted_thinking",
)  # fmt: skip


class Piece(Open):
    """A part of a request. What means nothing here is told by its bare name: it stands in many places."""

    def name_of(self, field: str, place: str) -> str:
        return field


class CacheablePiece(Piece):
    """What may say that the prompt up to here is to be cached. Here every prompt is, without being told."""

    IGNORED = CACHE
    cache_control: Any = None


class UnknownBlock(Piece):
    """A block of a type that has no meaning here, whatever stands in it."""

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": list(KNOWN)}})]
    held: SkipJsonSchema[dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _hold(cls, block: Any) -> Any:
        return {"type": block["type"], "held": block} if isinstance(block, dict) else block

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield place + self.type


class TextBlock(CacheablePiece):
    """Text."""

    IGNORED = CACHE | {"citations"}
    type: Literal["text"]
    text: str
    citations: Any = None


class DataSource(Piece):
    """The contents of an image or a document."""

    type: Literal["base64"]
    media_type: str = ""
    data: str


class AddressSource(Piece):
    """An image that the server fetches, or a document, which it does not."""

    type: Literal["url"]
    url: str


class PlainSource(Piece):
    """A document's text."""

    type: Literal["text"]
    media_type: str = "text/plain"
    data: str


class OtherSource(UnknownBlock):
    """An image or a document that cannot be had here, such as one of the files API."""

    type: Annotated[str, Field(json_schema_extra={"not": {"enum": ["base64", "url", "text", "content"]}})]

    @property
    def name(self) -> str:
        """What is known of it."""
        found = (self.held.get(key) for key in ("filename", "file_id"))
        return next((name for name in found if isinstance(name, str)), self.type)

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield from ()


class Transformations(Piece):
    """What happens to an image that is too large."""

    oversized_image: Literal["downsize"] | None = None


class ImageBlock(CacheablePiece, Placed):
    """An image. What cannot be seen gets a note in its place."""

    type: Literal["image"]
    source: Annotated[DataSource | AddressSource | OtherSource, ByType("sources of images", other=OtherSource)]
    transformations: Transformations | None = None

    @property
    def address(self) -> str:
        """Where it is, or its contents; empty for what cannot be had."""
        if isinstance(self.source, DataSource):
            return f"data:{self.source.media_type};base64,{self.source.data}"
        return self.source.url if isinstance(self.source, AddressSource) else ""

    @cached_property
    def document(self) -> Document | None:
        """What it is, where it is no image that can be seen."""
        return as_document(self.address)

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield from super().ignored_fields(place)
        if not (self.document.is_used if self.document is not None else self.address):
            yield place + self.type


class ThinkingBlock(CacheablePiece):
    """Reasoning of an earlier answer."""

    type: Literal["thinking"]
    thinking: str = ""
    signature: str | None = None


class RedactedThinkingBlock(CacheablePiece):
    """Reasoning that only Anthropic's servers can read."""

    type: Literal["redacted_thinking"]
    data: str = ""

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield from super().ignored_fields(place)
        yield "redacted_thinking"


class ToolUseBlock(CacheablePiece):
    """A call in an earlier answer."""

    IGNORED = CACHE | {"caller", "toolset_name"}
    type: Literal["tool_use"]
    id: str
    name: str
    input: Any
    caller: Any = None
    toolset_name: Any = None


class SearchResultBlock(CacheablePiece):
    """A text that was found, and where."""

    IGNORED = CACHE | {"citations"}
    type: Literal["search_result"]
    source: str
    title: str
    content: list[Annotated[TextBlock | UnknownBlock, ByType("blocks", other=UnknownBlock, elsewhere=KNOWN)]]
    citations: Any = None


def as_blocks(content: Any) -> Any:
    """A plain text is short for one block with it."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is not None and not isinstance(content, list):
        raise ValueError("must be a text or a list of blocks")
    return content


TextOrImage = Annotated[TextBlock | ImageBlock | UnknownBlock, ByType("blocks", other=UnknownBlock)]


class BlocksSource(Piece):
    """A document as blocks."""

    type: Literal["content"]
    content: Annotated[list[TextOrImage], BeforeValidator(as_blocks, json_schema_input_type=str | list[TextOrImage])]


class DocumentBlock(CacheablePiece, Placed):
    """A document. Text is read; what is none gets a note in its place."""

    IGNORED = CACHE | {"citations"}
    type: Literal["document"]
    source: Annotated[
        PlainSource | BlocksSource | DataSource | AddressSource | OtherSource,
        ByType("sources of documents", other=OtherSource),
    ]
    title: str | None = None
    context: str | None = None
    citations: Any = None

    @cached_property
    def document(self) -> Document | None:
        """Its contents; None for what comes as text or as blocks."""
        name, context = self.title or "", self.context or ""
        if isinstance(self.source, OtherSource):
            return Document(name=name or self.source.name, context=context)
        if isinstance(self.source, AddressSource):
            return Document(name=name or self.source.url, context=context)
        if isinstance(self.source, DataSource):
            return Document(self.source.data, self.source.media_type, name, context)
        return None

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield from super().ignored_fields(place)
        if self.document is not None and not self.document.is_used:
            yield place + self.type


class ToolReferenceBlock(CacheablePiece):
    """The name of a tool that a search found."""

    type: Literal["tool_reference"]
    tool_name: str


ResultBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock | UnknownBlock,
    ByType("a result's blocks", other=UnknownBlock, elsewhere=("tool_use", "tool_result")),
]


class ToolResultBlock(CacheablePiece):
    """What a call gave."""

    IGNORED = CACHE | {"toolset_name"}
    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[
        list[ResultBlock] | None, BeforeValidator(as_blocks, json_schema_input_type=str | list[ResultBlock] | None)
    ] = None
    is_error: bool | None = None
    toolset_name: Any = None


UserBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock | ToolResultBlock | UnknownBlock,
    ByType("a user's blocks", other=UnknownBlock, elsewhere=("tool_use", "thinking", "redacted_thinking")),
]
AssistantBlock = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | UnknownBlock,
    ByType("an assistant's blocks", other=UnknownBlock, elsewhere=("tool_result",)),
]
SystemBlock = Annotated[
    TextBlock | UnknownBlock, ByType("a system prompt's blocks", other=UnknownBlock, elsewhere=KNOWN)
]
SystemBlocks = Annotated[list[SystemBlock], BeforeValidator(as_blocks, json_schema_input_type=str | list[SystemBlock])]
