"""The form of answers in the OpenAI dialect, for its documentation; chat.py and completions.py make them."""

from typing import Any, Literal

from pydantic import BaseModel


class PromptDetails(BaseModel):
    """Of the prompt's tokens: those that were not computed again, and those of images and videos."""

    cached_tokens: int
    image_tokens: int


class AnswerDetails(BaseModel):
    """Of the answer's tokens: those of reasoning."""

    reasoning_tokens: int


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: AnswerDetails


class Token(BaseModel):
    """A token as text and as bytes."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenToken(Token):
    """A token of the answer, and what was likely in its place."""

    top_logprobs: list[Token]


class ChatLogprobs(BaseModel):
    """The tokens of an answer."""

    content: list[ChosenToken]
    refusal: None = None


class AnswerCallFunction(BaseModel):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


class AnswerCall(BaseModel):
    """A call of a function."""

    id: str
    type: Literal["function"]
    function: AnswerCallFunction


class AnswerCustom(BaseModel):
    """A custom tool's name, and its input."""

    name: str
    input: str


class AnswerCustomCall(BaseModel):
    """A call of a custom tool."""

    id: str
    type: Literal["custom"]
    custom: AnswerCustom


class AnswerMessage(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[AnswerCall | AnswerCustomCall] | None = None


class ChatChoice(BaseModel):
    """One of the answers. `stop_reason`: the stop string or the id of the stop token that ended it, or `loop`."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]
    stop_reason: str | int | None


class ChatAnswer(BaseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class TextLogprobs(BaseModel):
    """The tokens of a text. Nothing tells what the first one of an echoed prompt was likely to be."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, Any] | None]
    text_offset: list[int]


class TextChoice(BaseModel):
    """One of the texts."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]
    stop_reason: str | int | None


class EmbeddingUsage(BaseModel):
    """Tokens of a request that was only read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddedText(BaseModel):
    """The vector of an input: numbers, or their bytes as little-endian float32 in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(BaseModel):
    """Embeddings, in the order of the inputs."""

    object: Literal["list"]
    data: list[EmbeddedText]
    model: str
    usage: EmbeddingUsage


class TextAnswer(BaseModel):
    """A text completion."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage
