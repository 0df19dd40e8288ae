"""From the fields of /v1/responses to what is asked of a model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qwill.effort import reasons
from qwill.server.asks import Ask
from qwill.server.errors import Refusal
from qwill.server.openai.asking import most_tokens, prompt_options, sampling_params, structure
from qwill.server.openai.responses_items import Stored, is_lost, messages_of
from qwill.server.openai.responses_schemas import LOGPROBS, ResponsesRequest
from qwill.server.openai.responses_tools import brought_tools, choice_of, given_tools
from qwill.server.tools import Given, offer


def responses_ask(body: ResponsesRequest, items: Sequence[Stored]) -> Ask:
    """What a request asks for, as the answer to all these items. Raises Refusal, InvalidArgument."""
    effort = body.reasoning.effort if body.reasoning is not None else None
    params = sampling_params(
        body,
        max_tokens=most_tokens(body.max_output_tokens),
        logprobs=_logprobs(body),
        max_thinking_tokens=most_tokens(body.thinking_budget),
        **_format(body),
    )
    offered = offer(_tools(body, items), choice_of(body.tool_choice))
    lost = [] if isinstance(body.input, str) or not any(map(is_lost, body.input)) else ["input.reasoning"]
    limits = [body.max_tool_calls, 1 if body.parallel_tool_calls is False else None]
    return Ask(
        body.model,
        messages_of(body.instructions, items, offered),
        params=params,
        tools=offered.functions or None,
        tool_choice=offered.choice,
        told_as=offered.told_as,
        most_calls=min((limit for limit in limits if limit is not None), default=None),
        thinking=None if effort is None else reasons(effort),
        options=replace(prompt_options(body.mm_processor_kwargs), effort=effort),
        streamed=bool(body.stream),
        priority=body.priority or 0,
        ignored=sorted({*body.ignored(), *offered.left_out, *lost}),
    )


def _tools(body: ResponsesRequest, items: Sequence[Stored]) -> list[Given]:
    """Those of the request, and those that its items make known beside them."""
    own = given_tools(body.tools or [])
    known = {one.tool for one in own}
    brought = {one.tool: one for item in items for one in brought_tools(item)}
    return [*own, *(one for tool, one in brought.items() if tool not in known)]


def _logprobs(body: ResponsesRequest) -> int | None:
    if body.wants(LOGPROBS):
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise Refusal(400, f'top_logprobs needs include: ["{LOGPROBS}"]', param="top_logprobs")
    return None


def _format(body: ResponsesRequest) -> dict[str, Any]:
    """The one structure of the answer, as a field of SamplingParams."""
    given = structure(body, None)
    stated = body.text.format if body.text is not None else None
    if stated is None:
        return given
    if (stated.schema_ is None) == (stated.type == "json_schema"):
        need = "needs a" if stated.type == "json_schema" else "has no"
        raise Refusal(400, f"text.format of type {stated.type} {need} schema", param="text.format.schema")
    if stated.type == "text":
        return given
    if given:
        raise Refusal(400, f"text.format and {next(iter(given))} exclude each other", param="text.format")
    return {"json_schema": stated.schema_ or {}, "strict_schema": stated.strict is True}
