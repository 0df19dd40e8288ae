"""From the Ollama dialect's fields to what is asked of a model."""

import re
from typing import Any

from qwill.engine.sampling_params import SamplingParams
from qwill.prompt import PromptOptions
from qwill.server.efforts import BUDGETS
from qwill.server.errors import Refusal
from qwill.server.ollama.keep_alive import keep_seconds
from qwill.server.ollama.schemas import (
    OllamaChatRequest,
    OllamaGenerateRequest,
    OllamaMessage,
    OllamaOptions,
    OllamaRequest,
)
from qwill.server.service import Ask

IGNORED = frozenset({"truncate", "shift"})
IGNORED_IN_GENERATE = IGNORED | {"context", "width", "height", "steps"}
AS_MANY_AS_FIT = (-1, -2)  # of `num_predict`
ANY_SEED = -1
MOST_OPTIONS = 64  # that mean nothing: a header has to hold their names
_OPTION = re.compile(r"\w{1,64}", re.ASCII)


def chat_ask(body: OllamaChatRequest) -> Ask:
    """What a chat request with messages asks for. Raises Refusal, InvalidArgument."""
    messages = body.messages or []
    last = messages[-1]
    return Ask(
        body.model,
        [_plain_message(message) for message in messages],
        params=_sampling_params(body),
        tools=[tool.model_dump(exclude_none=True) for tool in body.tools or []] or None,
        thinking=_thinks(body),
        options=PromptOptions(go_on=last.role == "assistant" and not last.tool_calls),
        streamed=is_streamed(body),
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
        return Ask(
            body.model,
            prompts=[body.prompt or ""],
            params=params,
            streamed=is_streamed(body),
            keep_seconds=keep_seconds(body.keep_alive),
        )
    question = OllamaMessage(role="user", content=body.prompt, images=body.images)
    system = [OllamaMessage(role="system", content=body.system)] if body.system else []
    return Ask(
        body.model,
        [_plain_message(message) for message in (*system, question)],
        params=_sampling_params(body),
        thinking=_thinks(body),
        streamed=is_streamed(body),
        keep_seconds=keep_seconds(body.keep_alive),
    )


def is_streamed(body: OllamaRequest) -> bool:
    """Ollama streams unless it is told not to."""
    return body.stream is not False


def ignored_when_loading(body: OllamaRequest) -> list[str]:
    """A request that only loads or unloads a model uses nothing but its name and how long it is kept."""
    names = body.model_fields_set - {"model", "stream", "messages", "prompt", "keep_alive"}
    return sorted(name for name in names if getattr(body, name))


def ignored(body: OllamaRequest, max_context: int) -> list[str]:
    """The fields and options that mean nothing here. Raises Refusal for what cannot be named."""
    names = body.ignored(IGNORED_IN_GENERATE if isinstance(body, OllamaGenerateRequest) else IGNORED)
    if isinstance(body, OllamaGenerateRequest) and body.raw and body.think is not None:
        names.append("think")
    others = unknown_options(body)
    if others.get("num_ctx") == max_context:
        del others["num_ctx"]
    return [*names, *(f"options.{name}" for name in sorted(others))]


def unknown_options(body: OllamaRequest) -> dict[str, Any]:
    """Options that came and mean nothing here. Raises Refusal for what is no option of anybody's."""
    given = body.options.model_extra if body.options is not None else None
    unknown = {name: value for name, value in (given or {}).items() if value is not None}
    for name in unknown:
        if not _OPTION.fullmatch(name):
            raise Refusal(400, f"unknown option {name!r}; leave it out or correct its name", param="options")
    if len(unknown) > MOST_OPTIONS:
        raise Refusal(400, f"there are {len(unknown)} unknown options; send at most {MOST_OPTIONS}", param="options")
    return unknown


def _sampling_params(body: OllamaRequest) -> SamplingParams:
    options = body.options or OllamaOptions()
    unknown_options(body)
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
        stop=tuple([options.stop] if isinstance(options.stop, str) else options.stop or ()),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        max_thinking_tokens=BUDGETS[body.think] if isinstance(body.think, str) else None,
        json_schema={} if body.format == "json" else None if body.format in ("", None) else body.format,
    )


def _thinks(body: OllamaRequest) -> bool | None:
    """Whether the model thinks; None where nothing is said."""
    return True if isinstance(body.think, str) else body.think


def _plain_message(message: OllamaMessage) -> dict[str, Any]:
    """A message in the form that chat templates take."""
    text = message.content or ""
    plain: dict[str, Any] = {"role": message.role, "content": text}
    if message.images:
        addresses = [f"data:image/any;base64,{image}" for image in message.images]
        pictures = [{"type": "image_url", "image_url": {"url": address}} for address in addresses]
        plain["content"] = [*pictures, *([{"type": "text", "text": text}] if text else [])]
    if message.thinking:
        plain["reasoning_content"] = message.thinking
    if message.tool_calls:
        plain["tool_calls"] = [
            {"type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_name:
        plain["name"] = message.tool_name
    return plain
