"""From the fields of /v1/responses to what is asked of a model."""

from collections.abc import Sequence
from typing import Any

from qwill.server.efforts import BUDGETS, NO_REASONING
from qwill.server.errors import Refusal
from qwill.server.openai.asking import prompt_options, sampling_params, structure
from qwill.server.openai.responses_items import Stored, messages_of
from qwill.server.openai.responses_schemas import LOGPROBS, AllowedTools, ResponsesRequest
from qwill.server.service import Ask


def responses_ask(body: ResponsesRequest, items: Sequence[Stored]) -> Ask:
    """What a request asks for, as the answer to all these items. Raises Refusal, InvalidArgument."""
    effort = body.reasoning.effort if body.reasoning is not None else None
    budget = body.thinking_budget
    if budget is None and effort is not None:
        budget = BUDGETS.get(effort)
    params = sampling_params(
        body, max_tokens=body.max_output_tokens, logprobs=_logprobs(body), max_thinking_tokens=budget, **_format(body)
    )
    tools, choice = _tools(body)
    limits = [body.max_tool_calls, 1 if body.parallel_tool_calls is False else None]
    return Ask(
        body.model,
        messages_of(body.instructions, items),
        params=params,
        tools=tools or None,
        tool_choice=choice,
        most_calls=min((limit for limit in limits if limit is not None), default=None),
        thinking=None if effort is None else effort not in NO_REASONING,
        options=prompt_options(body.mm_processor_kwargs),
        streamed=bool(body.stream),
        priority=body.priority or 0,
    )


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


def _tools(body: ResponsesRequest) -> tuple[list[dict[str, Any]], str | dict[str, Any]]:
    """The tools in the form of chat completions, without those that are not allowed, and the choice among them."""
    tools, choice = body.tools or [], body.tool_choice or "auto"
    if isinstance(choice, AllowedTools):
        allowed = {tool.name for tool in choice.tools}
        missing = allowed - {tool.name for tool in tools}
        if missing:
            raise Refusal(400, f"tool_choice allows {min(missing)!r}, which is no tool here", param="tool_choice.tools")
        tools, choice = [tool for tool in tools if tool.name in allowed], choice.mode
    shown = [{"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)} for tool in tools]
    return shown, choice if isinstance(choice, str) else choice.model_dump()
