"""An answer as the items of /v1/responses, and the events that tell of them, while it grows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qwill.answer import Answer, StreamDelta
from qwill.engine.request import Sampled
from qwill.server.openai.responses_items import new_id, opaque
from qwill.text.detokenizer import Detokenizer
from qwill.text.parsers.qwen import OPENING, ToolCallScanner
from qwill.text.tokenizer import Tokenizer

Event = dict[str, Any]
TAGS = ("<think>", "</think>")
LEAST_LOGPROB = -9999.0  # JSON has no infinities; clients know this as a token without a chance


@dataclass
class Open:
    """The item that is being written. `texts` go on with its text or with a call's arguments."""

    item: dict[str, Any]
    index: int
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.item["type"])

    def event(self, name: str, **fields: Any) -> Event:
        """About what the item holds."""
        return {"type": f"response.{name}", "item_id": self.item["id"], "output_index": self.index, **fields}

    def whole(self, name: str) -> Event:
        """With the item as it is now."""
        return {"type": f"response.output_item.{name}", "output_index": self.index, "item": dict(self.item)}

    def part(self) -> dict[str, Any]:
        """The one part of its content."""
        text = "".join(self.texts)
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(self.logprobs)}


class Output:
    """Takes an answer's deltas. `items` are those that are complete, or cut off by the answer's end.

    A call that comes to nothing ends as incomplete in the events and is no item: its text stands in a message.
    """

    def __init__(self, tokens: "TextTokens | None", with_opaque: bool) -> None:
        """`tokens`: finds log-probabilities, if they are wanted. `with_opaque`: reasoning comes in that form, too."""
        self.items: list[dict[str, Any]] = []
        self._tokens = tokens
        self._with_opaque = with_opaque
        self._begun = 0
        self._open: Open | None = None

    def take(self, delta: StreamDelta) -> Iterator[Event]:
        """What is new, as events without their numbers. The iterator has to be read to its end."""
        if delta.kind in ("content", "reasoning"):
            yield from self._write("message" if delta.kind == "content" else "reasoning", delta.text)
        elif delta.piece is not None:
            if delta.piece.first:
                yield from self._begin("function_call", call_id=new_id("call"), name=delta.piece.name, arguments="")
            assert self._open is not None
            self._open.texts.append(delta.piece.text)
            yield self._open.event("function_call_arguments.delta", delta=delta.piece.text)
        elif delta.tool_call is not None:
            assert self._open is not None
            self._open.texts = [delta.tool_call.arguments_json]
            if self._tokens is not None:
                self._tokens.skip_call()
            yield from self._end("completed", came_whole=True)
        elif delta.completion is not None:
            cut = delta.completion.finish_reason in ("length", "loop", "error")
            yield from self._end("incomplete" if cut else "completed")

    def _write(self, kind: str, text: str) -> Iterator[Event]:
        if self._open is None or self._open.kind != kind:
            own: dict[str, Any] = {"summary": []} if kind == "reasoning" else {"role": "assistant"}
            yield from self._begin(kind, content=[], **own)
            assert self._open is not None
            yield self._open.event("content_part.added", content_index=0, part=self._open.part())
        self._open.texts.append(text)
        samples = [] if self._tokens is None else self._tokens.take(text)
        if kind == "reasoning":
            yield self._open.event("reasoning_text.delta", content_index=0, delta=text)
        else:
            logprobs = [] if self._tokens is None else [self._tokens.logprob(sample) for sample in samples]
            self._open.logprobs += logprobs
            yield self._open.event("output_text.delta", content_index=0, delta=text, logprobs=logprobs)

    def _begin(self, kind: str, **own: Any) -> Iterator[Event]:
        yield from self._end("completed")
        prefix = {"function_call": "fc", "message": "msg", "reasoning": "rs"}[kind]
        self._open = Open({"id": new_id(prefix), "type": kind, "status": "in_progress", **own}, self._begun)
        self._begun += 1
        yield self._open.whole("added")

    def _end(self, status: str, came_whole: bool = False) -> Iterator[Event]:
        """Ends the item that is open, if one is."""
        done, self._open = self._open, None
        if done is None:
            return
        text = "".join(done.texts)
        if done.kind == "function_call":
            status = "completed" if came_whole else "incomplete"
            done.item["arguments"] = text
            yield done.event("function_call_arguments.done", arguments=text)
        else:
            if done.kind == "reasoning":
                yield done.event("reasoning_text.done", content_index=0, text=text)
                if self._with_opaque:
                    done.item["encrypted_content"] = opaque(text)
            else:
                yield done.event("output_text.done", content_index=0, text=text, logprobs=done.logprobs)
            part = done.part()
            done.item["content"] = [part]
            yield done.event("content_part.done", content_index=0, part=part)
        done.item["status"] = status
        if done.kind != "function_call" or came_whole:
            self.items.append(done.item)
        yield done.whole("done")


class TextTokens:
    """Finds the tokens that spell an answer's texts, between others that spell tags and calls."""

    def __init__(self, answer: Answer, tokenizer: Tokenizer) -> None:
        self._samples = answer.request.samples
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._text = ""
        self._ends: list[int] = []  # where the text of each token ends
        self._position = 0  # in the text: all before it is accounted for
        self._told = 0

    def take(self, text: str) -> list[Sampled]:
        """The tokens of a text that comes next but for tags and what parts them."""
        self._read()
        position = self._position
        while not self._text.startswith(text, position) and position < len(self._text):
            tag = next((tag for tag in TAGS if self._text.startswith(tag, position)), "")
            position += len(tag) or 1
        self._position = position + len(text)
        samples = []
        while self._told < len(self._ends):
            begin = self._ends[self._told - 1] if self._told else 0
            if begin >= self._position:
                break
            if self._ends[self._told] > position or begin >= position:
                samples.append(self._samples[self._told])
            self._told += 1
        return samples

    def skip_call(self) -> None:
        """A tool call comes next."""
        self._read()
        begin = self._text.find(OPENING, self._position) + len(OPENING)
        scanner = ToolCallScanner()
        scanner.feed(self._text[begin:])
        self._position = len(self._text) - len(scanner.rest)

    def logprob(self, sample: Sampled) -> dict[str, Any]:
        """A token with its log-probability, and the likeliest ones of its place."""
        top = [self._token(token, logprob) for token, logprob in sample.top or []]
        return self._token(sample.token, sample.logprob or 0.0) | {"top_logprobs": top}

    def _read(self) -> None:
        for sample in self._samples[len(self._ends) :]:
            self._text += self._detokenizer.push(sample.token)
            self._ends.append(len(self._text))

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        spelled = self._tokenizer.token_bytes(token)
        text = spelled.decode("utf-8", "replace")
        return {"token": text, "bytes": list(spelled), "logprob": max(logprob, LEAST_LOGPROB)}
