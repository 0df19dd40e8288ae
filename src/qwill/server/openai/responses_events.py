"""An answer as the items of /v1/responses, and the events that tell of them, while it grows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qwill.answer import Answer, StreamDelta, TokenLogprob
from qwill.server.custom_tools import begun_input
from qwill.server.logprobs import entry
from qwill.server.openai.responses_items import new_id, opaque
from qwill.server.tools import CUSTOM, FUNCTION, Known
from qwill.text.tokenizer import Tokenizer

Event = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How an item tells a text: its kind, the prefix of its id, where in it the text's part stands, and the words of
    the events about the part and about its text."""

    kind: str
    prefix: str
    place: str
    part: str
    text: str
    part_kind: str

    @property
    def index(self) -> str:
        """What events call the part's number, which is always 0: an item has one part."""
        return f"{self.place}_index"


MESSAGE = Form("message", "msg", "content", "content_part", "output_text", "output_text")
REASONING = Form("reasoning", "rs", "content", "content_part", "reasoning_text", "reasoning_text")
SUMMARY = Form("reasoning", "rs", "summary", "reasoning_summary_part", "reasoning_summary_text", "summary_text")


@dataclass
class Open:
    """The item that is being written. `texts` go on with its text, or with a call's arguments where `form` is None; the
    input of a custom tool is told whole, once the item ends."""

    item: dict[str, Any]
    number: int
    form: Form | None
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def event(self, name: str, **fields: Any) -> Event:
        """About a part of the item."""
        place = {} if self.form is None else {self.form.index: 0}
        return {"type": f"response.{name}", "item_id": self.item["id"], "output_index": self.number, **place, **fields}

    def whole(self, name: str) -> Event:
        """With the item as it is now."""
        return {"type": f"response.output_item.{name}", "output_index": self.number, "item": dict(self.item)}

    @property
    def is_custom(self) -> bool:
        """Whether the item is a call of a custom tool."""
        return self.item["type"] == "custom_tool_call"

    def part(self, form: Form) -> dict[str, Any]:
        """The text as it is now."""
        part = {"type": form.part_kind, "text": "".join(self.texts)}
        return part | {"annotations": [], "logprobs": list(self.logprobs)} if form is MESSAGE else part


