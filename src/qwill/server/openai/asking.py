"""From the OpenAI dialect's fields to what is asked of a model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qwill.effort import reasons
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument
from qwill.prompt import PromptOptions
from qwill.server.asks import Ask
from qwill.server.content import Shown, plain_content, without_thoughts
from qwill.server.conversation import in_order
from qwill.server.custom_tools import arguments_of
from qwill.server.errors import Refusal
from qwill.server.openai.chat_schemas import ChatRequest, Message, Reasoning, Sampling, StructuredOutputs, Switch
from qwill.server.openai.chat_tools import choice_of
from qwill.server.schemas import MediaOptions, ResponseFormat
from qwill.server.tools import CUSTOM, Known, Offered, given, offer
from qwill.text.lark import literal

AS_MANY_AS_FIT = -1
# What clients call fields of SamplingParams; where several are given, the first one counts.
OWN_NAMES = {
    "max_tokens": ("max_completion_tokens", "max_output_tokens"),
    "max_thinking_tokens": ("thinking_budget", "max_thinking_tokens", "thinking", "reasoning"),
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
    "json_schema": ("guided_json", "structured_outputs", "response_format", "text"),
    "regex": ("guided_regex", "structured_outputs", "response_format"),
    "grammar": ("guided_grammar", "structured_outputs", "response_format"),
}
NOT_SHOWN = {"content", "prefix", "annotations", "refusal", "audio", "function_call"}  # as it comes


def chat_ask(body: ChatRequest) -> Ask:
    """What a chat request asks for. Raises Refusal, InvalidArgument."""
    thinking, budget, effort = _reasoning(body)
    variables = dict(body.chat_template_kwargs or {})
    if "enable_thinking" in variables:
        stated = variables.pop("enable_thinking")
        if not isinstance(stated, bool):
            raise Refusal(400, "enable_thinking must be true or false", param="chat_template_kwargs.enable_thinking")
        thinking = stated if thinking is None else thinking
    go_on = bool(body.continue_final_message or body.messages[-1].prefix)
    logprobs = None
    if body.logprobs:
        logprobs = body.top_logprobs or 0
    elif body.top_logprobs:
        raise Refusal(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    params = sampling_params(
        body,
        max_tokens=most_tokens(body.max_completion_tokens, body.max_tokens),
        logprobs=logprobs,
        max_thinking_tokens=budget,
        **structure(body, body.response_format),
    )
    offered = offer([given(tool) for tool in body.tools or []], choice_of(body.tool_choice))
    return Ask(
        body.model,
        in_order([plain_message(message, offered) for message in body.messages]),
        params=params,
        tools=offered.functions or None,
        tool_choice=offered.choice,
        told_as=offered.told_as,
        most_calls=1 if body.parallel_tool_calls is False else None,
        thinking=thinking,
        options=replace(
            prompt_options(body.mm_processor_kwargs, go_on, variables),
            preserve_thinking=body.preserve_thinking,
            effort=effort,
        ),
        choices=1 if body.n is None else body.n,
        streamed=bool(body.stream),
        priority=body.priority or 0,
        lora=lora_scales(body),
        ignored=sorted({*body.ignored(), *offered.left_out}),
    )


def sampling_params(body: Sampling, **more: Any) -> SamplingParams:
    """The fields that mean the same everywhere, and `more`. Raises Refusal, which names the field as the client
    does."""
    stop = [body.stop] if isinstance(body.stop, str) and body.stop else body.stop or []
    repetition = body.repeat_penalty if body.repetition_penalty is None else body.repetition_penalty
    biases: Any = body.logit_bias or None
    given: dict[str, Any] = dict(
        temperature=body.temperature, top_p=body.top_p, top_k=None if body.top_k is None else max(body.top_k, 0),
        min_p=body.min_p, presence_penalty=body.presence_penalty, frequency_penalty=body.frequency_penalty,
        repetition_penalty=repetition, seed=body.seed, stop=tuple(stop), logit_bias=biases,
        stop_token_ids=tuple(body.stop_token_ids or ()), min_tokens=body.min_tokens or 0,
        ignore_eos=bool(body.ignore_eos), loop_detection=bool(body.loop_detection), **more,
    )  # fmt: skip
    try:
        return SamplingParams(**given)
    except InvalidArgument as error:
        message = str(error)
        name = message.partition(" ")[0]
        own = next((one for one in OWN_NAMES.get(name, ()) if getattr(body, one, None) is not None), name)
        told = message if own == name else f"{own}: {message}"
        raise Refusal(400, told, param=own if own in type(body).model_fields else None) from None


def lora_scales(body: Sampling) -> dict[int, float] | None:
    """Scales of adapters by their numbers; None leaves them to the model's name."""
    return None if body.lora is None else {each.id: each.scale for each in body.lora}


