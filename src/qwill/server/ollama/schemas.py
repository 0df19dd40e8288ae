"""The bodies of Ollama's API."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from qwill.effort import EFFORTS
from qwill.server.content import Content, ImagePart
from qwill.server.kinds import member, told_apart
from qwill.server.schemas import Function, Number, Open, Placed, Schema, Strict, other_than, type_of
from qwill.server.tools import FUNCTION, Given, Known


class OllamaOptions(Open):
    """How an answer is sampled. Others of Ollama's options are taken and mean nothing: many clients send all that they
    know, whatever the model."""

    IGNORED = frozenset({"num_ctx"})
    num_ctx: Any = None
    temperature: Number | None = None
    top_k: int | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    seed: int | None = None
    num_predict: int | None = None
    stop: str | list[str] | None = None


class OllamaFunctionCall(Open):
    """A function and its arguments."""

    index: int | None = None
    name: str
    arguments: Any = Field(default_factory=dict)


class OllamaToolCall(Open):
    """A call in an earlier answer."""

    id: str | None = None
    type: Literal["function"] | None = None
    index: int | None = None
    function: OllamaFunctionCall


class OllamaMessage(Placed):
    """A message of a conversation. Images are files in base64, or their `data:` addresses. What clients of OpenAI's API
    call otherwise is taken, too: content in parts, reasoning, and a tool's `name`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    thinking: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    images: list[str] | None = None
    tool_calls: list[OllamaToolCall] | None = None
    tool_name: str | None = None
    name: Any = None
    tool_call_id: str | None = None

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        yield from super().ignored_fields(place)
        if self.name is not None and self.name != self.tool:
            yield f"{place}name"
        if not all(picture.is_used for picture in self.pictures):
            yield f"{place}images"

    @cached_property
    def pictures(self) -> list[ImagePart]:
        """The images by their addresses, each knowing its place."""
        pictures = [
            ImagePart(type="image", image=image if image[:5].lower() == "data:" else f"data:image/any;base64,{image}")
            for image in self.images or []
        ]
        for number, picture in enumerate(pictures):
            picture._place = f"{self._place}.images.{number}".removeprefix(".")
        return pictures

    @property
    def tool(self) -> str | None:
        """Which tool's result it is."""
        if self.role == "tool" and not self.tool_name and isinstance(self.name, str):
            return self.name
        return self.tool_name


class OllamaTool(Open):
    """A function that the model may call."""

    type: Literal["function"] | None = None
    function: Function

    def given(self) -> Given:
        """The tool without words of this dialect."""
        about = self.function.model_dump(exclude={"name"}, exclude_none=True)
        return Given(Known(FUNCTION, self.function.name), about)


def _kind_of_tool(value: Any) -> str:
    return "function" if (type_of(value) or "function") == "function" else "other"


Tool = Annotated[
    Annotated[OllamaTool, member("function")] | Annotated[dict[str, Any], other_than("function"), member("other")],
    told_apart(_kind_of_tool, ""),
]


class OllamaRequest(Strict):
    """What both generating requests may say. Answers are streamed unless `stream` is false. Unknown fields are told by
    the answer's header, as Ollama takes them: its clients send what other servers know."""

    model_config = ConfigDict(extra="allow")
    IGNORED = frozenset({"truncate", "shift"})
    model: str | None = None
    stream: bool | None = None
    format: Literal["", "json"] | Schema | None = None
    options: OllamaOptions | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    keep_alive: float | str | None = None
    truncate: Any = None
    shift: Any = None

    @field_validator("think", mode="before")
    @classmethod
    def _check_think(cls, value: Any) -> Any:
        """One complaint, where pydantic would have one for each type."""
        if value is None or isinstance(value, bool) or value in EFFORTS:
            return value
        raise ValueError(f"must be true, false, {', '.join(EFFORTS[:-1])} or {EFFORTS[-1]}")

    @field_validator("format", mode="before")
    @classmethod
    def _check_format(cls, value: Any) -> Any:
        if value is None or isinstance(value, dict) or value in ("", "json"):
            return value
        raise ValueError("must be json or a JSON schema")


class OllamaChatRequest(OllamaRequest):
    """A conversation whose next message is wanted. Without messages, the model is loaded."""

    messages: list[OllamaMessage] | None = None
    tools: list[Tool] | None = None


class OllamaGenerateRequest(OllamaRequest):
    """A question, or with `raw` a text that is continued as it stands. Without either, the model is loaded."""

    IGNORED = OllamaRequest.IGNORED | {"context", "width", "height", "steps"}
    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    context: Any = None
    width: Any = None
    height: Any = None
    steps: Any = None


class OllamaShowRequest(Strict):
    """The model to tell of; older clients call it `name`."""

    model_config = ConfigDict(extra="allow")
    IGNORED = frozenset({"verbose", "system", "template", "options"})
    model: str | None = None
    name: str | None = None
    verbose: bool | None = None
    system: Any = None
    template: Any = None
    options: Any = None
