"""What requests may hold in all dialects: strict bodies, open parts, and values that several fields share."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(strict=True)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Schema = dict[str, Any]


class Open(BaseModel):
    """What stands inside a body. Clients send back what others gave them, and add fields of their own: unknown ones are
    left out, and told by the answer's header.

    `IGNORED` are fields that are known and mean nothing here.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())
    IGNORED: ClassVar[frozenset[str]] = frozenset()

    def ignored_fields(self, place: str = "") -> Iterator[str]:
        """Names of those that came with a value, here and in all within; `place` is what leads here, with a dot."""
        for name in sorted(self.IGNORED & self.model_fields_set):
            if getattr(self, name) is not None:
                yield self.name_of(name, place)
        for name in self.model_fields_set - self.IGNORED:
            for _, part in _parts(getattr(self, name)):
                yield from part.ignored_fields(f"{place}{name}.")

    def name_of(self, field: str, place: str) -> str:
        """What a field that means nothing is called in the header."""
        return place + field


class Placed(Open):
    """A part that may be wrong in ways that only its contents tell. `_place` leads to it, numbers included."""

    _place: str = PrivateAttr("")


class Strict(Open):
    """A body, whose own unknown fields are refused: what is asked for by a misspelt name is not dropped in silence."""

    model_config = ConfigDict(extra="forbid")
    _unknown: set[str] = PrivateAttr(default_factory=set)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, body: Any) -> Any:
        """Fields without a value ask for nothing, known or not."""
        if not isinstance(body, Mapping):
            return body
        known = cls.model_fields.keys() | {field.alias for field in cls.model_fields.values()}
        return {name: value for name, value in body.items() if value is not None or name in known}

    @model_validator(mode="after")
    def _leave_out(self) -> Self:
        self._unknown = set(_take_unknown(self, "", ""))
        return self

    def ignored(self) -> list[str]:
        """Names of all that came and means nothing here, in the body and within it, in the order of the alphabet."""
        return sorted({*self.ignored_fields(), *self._unknown})


def _parts(value: Any) -> Iterator[tuple[str, Open]]:
    """The models that a field holds, each with its number and a dot if it is one of several."""
    if isinstance(value, Open):
        yield "", value
    elif isinstance(value, list):
        yield from ((f"{number}.", part) for number, part in enumerate(value) if isinstance(part, Open))


def _take_unknown(model: Open, place: str, exact: str) -> Iterator[str]:
    """Takes unknown fields out of a model and all within it; yields what leads to each, without numbers as `place` is.
    Parts that are to know their place are told it with numbers, as `exact` has them."""
    if isinstance(model, Placed):
        model._place = exact.removesuffix(".")
    unknown = model.__pydantic_extra__ or {}
    yield from (place + name for name, value in unknown.items() if value is not None)
    model.__pydantic_fields_set__.difference_update(unknown)
    unknown.clear()
    for name in model.model_fields_set:
        for number, part in _parts(getattr(model, name)):
            yield from _take_unknown(part, f"{place}{name}.", f"{exact}{name}.{number}")


def refused(why: str) -> BeforeValidator:
    """For fields of the API that only their default leaves unanswered."""

    def check(value: Any) -> None:
        if value is not None and value is not False:
            raise ValueError(why)

    return BeforeValidator(check)


def type_of(value: Any) -> str | None:
    """What a part of a body says that it is."""
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return kind if isinstance(kind, str) and kind else None


def other_than(*known: str) -> Any:
    """For parts of a body that are taken as they come, whose types are any but these."""
    kind: dict[str, Any] = {"type": "string", "minLength": 1, "not": {"enum": sorted(known)}}
    return Field(json_schema_extra={"required": ["type"], "properties": {"type": kind}})


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


class ImageAddress(Open):
    """An image: a `data:` address, or one that the server fetches."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class VideoAddress(Open):
    """A video: a `data:` address, or one that the server fetches."""

    url: str


class FunctionCall(Open):
    """A function and its arguments, as the text of a JSON object or whatever else came of them."""

    name: str
    arguments: Any = ""


class CustomCall(Open):
    """A custom tool and its input."""

    name: str
    input: str = ""


class ToolCall(Open):
    """A call in an earlier answer: of a function, unless `custom` says otherwise."""

    id: str | None = None
    type: Annotated[Literal["function", "custom"], BeforeValidator(lambda kind: kind or "function")] = "function"
    index: Any = None
    function: FunctionCall | None = None
    custom: CustomCall | None = None

    @model_validator(mode="after")
    def _check_type(self) -> Self:
        if getattr(self, self.type) is None:
            raise ValueError(f"a call of type {self.type} needs {self.type}")
        return self


class Function(Open):
    """What a function is for, and the JSON schema of its arguments."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class JsonSchema(Open):
    """A named JSON schema."""

    name: str | None = "answer"
    description: str | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Open):
    """What an answer's content may be."""

    type: Literal["text", "json_object", "json_schema", "regex", "grammar"]
    json_schema: JsonSchema | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    regex: str | None = None
    grammar: str | None = None


class MediaOptions(Open):
    """How images and videos are sampled and sized."""

    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    num_frames: Annotated[int, Field(ge=1)] | None = None
    do_sample_frames: bool | None = None
    min_pixels: Annotated[int, Field(ge=1)] | None = None
    max_pixels: Annotated[int, Field(ge=1)] | None = None
