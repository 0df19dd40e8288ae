"""From the OpenAI dialect's fields to what is asked of a model."""

import json
from typing import Any

from qwill.engine.sampling_params import SamplingParams
from qwill.prompt import PromptOptions
from qwill.server.efforts import BUDGETS, NO_REASONING
from qwill.server.errors import Refusal
from qwill.server.openai.chat_schemas import ChatRequest, Sampling
from qwill.server.schemas import MediaOptions, Message, ResponseFormat
from qwill.server.service import Ask


def chat_ask(body: ChatRequest) -> Ask:
    """What a chat request asks for. Raises Refusal, InvalidArgument."""
    thinking, budget = _reasoning(body)
    variables = dict(body.chat_template_kwargs or {})
    if "enable_thinking" in variables:
        stated = variables.pop("enable_thinking")
        if not isinstance(stated, bool):
            raise Refusal(400, "enable_thinking must be true or false", param="chat_template_kwargs.enable_thinking")
        thinking = stated if thinking is None else thinking
    go_on = bool(body.continue_final_message or body.messages[-1].prefix)
    most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    logprobs = None
    if body.logprobs:
        logprobs = body.top_logprobs or 0
    elif body.top_logprobs is not None:
        raise Refusal(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    params = sampling_params(
        body, max_tokens=most, logprobs=logprobs, max_thinking_tokens=budget, **structure(body, body.response_format)
    )
    choice: Any = body.tool_choice or "auto"
    return Ask(
        body.model,
        [plain_message(message) for message in body.messages],
        params=params,
        tools=[tool.model_dump(exclude_none=True) for tool in body.tools or []] or None,
        tool_choice=choice if isinstance(choice, str) else choice.model_dump(),
        most_calls=1 if body.parallel_tool_calls is False else None,
        thinking=thinking,
        options=prompt_options(body.mm_processor_kwargs, go_on, variables),
        choices=1 if body.n is None else body.n,
        streamed=bool(body.stream),
        priority=body.priority or 0,
    )


def sampling_params(body: Sampling, **more: Any) -> SamplingParams:
    """The fields that mean the same everywhere, and `more`. Raises InvalidArgument."""
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    biases: Any = body.logit_bias or None
    return SamplingParams(
        temperature=body.temperature, top_p=body.top_p, top_k=None if body.top_k is None else max(body.top_k, 0),
        min_p=body.min_p, presence_penalty=body.presence_penalty, frequency_penalty=body.frequency_penalty,
        repetition_penalty=body.repetition_penalty, seed=body.seed, stop=tuple(stop), logit_bias=biases,
        ignore_eos=bool(body.ignore_eos), loop_detection=bool(body.loop_detection), **more,
    )  # fmt: skip


def structure(body: Sampling, stated: ResponseFormat | None) -> dict[str, Any]:
    """The one structure that a request gives its answer, as a field of SamplingParams."""
    given: dict[str, Any] = {}
    if body.guided_json is not None:
        given["json_schema"] = body.guided_json
    if body.guided_regex is not None:
        given["regex"] = body.guided_regex
    if body.guided_grammar is not None:
        given["grammar"] = body.guided_grammar
    if stated is None or stated.type == "text":
        return given
    if given:
        raise Refusal(400, f"response_format and {next(iter(given))} exclude each other", param="response_format")
    if stated.type == "json_object":
        return {"json_schema": {}}
    if stated.type == "json_schema":
        if stated.json_schema is None or stated.json_schema.schema_ is None:
            raise Refusal(400, "response_format of type json_schema has no schema", param="response_format.json_schema")
        return {"json_schema": stated.json_schema.schema_, "strict_schema": stated.json_schema.strict is True}
    text = getattr(stated, stated.type)
    if text is None:
        raise Refusal(400, f"response_format of type {stated.type} has no {stated.type}", param="response_format")
    return {stated.type: text}


def prompt_options(media: MediaOptions | None, go_on: bool = False, variables: Any = None) -> PromptOptions:
    media = media or MediaOptions()
    return PromptOptions(
        fps=media.fps, num_frames=media.num_frames, every_frame=media.do_sample_frames is False,
        min_pixels=media.min_pixels, max_pixels=media.max_pixels, go_on=go_on, variables=variables or {},
    )  # fmt: skip


def plain_message(message: Message) -> dict[str, Any]:
    """A message in the form that chat templates take."""
    plain = message.model_dump(exclude_none=True, exclude={"prefix", "annotations", "refusal"})
    content = message.content
    if isinstance(content, list):
        plain["content"] = [_plain_part(part.model_dump(exclude_none=True)) for part in content]
    elif content is None and message.refusal:
        plain["content"] = message.refusal
    if message.role == "tool" and message.content is None:
        plain["content"] = ""
    for call in plain.get("tool_calls", []):
        if isinstance(call["function"]["arguments"], dict):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    return plain


def _plain_part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] in ("text", "input_text", "output_text", "refusal"):
        text = part.get("refusal" if part["type"] == "refusal" else "text")
        if text is None:
            raise Refusal(400, f"a content part of type {part['type']} has no text", param="messages")
        return {"type": "text", "text": text}
    return {key: value for key, value in part.items() if key != "cache_control"}


def _reasoning(body: ChatRequest) -> tuple[bool | None, int | None]:
    """Whether the model thinks, None where nothing is said, and at most how long."""
    thinking, budget = body.enable_thinking, None
    for stated in (body.thinking_budget, body.max_thinking_tokens):
        budget = stated if stated is not None else budget
    asked = body.reasoning
    effort = body.reasoning_effort or (asked.effort if asked is not None else None)
    if asked is not None:
        thinking = asked.enabled if thinking is None else thinking
        budget = asked.max_tokens if budget is None else budget
    if effort is not None:
        thinking = effort not in NO_REASONING if thinking is None else thinking
        budget = BUDGETS.get(effort) if budget is None else budget
    return thinking, budget
