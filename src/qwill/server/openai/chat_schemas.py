"""The body of /v1/chat/completions: OpenAI's fields, and those that vLLM, SGLang and DashScope have added."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from qwill.server.content import Content
from qwill.server.kinds import member, told_apart
from qwill.server.openai.chat_tools import Tool, ToolChoice
from qwill.server.schemas import (
    FunctionCall,
    MediaOptions,
    Number,
    Open,
    ResponseFormat,
    Schema,
    Strict,
    ToolCall,
    refused,
)

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Message(Open):
    """A message of a conversation. `audio` is the number of an answer that was spoken elsewhere; `function_call` and
    the role `function` are a call and its result as they were before there were ids."""

    IGNORED = frozenset({"audio"})
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    annotations: Any = None
    audio: Any = None
    function_call: FunctionCall | None = None
    prefix: bool | None = None


class StreamOptions(Open):
    """`include_usage`: a last event tells how many tokens there were."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class Reasoning(Open):
    """Reasoning as OpenRouter's clients ask for it."""

    effort: Effort | None = None
    max_tokens: Annotated[int, Field(ge=-1)] | None = None
    enabled: bool | None = None
    exclude: bool | None = None


class Switch(Open):
    """Reasoning as Anthropic's and DeepSeek's clients switch it on and off."""

    type: Literal["enabled", "disabled", "adaptive", "auto"] | None = None
    budget_tokens: Annotated[int, Field(ge=-1)] | None = None

    @property
    def thinks(self) -> bool | None:
        """None where the model is to decide."""
        return None if self.type in (None, "auto") else self.type != "disabled"


Thinking = Annotated[
    Annotated[bool, member("bool")] | Annotated[Switch, member("switch")],
    told_apart(lambda value: "switch" if isinstance(value, Mapping | Switch) else "bool", ""),
]


class StructuredOutputs(Open):
    """The structure of an answer as vLLM's clients ask for it: one of these."""

    json_: Schema | str | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: Annotated[list[str], Field(min_length=1)] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: Annotated[None, refused("tags are not supported; give json, regex, choice or grammar")] = None


class LoraScale(Open):
    """An adapter by its number, as llama.cpp has it."""

    id: int
    scale: Number = 1.0


class Sampling(Strict):
    """What every generating request of this dialect may say."""

    IGNORED = frozenset({
        "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "skip_special_tokens", "spaces_between_special_tokens", "add_special_tokens", "return_token_ids", "request_id",
        "cache_salt",  # vLLM's
        "cache_prompt", "id_slot", "n_keep", "timings_per_token", "return_progress",  # llama.cpp's
        "provider", "models", "route", "transforms", "plugins", "usage",  # OpenRouter's
    })  # fmt: skip
    model: str | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: int | None = None
    min_p: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repetition_penalty: Number | None = None
    repeat_penalty: Number | None = None
    seed: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    min_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, Number] | None = None
    ignore_eos: bool | None = None
    loop_detection: bool | None = None
    lora: list[LoraScale] | None = None
    priority: int | None = None
    guided_json: Schema | str | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None
    guided_choice: Annotated[list[str], Field(min_length=1)] | None = None
    structured_outputs: StructuredOutputs | None = None
    user: Any = None
    store: Any = None
    metadata: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    skip_special_tokens: Any = None
    spaces_between_special_tokens: Any = None
    add_special_tokens: Any = None
    return_token_ids: Any = None
    request_id: Any = None
    cache_salt: Any = None
    cache_prompt: Any = None
    id_slot: Any = None
    n_keep: Any = None
    timings_per_token: Any = None
    return_progress: Any = None
    provider: Any = None
    models: Any = None
    route: Any = None
    transforms: Any = None
    plugins: Any = None
    usage: Any = None


class ChatRequest(Sampling):
    """A conversation whose next message is wanted."""

    IGNORED = Sampling.IGNORED | {
        "verbosity", "modalities", "audio", "prediction", "web_search_options", "moderation", "prompt_cache_options",
        "add_generation_prompt", "reasoning_format",
    }  # fmt: skip
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    enable_thinking: bool | None = None
    thinking: Thinking | None = None
    preserve_thinking: bool | None = None
    thinking_budget: int | None = None
    max_thinking_tokens: int | None = None
    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    include_reasoning: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: MediaOptions | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: Any = None
    reasoning_format: Any = None
    web_search_options: Any = None
    verbosity: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    moderation: Any = None
    prompt_cache_options: Any = None
    functions: Annotated[None, refused("functions are given as tools here; send tools")] = None
    function_call: Annotated[None, refused("functions are given as tools here; send tool_choice")] = None
