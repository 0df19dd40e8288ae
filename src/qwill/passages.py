"""What models read when they are measured: plain texts in pieces of one length, conversations, pictures."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwill.engine.request import Request
from qwill.errors import InvalidArgument, UserError
from qwill.llm import LLM
from qwill.prompt import Message, PromptOptions

CONVERSATIONS = ".jsonl"


def context_for(files: Sequence[str | Path], context: int, images: Sequence[str | Path] = ()) -> int | None:
    """The `max_context` that a model needs to read them; None, the model's own, where conversations are among them."""
    has_conversations = bool(images) or any(Path(file).suffix == CONVERSATIONS for file in files)
    return None if has_conversations else context + 1


def read_passages(
    llm: LLM, files: Sequence[str | Path], context: int, images: Sequence[str | Path] = (), most: int | None = None
) -> list[Request]:
    """Requests that were never added to an engine, for `Engine.read`; at most `most`.

    A file is UTF-8 text, cut into pieces of `context` tokens, of which a rest is left out unless it is all there is; or
    `.jsonl`, whose lines are conversations in the OpenAI form: a list of messages, or an object with `messages` and
    `tools`. An image is a conversation of its own. In plain texts nothing is a control token.
    Raises UserError, which names the file and the line.
    """
    found: list[Request] = []
    for request in _all(llm, files, context, images):
        if most is not None and len(found) == most:
            break
        found.append(request)
    if not found:
        raise InvalidArgument("nothing to read; give a text with -f FILE")
    return found


def _all(llm: LLM, files: Iterable[str | Path], context: int, images: Iterable[str | Path]) -> Iterator[Request]:
    for file in map(Path, files):
        text = _text(file)
        yield from (
            _conversations(llm, file, text) if file.suffix == CONVERSATIONS else _pieces(llm, file, text, context)
        )
    for image in images:
        yield _conversation(llm, [{"role": "user", "content": [{"type": "image", "image": str(image)}]}], None)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")  # line ends as they are
    except OSError as error:
        raise InvalidArgument(f"{file}: {error.strerror}; give a text file") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{file}: is not UTF-8 text") from error


def _pieces(llm: LLM, file: Path, text: str, context: int) -> Iterator[Request]:
    if llm.tokenizer is None:
        raise InvalidArgument(f"{llm.checkpoint.path}: has no tokenizer; add its tokenizer.json")
    token_ids = llm.tokenizer.encode(text)
    if len(token_ids) < 2:
        raise InvalidArgument(f"{file}: has no text to read")
    last = max(len(token_ids) - context, 0)
    for first in range(0, last + 1, context):
        yield llm.answer(token_ids[first : first + context]).request


def _conversations(llm: LLM, file: Path, text: str) -> Iterator[Request]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _conversation(llm, *_messages(line))
        except UserError as error:
            raise type(error)(f"{file}, line {number}: {error}") from error


def _messages(line: str) -> tuple[list[Message], list[Mapping[str, Any]] | None]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InvalidArgument(f"is no JSON ({error})") from error
    tools = value.get("tools") if isinstance(value, dict) else None
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise InvalidArgument('is neither a list of messages nor an object with "messages"')
    if tools is not None and not isinstance(tools, list):
        raise InvalidArgument('"tools" is no list')
    return messages, tools


def _conversation(llm: LLM, messages: list[Message], tools: list[Mapping[str, Any]] | None) -> Request:
    """An answer at the end belongs to what is read."""
    answered = bool(messages) and messages[-1].get("role") == "assistant" and not messages[-1].get("tool_calls")
    return llm.reply(messages, tools=tools, options=PromptOptions(go_on=answered)).request
