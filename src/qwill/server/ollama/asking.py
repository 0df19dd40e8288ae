"""From the Ollama dialect's fields to what is asked of a model."""

from collections.abc import Sequence
from typing import Any

from qwill.effort import reasons
from qwill.engine.sampling_params import SamplingParams
from qwill.prompt import PromptOptions
from qwill.server.asks import Ask
from qwill.server.content import Shown, TextPart, plain_content, without_thoughts
from qwill.server.conversation import in_order
from qwill.server.errors import Refusal
from qwill.server.ollama.keep_alive import keep_seconds
from qwill.server.ollama.schemas import (
    OllamaChatRequest,
    OllamaGenerateRequest,
    OllamaMessage,
    OllamaOptions,
    OllamaRequest,
)
from qwill.server.tools import Choice, given, offer

AS_MANY_AS_FIT = (-1, -2)  # of `num_predict`
ANY_SEED = -1


def chat_ask(body: OllamaChatRequest) -> Ask:
    """What a chat request with messages asks for. Raises Refusal, InvalidArgument."""
    messages = body.messages or []
    last = messages[-1]
    offered = offer([given(tool) for tool in body.tools or []], Choice())
    return Ask(
        body.model,
        in_order([_plain_message(message) for message in messages]),
        params=_sampling_params(body),
        tools=offered.functions or None,
        thinking=_thinks(body),
        options=PromptOptions(go_on=last.role == "assistant" and not last.tool_calls, effort=_effort(body)),
        streamed=is_streamed(body),
        ignored=sorted({*body.ignored(), *offered.left_out}),
        keep_seconds=keep_seconds(body.keep_alive),
    )


def generate_ask(body: OllamaGenerateRequest) -> Ask:
    """What a generate request with a prompt asks for. Raises Refusal, InvalidArgument."""
    if body.suffix:
        raise Refusal(400, "suffix is not supported: the model fills no gaps; leave it out", param="suffix")
    if body.template:
        raise Refusal(
            400, "template is not supported; write the prompt as a whole and send it with raw: true", param="template"
        )
    if body.raw:
        if body.system or body.images:
            raise Refusal(400, "raw goes neither with system nor with images; write the prompt as a whole", param="raw")
        # Nothing tells reasoning from answer in a raw text, so none is bounded either.
        params = _sampling_params(body.model_copy(update={"think": None}))
        ignored = [*body.ignored(), *(["think"] if body.think is not None else [])]
        return Ask(
            body.model, prompts=[body.prompt or ""], params=params, streamed=is_streamed(body), ignored=ignored,
            keep_seconds=keep_seconds(body.keep_alive),
        )  # fmt: skip
    question = OllamaMessage(role="user", content=body.prompt, images=body.images)
    system = [OllamaMessage(role="system", content=body.system)] if body.system else []
    return Ask(
        body.model,
        [_plain_message(message) for message in (*system, question)],
        params=_sampling_params(body),
        thinking=_thinks(body),
        options=PromptOptions(effort=_effort(body)),
        streamed=is_streamed(body),
        ignored=[*body.ignored(), *question.ignored_fields()],
        keep_seconds=keep_seconds(body.keep_alive),
    )


def is_streamed(body: OllamaRequest) -> bool:
    """Ollama streams unless it is told not to."""
    return body.stream is not False


def ignored_when_loading(body: OllamaRequest) -> list[str]:
    """A request that only loads or unloads a model uses nothing but its name and how long it is kept."""
    names = body.model_fields_set - {"model", "stream", "messages", "prompt", "keep_alive"}
    return sorted({name for name in names if getattr(body, name)} | {name.partition(".")[0] for name in body.ignored()})


def _sampling_params(body: OllamaRequest) -> SamplingParams:
    options = body.options or OllamaOptions()
    most = None if options.num_predict in AS_MANY_AS_FIT else options.num_predict
    if most is not None and most < 1:
        raise Refusal(
            400, f"num_predict must be at least 1, or -1 for as many as fit, not {most}", param="options.num_predict"
        )
    if body.top_logprobs and not body.logprobs:
        raise Refusal(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    return SamplingParams(
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=None if options.top_k is None else max(options.top_k, 0),
        min_p=options.min_p,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        repetition_penalty=options.repeat_penalty,
        seed=None if options.seed == ANY_SEED else options.seed,
        max_tokens=most,
        stop=tuple([options.stop] if isinstance(options.stop, str) and options.stop else options.stop or ()),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        json_schema={} if body.format == "json" else None if body.format in ("", None) else body.format,
    )


def _thinks(body: OllamaRequest) -> bool | None:
    """Whether the model thinks; None where nothing is said."""
    return reasons(body.think) if isinstance(body.think, str) else body.think


def _effort(body: OllamaRequest) -> str | None:
    """How much it is to."""
    return body.think if isinstance(body.think, str) else None


def _content(message: OllamaMessage, content: str | Sequence[Shown]) -> str | list[dict[str, Any]]:
    """The images, and what is said of them."""
    if not message.pictures:
        return plain_content(content)
    said: Sequence[Shown] = [TextPart(type="text", text=content)] if isinstance(content, str) else content
    return plain_content([*message.pictures, *(said if content else [])])


def _plain_message(message: OllamaMessage) -> dict[str, Any]:
    """A message in the form that chat templates take."""
    said = message.content or ""
    thoughts, content = without_thoughts(said) if message.role == "assistant" else ("", said)
    plain: dict[str, Any] = {"role": message.role, "content": _content(message, content)}
    reasoning = message.thinking or message.reasoning_content or message.reasoning or thoughts
    if reasoning:
        plain["reasoning_content"] = reasoning
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "type": "function", "id": call.id,
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ]  # fmt: skip
    if message.tool:
        plain["name"] = message.tool
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    return plain