class Output:
    """Takes an answer's deltas. `items` are those that are complete, or cut off by the answer's end.

    A call that turns out to be none ends as incomplete in the events and is no item: its text stands in a message.
    """

    def __init__(
        self,
        tokens: "TextTokens | None",
        as_summary: bool = False,
        with_opaque: bool = False,
        told_as: Mapping[str, Known] | None = None,
    ) -> None:
        """`tokens`: finds log-probabilities, if they are wanted. `as_summary`: reasoning is told as its own summary.
        `with_opaque`: it comes in its opaque form, too. `told_as`: the client's tools by the names of calls."""
        self.items: list[dict[str, Any]] = []
        self._tokens = tokens
        self._reasoning = SUMMARY if as_summary else REASONING
        self._with_opaque = with_opaque
        self._told_as = told_as or {}
        self._begun = 0
        self._open: Open | None = None

    def take(self, delta: StreamDelta) -> Iterator[Event]:
        """What is new, as events without their numbers. The iterator has to be read to its end."""
        if delta.kind in ("content", "reasoning"):
            yield from self._write(MESSAGE if delta.kind == "content" else self._reasoning, delta)
        elif delta.piece is not None:
            if delta.piece.first:
                yield from self._begin(None, self._called(delta.piece.name))
            assert self._open is not None
            self._open.texts.append(delta.piece.text)
            if not self._open.is_custom:
                yield self._open.event("function_call_arguments.delta", delta=delta.piece.text)
        elif delta.tool_call is not None:
            assert self._open is not None
            self._open.texts = [delta.tool_call.arguments_json]
            yield from self._end("completed", is_call=True)
        elif delta.completion is not None:
            cut = delta.completion.finish_reason in ("length", "loop", "error")
            if cut and not self._begun:  # clients look for the item that was cut off
                yield from self._write(MESSAGE, StreamDelta("content"))
            yield from self._end("incomplete" if cut else "completed", is_call=True)

    def _called(self, name: str) -> dict[str, Any]:
        """A call of the tool that has this name for the model, as the client knows it."""
        tool = self._told_as.get(name) or Known(FUNCTION, name)
        kind, field = ("custom_tool_call", "input") if tool.kind == CUSTOM else ("function_call", "arguments")
        space = {} if tool.namespace is None else {"namespace": tool.namespace}
        return {"type": kind, "call_id": new_id("call"), "name": tool.name, **space, field: ""}

    def _write(self, form: Form, delta: StreamDelta) -> Iterator[Event]:
        if self._open is None or self._open.form is not form:
            own: dict[str, Any] = {"role": "assistant"} if form is MESSAGE else {"summary": []}
            yield from self._begin(form, {"type": form.kind, "content": [], **own})
            assert self._open is not None
            yield self._open.event(f"{form.part}.added", part=self._open.part(form))
        self._open.texts.append(delta.text)
        logprobs = [] if self._tokens is None else self._tokens.take(delta)
        more: dict[str, Any] = {}
        if form is MESSAGE:
            self._open.logprobs += logprobs
            more = {"logprobs": logprobs}
        yield self._open.event(f"{form.text}.delta", delta=delta.text, **more)

    def _begin(self, form: Form | None, item: dict[str, Any]) -> Iterator[Event]:
        yield from self._end("completed")
        prefix = form.prefix if form is not None else "ctc" if item["type"] == "custom_tool_call" else "fc"
        identity = new_id(prefix)
        self._open = Open({"id": identity, "status": "in_progress", **item}, self._begun, form)
        self._begun += 1
        yield self._open.whole("added")

    def _end(self, status: str, is_call: bool = False) -> Iterator[Event]:
        """Ends the item that is open, if one is. `is_call`: if it is a call, it is no mere text that began like one."""
        done, self._open = self._open, None
        if done is None:
            return
        form, text = done.form, "".join(done.texts)
        if form is None:
            status = status if is_call else "incomplete"
            if done.is_custom:
                text = done.item["input"] = begun_input(text)
                yield from [done.event("custom_tool_call_input.delta", delta=text)] if text else []
                yield done.event("custom_tool_call_input.done", input=text)
            else:
                done.item["arguments"] = text
                yield done.event("function_call_arguments.done", arguments=text)
        else:
            part = done.part(form)
            done.item[form.place] = [part]
            if form is not MESSAGE and self._with_opaque:
                done.item["encrypted_content"] = opaque(text)
            more = {"logprobs": done.logprobs} if form is MESSAGE else {}
            yield done.event(f"{form.text}.done", text=text, **more)
            yield done.event(f"{form.part}.done", part=part)
        done.item["status"] = status
        if form is not None or is_call:
            self.items.append(done.item)
        yield done.whole("done")


class TextTokens:
    """Finds the tokens that spell an answer's texts, between others that spell tags and calls."""

    def __init__(self, answer: Answer, tokenizer: Tokenizer) -> None:
        self._samples = answer.request.samples
        self._ends = answer.token_ends
        self._tokenizer = tokenizer
        self._told = 0

    def take(self, delta: StreamDelta) -> list[dict[str, Any]]:
        """The tokens of a text that comes next but for tags, calls and what parts them, with their
        log-probabilities."""
        start = delta.end - len(delta.text)
        samples = []
        while self._told < len(self._ends):
            begin = self._ends[self._told - 1] if self._told else 0
            if begin >= delta.end:
                break
            if self._ends[self._told] > start or begin >= start:
                samples.append(self._samples[self._told])
            self._told += 1
        return [entry(self._tokenizer, TokenLogprob(one.token, one.logprob or 0.0, one.top or [])) for one in samples]
