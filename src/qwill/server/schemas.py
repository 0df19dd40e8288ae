"""What requests may hold in all dialects: strict models, and values that several fields share."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Schema = dict[str, Any]


class Strict(BaseModel):
    """Unknown fields are refused, so that nothing that a client asks for is dropped in silence.

    `ignored_fields` are those that clients send and that mean nothing here; the answer's `x-qwill-ignored` header
    names those that came.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    def ignored(self, names: frozenset[str]) -> list[str]:
        """Which of those fields came with a value."""
        return sorted(name for name in names & self.model_fields_set if getattr(self, name) is not None)


class Problem(BaseModel):
    """Why a request was refused."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Refused(BaseModel):
    """The body of a refusal."""

    error: Problem


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refused, "description": "something in the request is wrong"},
    401: {"model": Refused, "description": "the API key is missing or wrong"},
    403: {"model": Refused, "description": "asked from a host or a page that may not"},
    404: {"model": Refused, "description": "no such model or address"},
    405: {"model": Refused, "description": "the address takes other methods"},
    408: {"model": Refused, "description": "the body did not come in time"},
    413: {"model": Refused, "description": "the body is too large"},
    415: {"model": Refused, "description": "the body is not JSON, or packed in an unknown way"},
    429: {"model": Refused, "description": "too much at once; come again after Retry-After seconds"},
    503: {"model": Refused, "description": "shutting down, or without the memory for the model"},
}


def answered(model: type[BaseModel], streams: str | None = None) -> dict[int | str, dict[str, Any]]:
    """What a route's documentation says of its answers: their form, the media type of streamed ones, and REFUSALS."""
    answer: dict[str, Any] = {"model": model, "description": "the answer"}
    if streams is not None:
        # FastAPI documents one schema for a stream; for server-sent events that of each of them.
        answer["content"] = {streams: {"schema": {"type": "object", "description": "one of the events"}}}
    return {200: answer, **REFUSALS}


class ImageAddress(Strict):
    """An image: a `data:` address, or one that the server fetches."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class VideoAddress(Strict):
    """A video: a `data:` address, or one that the server fetches."""

    url: str


class Part(Strict):
    """A piece of a message's content."""

    type: Literal["text", "image_url", "image", "video_url", "video", "refusal", "input_text", "output_text"]
    text: str | None = None
    refusal: str | None = None
    image_url: ImageAddress | str | None = None
    image: str | None = None
    video_url: VideoAddress | str | None = None
    video: str | None = None
    cache_control: Mapping[str, Any] | None = None


class FunctionCall(Strict):
    """A function and its arguments as JSON text."""

    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(Strict):
    """A call in an earlier answer."""

    id: str | None = None
    type: Literal["function"] = "function"
    index: int | None = None
    function: FunctionCall


class Message(Strict):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    prefix: bool | None = None


class Function(Strict):
    """What a function is for, and the JSON schema of its arguments."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Strict):
    """A function that the model may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    """The name of a function."""

    name: str


class NamedTool(Strict):
    """One function that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Strict):
    """A named JSON schema."""

    name: str = "answer"
    description: str | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """What an answer's content may be."""

    type: Literal["text", "json_object", "json_schema", "regex", "grammar"]
    json_schema: JsonSchema | None = None
    regex: str | None = None
    grammar: str | None = None


class MediaOptions(Strict):
    """How images and videos are sampled and sized."""

    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    num_frames: Annotated[int, Field(ge=1)] | None = None
    do_sample_frames: bool | None = None
    min_pixels: Annotated[int, Field(ge=1)] | None = None
    max_pixels: Annotated[int, Field(ge=1)] | None = None
