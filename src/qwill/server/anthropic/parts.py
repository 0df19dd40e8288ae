"""From Anthropic's blocks to the parts of a message that chat templates take."""

from typing import Any

from qwill.server.anthropic.blocks import (
    BlocksSource,
    DocumentBlock,
    ImageBlock,
    OtherSource,
    PlainSource,
    SearchResultBlock,
    ToolReferenceBlock,
    UnknownBlock,
)
from qwill.server.documents import Document, Part, joined, medium, picture_note, texts, words_of

MOST_LETTERS = 100  # of a type that is not known


def parts_of(block: Any) -> list[Part]:
    """A block as parts, of which each is text or an image. What has nothing for the model is none."""
    if isinstance(block, ImageBlock):
        return _image(block)
    if isinstance(block, DocumentBlock):
        return _document(block)
    if isinstance(block, SearchResultBlock):
        return texts(block.title, block.source, *(part["text"] for text in block.content for part in parts_of(text)))
    if isinstance(block, ToolReferenceBlock):
        return texts(f"The tool {block.tool_name} can be called.")
    if isinstance(block, UnknownBlock):
        return _unknown(block)
    return texts(block.text)


def is_left_out(block: Any) -> bool:
    """Whether a block has nothing for the model."""
    return isinstance(block, UnknownBlock) and not parts_of(block)


def _image(block: ImageBlock) -> list[Part]:
    if block.document is not None:
        return block.document.parts(block._place)
    if isinstance(block.source, OtherSource):
        return [picture_note(block.source.name)]
    return [medium("image", block.address, block._place)]


def _document(block: DocumentBlock) -> list[Part]:
    if block.document is not None:
        return block.document.parts(block._place)
    head = texts(block.title, block.context)
    if isinstance(block.source, BlocksSource):
        return joined((part, True) for part in (head, *(parts_of(inner) for inner in block.source.content)))
    assert isinstance(block.source, PlainSource)
    return head + texts(block.source.data)


def _unknown(block: UnknownBlock) -> list[Part]:
    """What a reader would find in it, under its type; a note of a file."""
    words, file_id = words_of(block.held), block.held.get("file_id")
    if words:
        return texts(f"[{' '.join(block.type[:MOST_LETTERS].split())}]", words)
    return Document(name=file_id).parts() if isinstance(file_id, str) and file_id else []