def most_tokens(*stated: int | None) -> int | None:
    """The first limit on an answer's or its reasoning's tokens that is stated; None for as many as fit, which is -1 to
    many clients."""
    most = next((limit for limit in stated if limit is not None), None)
    return None if most == AS_MANY_AS_FIT else most


def structure(body: Sampling, stated: ResponseFormat | None) -> dict[str, Any]:
    """The one structure that a request gives its answer, as a field of SamplingParams."""
    outputs = body.structured_outputs or StructuredOutputs()
    choice = body.guided_choice or outputs.choice
    given: list[tuple[str, Any]] = [
        ("json_schema", body.guided_json), ("regex", body.guided_regex), ("grammar", body.guided_grammar),
        ("json_schema", outputs.json_), ("regex", outputs.regex), ("grammar", outputs.grammar),
        ("json_schema", {} if outputs.json_object else None),
        ("grammar", f"start: {' | '.join(map(literal, choice))}" if choice else None),
    ]  # fmt: skip
    given = [(name, value) for name, value in given if value is not None]
    if len(given) > 1:
        raise Refusal(400, "an answer has one structure; give one of those that are asked for", param=given[1][0])
    if stated is None or stated.type == "text":
        return dict(given)
    if given:
        raise Refusal(400, f"response_format and {given[0][0]} exclude each other", param="response_format")
    if stated.type == "json_object":
        return {"json_schema": stated.schema_ or {}}
    if stated.type == "json_schema":
        schema = stated.json_schema.schema_ if stated.json_schema is not None else None
        if schema is None and stated.schema_ is None:
            raise Refusal(400, "response_format of type json_schema has no schema", param="response_format.json_schema")
        if schema is None or stated.json_schema is None:
            return {"json_schema": stated.schema_}
        return {"json_schema": schema, "strict_schema": stated.json_schema.strict is True}
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


def plain_message(message: Message, offered: Offered) -> dict[str, Any]:
    """A message in the form that chat templates take. `offered` knows what it calls the tools."""
    plain = message.model_dump(exclude_none=True, exclude=NOT_SHOWN)
    content: str | Sequence[Shown] | None = message.content
    if content is not None and message.role == "assistant":
        thoughts, content = without_thoughts(content)
        if thoughts and not (message.reasoning_content or message.reasoning):
            plain["reasoning_content"] = thoughts
    if content is not None:
        plain["content"] = plain_content(content)
    elif message.refusal:
        plain["content"] = message.refusal
    if message.role == "function":
        plain["role"] = "tool"
    if plain["role"] == "tool" and message.content is None:
        plain["content"] = ""
    if message.function_call is not None and not message.tool_calls:
        plain["tool_calls"] = [{"type": "function", "function": message.function_call.model_dump()}]
    for call in plain.get("tool_calls", []):
        if call["type"] == "custom":
            custom = call.pop("custom")
            name = offered.name_of(Known(CUSTOM, custom["name"]))
            call |= {"type": "function", "function": {"name": name, "arguments": arguments_of(custom["input"])}}
    return plain


def _reasoning(body: ChatRequest) -> tuple[bool | None, int | None, str | None]:
    """Whether the model thinks, None where nothing is said, at most how long, and how much it is to."""
    asked, switch = body.reasoning or Reasoning(), body.thinking
    if not isinstance(switch, Switch):
        switch = Switch(type=None if switch is None else "enabled" if switch else "disabled")
    effort = body.reasoning_effort or asked.effort
    says = [body.enable_thinking, switch.thinks, asked.enabled, reasons(effort) if effort is not None else None]
    budgets = [body.thinking_budget, body.max_thinking_tokens, switch.budget_tokens, asked.max_tokens]
    thinking = next((stated for stated in says if stated is not None), None)
    return thinking, most_tokens(*budgets), effort
