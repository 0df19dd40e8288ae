"""The form of answers in the Ollama dialect, for its documentation; chat.py and models.py make them."""

from typing import Any, Literal

from pydantic import BaseModel

from qwill.server.schemas import REFUSALS, answered

LINES = "application/x-ndjson"


class OllamaToken(BaseModel):
    """A token as text and as bytes."""

    token: str
    logprob: float
    bytes: list[int]


class OllamaChosenToken(OllamaToken):
    """A token of the answer, and what was likely in its place."""

    top_logprobs: list[OllamaToken] | None = None


class OllamaAnsweredFunction(BaseModel):
    """A function's name and arguments, and the call's place among those of the answer."""

    index: int
    name: str
    arguments: dict[str, Any]


class OllamaAnsweredCall(BaseModel):
    """A call of a function."""

    id: str
    function: OllamaAnsweredFunction


class OllamaAnsweredMessage(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[OllamaAnsweredCall] | None = None


class OllamaAnswer(BaseModel):
    """What both generating requests are answered with. Durations are in nanoseconds, without those of tokens where a
    model was only loaded or unloaded."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"]
    total_duration: int
    load_duration: int
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    logprobs: list[OllamaChosenToken] | None = None


class OllamaChatAnswer(OllamaAnswer):
    """The next message of a conversation."""

    message: OllamaAnsweredMessage


class OllamaGenerateAnswer(OllamaAnswer):
    """The answer to a question, or what follows a text."""

    response: str
    thinking: str | None = None


class OllamaVersion(BaseModel):
    """The version of Ollama whose API this is."""

    version: str


class OllamaDetails(BaseModel):
    """What a model is, in short."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(BaseModel):
    """A model; only its name where its files are gone. `size`: bytes of its weights."""

    name: str
    model: str
    modified_at: str | None = None
    size: int | None = None
    digest: str | None = None
    details: OllamaDetails | None = None


class OllamaLoadedModel(OllamaModel):
    """A model that is in memory."""

    expires_at: str
    size_vram: int
    context_length: int


class OllamaModels(BaseModel):
    """All models."""

    models: list[OllamaModel]


class OllamaLoadedModels(BaseModel):
    """Those that are in memory."""

    models: list[OllamaLoadedModel]


class OllamaShown(BaseModel):
    """What a model is and can do. `parameters`: what holds for requests that say nothing, an option on each line."""

    modified_at: str
    template: str
    parameters: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]


class OllamaEmbedded(BaseModel):
    """Vectors of texts, in their order; none where a model was only loaded. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbedding(BaseModel):
    """The vector of a text; empty where a model was only loaded."""

    embedding: list[float]


class OllamaRefused(BaseModel):
    """The body of a refusal."""

    error: str


REFUSED: dict[int | str, dict[str, Any]] = {
    status: {**about, "model": OllamaRefused} for status, about in REFUSALS.items()
}
CHAT_ANSWERS = answered(OllamaChatAnswer, LINES) | REFUSED
GENERATE_ANSWERS = answered(OllamaGenerateAnswer, LINES) | REFUSED
VERSION_ANSWERS = answered(OllamaVersion) | REFUSED
TAGS_ANSWERS = answered(OllamaModels) | REFUSED
PS_ANSWERS = answered(OllamaLoadedModels) | REFUSED
SHOW_ANSWERS = answered(OllamaShown) | REFUSED
EMBED_ANSWERS = answered(OllamaEmbedded) | REFUSED
EMBEDDING_ANSWERS = answered(OllamaEmbedding) | REFUSED
