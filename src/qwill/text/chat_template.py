"""Chat templates: a conversation in the OpenAI form becomes the text that the model was trained on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from qwill.errors import TemplateError
from qwill.text.prompt import PLACEHOLDERS, Marker, MediaPart, RenderedPrompt

# For checkpoints without a template: the same format in our own words.
DEFAULT_TEMPLATE = Path(__file__).with_name("default_template.jinja").read_text(encoding="utf-8")

# What the operations of a template raise by themselves.
_FAILURES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError, MemoryError)
_SYSTEM_ROLES = ("system", "developer")
_QUESTION = "<|im_start|>user\n{}<|im_end|>\n"
_ARGUMENTS = "arguments"
_OPENING, _CLOSING = "<think>", "</think>"
MEDIA_KINDS = {"image": "image", "image_url": "image", "video": "video", "video_url": "video"}


@dataclass(frozen=True)
class BegunAnswer:
    """The beginning of an answer that the model is to go on with. With content its reasoning is over."""

    reasoning: str
    content: str

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "BegunAnswer":
        """From an assistant's message. Raises TemplateError for what no answer can go on from."""
        if message.get("tool_calls"):
            raise TemplateError("an answer cannot go on after tool calls; send their results instead")
        prepared = _prepare(message, "the last message", [])
        if _has_media(prepared):
            raise TemplateError("the beginning of an answer cannot hold images or videos")
        return cls(_plain_text(prepared.get("reasoning_content")), _plain_text(prepared.get("content")))


class ChatTemplate:
    """A compiled template. `added_tokens` are the texts that only the template itself may turn into control tokens."""

    def __init__(self, source: str, added_tokens: Iterable[str]) -> None:
        """Raises TemplateError when `source` does not compile."""
        import jinja2

        from qwill.text.sandbox import TemplateEnvironment

        self._source = source
        self._environment = TemplateEnvironment()
        self._marker = Marker([*added_tokens, *PLACEHOLDERS])
        try:
            self._template = self._environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            raise TemplateError(f"the chat template does not compile{line}: {_one_line(error)}") from error

    @cached_property
    def variables(self) -> frozenset[str]:
        """What the template asks for by name."""
        from jinja2 import meta

        return frozenset(meta.find_undeclared_variables(self._environment.parse(self._source)))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        enable_thinking: bool = True,
        merge_system: bool = True,
        begun: "BegunAnswer | None" = None,
        **variables: Any,
    ) -> RenderedPrompt:
        """Render a conversation.

        `messages` have a role and content (a string, or parts of type text, image, image_url, video, video_url);
        reasoning may come as `reasoning_content` or `reasoning`, the arguments of a tool call as JSON text, as a
        mapping, or as any text that came of them. With `merge_system` all system (and developer) messages are joined,
        in order, into one at the beginning. `begun` is what the answer to come begins with. `variables` are handed to
        the template as they are. Conversations without a user's message, which some templates refuse, are rendered all
        the same. Raises TemplateError for what the template refuses or cannot do.
        """
        for index, tool in enumerate(tools or []):
            function = tool.get("function", tool) if isinstance(tool, Mapping) else None
            if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
                raise TemplateError(f"tools[{index}] is not an object with a function name")
        media: list[MediaPart] = []
        prepared = [_prepare(message, f"messages[{index}]", media) for index, message in enumerate(messages)]
        if merge_system:
            prepared = _merge_system(prepared)
        given = {**variables, "tools": list(tools) if tools else None}
        mark = self._marker.choose_mark(
            [prepared, given, [begun.reasoning, begun.content] if begun else []], self._source
        )
        settings = {
            **self._marker.apply(given, mark),
            "add_generation_prompt": add_generation_prompt,
            "enable_thinking": enable_thinking,
        }
        protected = [self._protect(message, mark) for message in prepared]
        try:
            text = self._run(protected, settings)
        except TemplateError as refused:
            if any(message["role"] == "user" for message in prepared):
                raise
            try:
                text = self._without_question(protected, settings)
            except TemplateError:
                raise refused from None
        inside = False
        if begun is not None:
            opened = text.rstrip().endswith(_OPENING)
            text += self._beginning(begun, opened, mark)
            inside = opened and not begun.content
        return RenderedPrompt(text, mark, tuple(media), inside)

    def _run(self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
        """What the template writes. Raises TemplateError."""
        from jinja2 import TemplateError as JinjaError

        from qwill.text.sandbox import render

        try:
            return render(self._template, {**settings, "messages": list(messages)})
        except JinjaError as error:
            raise TemplateError(f"the chat template refused the conversation: {_one_line(error)}") from error
        except _FAILURES as error:
            raise TemplateError(f"the chat template failed: {type(error).__name__}: {_one_line(error)}") from error

    def _without_question(self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
        """What the template writes of a conversation that no user's message has begun, as after a summary of it.

        Templates that look for one get one, and its text is taken out again. Raises TemplateError where it cannot be
        told from the rest.
        """
        given = f"{self._source}{messages}{settings}"
        question = next(word for number in count() if (word := f"question{number}") not in given)
        place = next((index for index, message in enumerate(messages) if message["role"] != "system"), len(messages))
        text = self._run([*messages[:place], {"role": "user", "content": question}, *messages[place:]], settings)
        pieces = text.split(_QUESTION.format(question))
        if len(pieces) != 2 or question in "".join(pieces):
            raise TemplateError("the question that was put in cannot be taken out")
        return "".join(pieces)

    def _beginning(self, begun: "BegunAnswer", opened: bool, mark: str) -> str:
        """What follows the header of the answer."""
        content = self._marker.apply(begun.content, mark)
        if not opened:
            return content
        closing = f"\n{_CLOSING}\n\n{content}" if content else ""
        return self._marker.apply(begun.reasoning, mark) + closing

    def _protect(self, message: dict[str, Any], mark: str) -> dict[str, Any]:
        protected = self._marker.apply(message, mark)
        if mark and message["role"] == "assistant" and not isinstance(message.get("reasoning_content"), str):
            content = message.get("content")
            if isinstance(content, str):
                protected["content"] = self._marker.apply_answer(content, mark)
            elif content:
                protected["content"] = [
                    {**part, "text": self._marker.apply_answer(part["text"], mark)} if part["type"] == "text" else part
                    for part in content
                ]
        return protected


def _prepare(message: Mapping[str, Any], name: str, media: list[MediaPart]) -> dict[str, Any]:
    """A copy in the one form that templates expect; its images and videos are appended to `media`."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise TemplateError(f"{name} is not an object with a role")
    prepared = dict(message)
    if "content" in prepared:
        prepared["content"] = _prepare_content(prepared["content"], f"{name}.content", media)
    reasoning = prepared.pop("reasoning", None)
    if prepared.get("reasoning_content") is None:
        prepared.pop("reasoning_content", None)
        if reasoning is not None:
            prepared["reasoning_content"] = reasoning
    if prepared.get("tool_calls"):
        prepared["tool_calls"] = [
            _prepare_tool_call(call, f"{name}.tool_calls[{index}]") for index, call in enumerate(prepared["tool_calls"])
        ]
    return prepared


def part_kind(part: Mapping[str, Any]) -> Any:
    """What a content part says it is, or else what it has: text, image, image_url, video or video_url."""
    return part.get("type") or next((key for key in ("text", *MEDIA_KINDS) if key in part), None)


def part_source(part: Mapping[str, Any], kind: str) -> Any:
    """What an image's or video's part points at: an address, a path, bytes or a picture; None if nothing."""
    source = next((part[key] for key in (f"{kind}_url", kind, "url", "path") if part.get(key)), None)
    return source.get("url") if isinstance(source, Mapping) else source


def _prepare_content(content: Any, name: str, media: list[MediaPart]) -> Any:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
        raise TemplateError(f"{name} is neither text nor a list of parts")
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        kind = part_kind(part)
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind in MEDIA_KINDS:
            media.append(MediaPart(MEDIA_KINDS[kind], part))
            parts.append({"type": MEDIA_KINDS[kind], MEDIA_KINDS[kind]: ""})
        else:
            raise TemplateError(f"{name}[{index}] is of type {kind!r}; use text, image_url or video_url")
    return parts


def _prepare_tool_call(call: Any, name: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise TemplateError(f"{name} is not an object")
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _prepare_tool_call(call["function"], f"{name}.function")}
    if not isinstance(call.get("name"), str):
        raise TemplateError(f"{name} has no function name")
    if "arguments" not in call:
        return dict(call)
    return {**call, "arguments": _arguments(call["arguments"])}


def _arguments(given: Any) -> dict[str, Any]:
    """A call's arguments by their names. What is no JSON object, such as a call that was cut off, is shown as it came:
    as the text of one argument, the only place that templates have for it."""
    arguments = given
    if isinstance(given, str):
        try:
            arguments = json.loads(given or "{}")
        except (ValueError, RecursionError):
            return {_ARGUMENTS: given}
    if arguments is None:
        return {}
    if isinstance(arguments, Mapping):
        return dict(arguments)
    return {_ARGUMENTS: given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)}


def _has_media(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part["type"] != "text" for part in content)


def _merge_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One system message at the beginning with the text of all of them, a blank line between; agents send several."""
    system = [message for message in messages if message["role"] in _SYSTEM_ROLES]
    if not system:
        return messages
    if any(_has_media(message) for message in system):
        raise TemplateError("a system message cannot hold images or videos; put them into a user message")
    texts = [_plain_text(message.get("content")) for message in system]
    merged = {**system[0], "role": "system", "content": "\n\n".join(text for text in texts if text)}
    return [merged, *(message for message in messages if message["role"] not in _SYSTEM_ROLES)]


def _plain_text(content: Any) -> str:
    return "".join(part["text"] for part in content) if isinstance(content, list) else content or ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
