"""/v1/responses through the official client."""

import base64
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import responses as types

from qwill.server.openai.responses_answers import ResponseAnswer
from server.asking import ABOUT_ANNA, ANNA, Person, send
from server.responses_client import SUM, ask, client_of, events_of, plain, told
from server.running import Running
from server.stepping import failing_once

PICTURE = Path(__file__).parents[2] / "docs" / "red_circle.png"
PARIS = "What is the weather in Paris?"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "get_weather", "description": "Weather in a city", "parameters": CITY}
TIME = {"type": "function", "name": "get_time", "description": "Time in a city", "parameters": CITY}
TRANSLATE = {
    "type": "function",
    "name": "translate",
    "description": "Translate text",
    "parameters": {
        "type": "object",
        "properties": {"text": {"type": "string"}, "language": {"type": "string"}},
        "required": ["text", "language"],
    },
}


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return client_of(server)


def test_a_question(client: openai.OpenAI, server: Running) -> None:
    answer = ask(client, SUM)
    assert answer.output_text.endswith("42")
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].content[0].text
    assert (answer.status, answer.model, answer.error, answer.incomplete_details) == ("completed", "demo", None, None)
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens
    raw = send("POST", f"{server.url}/v1/responses", json={"input": SUM, "temperature": 0}).json()
    types.Response.model_validate(raw)
    assert ResponseAnswer.model_validate(raw, extra="forbid").output[1].content[0].text == answer.output_text


def test_what_is_repeated_of_the_request(client: openai.OpenAI) -> None:
    answer = ask(
        client, SUM, instructions="Be kind.", metadata={"a": "b"}, max_output_tokens=300, tools=[WEATHER],
        tool_choice="none", reasoning={"effort": "low"}, parallel_tool_calls=False, top_p=0.5,
    )  # fmt: skip
    assert (answer.instructions, answer.metadata, answer.max_output_tokens) == ("Be kind.", {"a": "b"}, 300)
    assert (answer.temperature, answer.top_p, answer.tool_choice) == (0, 0.5, "none")
    assert (answer.reasoning.effort, answer.parallel_tool_calls, answer.tools[0].name) == ("low", False, "get_weather")
    free = client.responses.create(model="demo", input=SUM)
    assert (free.tool_choice, free.parallel_tool_calls, free.max_output_tokens) == ("auto", True, None)
    assert free.temperature is not None
    assert free.top_p is not None


@pytest.mark.parametrize("effort", ["high", "none"])
def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI, server: Running, effort: str) -> None:
    whole = ask(client, SUM, reasoning={"effort": effort})
    events = events_of(server, input=SUM, reasoning={"effort": effort})
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"]["output"] == []
    final = events[-1]["response"]
    assert told(events) == final["output"]
    assert plain(final["output"]) == plain(whole.output)
    assert final["usage"]["output_tokens"] == whole.usage.output_tokens
    assert [item["type"] for item in final["output"]] == (["reasoning"] if effort == "high" else []) + ["message"]
    assert len([event for event in events if event["type"] == "response.output_text.delta"]) > 1


def test_reasoning_as_a_summary(client: openai.OpenAI, server: Running) -> None:
    (reasoning, message) = ask(client, SUM).output
    events = events_of(server, input=SUM, reasoning={"summary": "auto"})
    final = events[-1]["response"]
    assert told(events) == final["output"]
    assert plain(final["output"][1:]) == plain([message])
    summary = {"type": "summary_text", "text": reasoning.content[0].text}
    assert (final["output"][0]["summary"], final["output"][0]["content"]) == ([summary], [])
    assert final["reasoning"]["summary"] == "auto"


def test_the_clients_own_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model="demo", input=SUM, temperature=0) as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(texts) == final.output_text
    assert final.output_text.endswith("42")


def test_calls(client: openai.OpenAI) -> None:
    first = ask(client, PARIS, tools=[WEATHER])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments), call.status) == ("get_weather", {"city": "Paris"}, "completed")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "clear, 21 degrees"}
    second = ask(client, [{"role": "user", "content": PARIS}, *first.output, result], tools=[WEATHER])
    assert second.output_text
    assert second.output[-1].type == "message"
    short = ask(client, [result], tools=[WEATHER], previous_response_id=first.id)
    assert short.usage.input_tokens == second.usage.input_tokens
    assert short.output_text == second.output_text
    assert short.previous_response_id == first.id
    parts = [{"type": "input_text", "text": "clear, "}, {"type": "input_text", "text": "21 degrees"}]
    spelled = ask(client, [{**result, "output": parts}], tools=[WEATHER], previous_response_id=first.id)
    assert spelled.usage.input_tokens == second.usage.input_tokens


def test_calls_are_streamed_an_argument_at_a_time(client: openai.OpenAI, server: Running) -> None:
    question = "Translate 'red house' into French."
    whole = ask(client, question, tools=[TRANSLATE])
    events = events_of(server, input=question, tools=[TRANSLATE])
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    (done,) = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert len(deltas) == 3
    assert json.loads(deltas[0] + "}").keys() == {"text"}
    assert "".join(deltas) == done["arguments"]
    assert json.loads(done["arguments"]).keys() == {"text", "language"}
    assert told(events) == events[-1]["response"]["output"]
    assert plain(events[-1]["response"]["output"]) == plain(whole.output)
    with client.responses.stream(model="demo", input=question, tools=[TRANSLATE], temperature=0) as stream:
        assert plain(stream.get_final_response().output) == plain(whole.output)


def test_how_many_calls(client: openai.OpenAI) -> None:
    def calls(**more: Any) -> list[str]:
        answer = ask(client, "What is the weather in Paris and in Rome?", tools=[WEATHER], **more)
        return [item.arguments for item in answer.output if item.type == "function_call"]

    both = calls()
    assert len(both) == 2
    assert calls(parallel_tool_calls=False) == calls(max_tool_calls=1) == both[:1]
    assert calls(max_tool_calls=2) == both


def test_tool_choice(client: openai.OpenAI) -> None:
    def called(choice: Any, question: str = SUM, tools: Any = (WEATHER, TIME)) -> set[str]:
        answer = ask(client, question, tools=list(tools), tool_choice=choice, max_output_tokens=200)
        return {item.name for item in answer.output if item.type == "function_call"}

    def allowed(mode: str, *names: str) -> dict[str, Any]:
        tools = [{"type": "function", "name": name} for name in names]
        return {"type": "allowed_tools", "mode": mode, "tools": tools}

    assert called("required") <= {"get_weather", "get_time"}
    assert called("required")
    assert called({"type": "function", "name": "get_time"}) == {"get_time"}
    assert called("none", PARIS) == set()
    assert called(allowed("required", "get_time"), PARIS) == {"get_time"}
    assert called(allowed("auto", "get_weather"), PARIS) == {"get_weather"}
    for choice, message in (
        ({"type": "function", "name": "get_rain"}, "get_rain"),
        (allowed("auto", "get_rain"), "get_rain"),
        ({"type": "web_search_preview"}, "type 'web_search_preview', which this server does not run"),
        ("always", "tool_choice"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            called(choice)


def test_a_picture(client: openai.OpenAI) -> None:
    address = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"
    parts = [
        {"type": "input_image", "image_url": address, "detail": "auto"},
        {"type": "input_text", "text": "What is in the picture?"},
    ]
    answer = ask(client, [{"role": "user", "content": parts}])
    assert answer.output_text == "A red circle."
    (listed,) = client.responses.input_items.list(answer.id)
    assert listed.content[0].image_url == address
    again = ask(client, "What is in the picture?", previous_response_id=answer.id)
    assert again.usage.input_tokens > answer.usage.input_tokens


def test_structured(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model="demo", input=ABOUT_ANNA, text_format=Person, temperature=0)
    assert parsed.output_parsed == ANNA
    with client.responses.stream(model="demo", input=ABOUT_ANNA, text_format=Person, temperature=0) as stream:
        assert stream.get_final_response().output_parsed == parsed.output_parsed
    again: Any = [{"role": "user", "content": ABOUT_ANNA}, *parsed.output, {"role": "user", "content": SUM}]
    assert ask(client, again).output_text
    anything = ask(client, SUM, text={"format": {"type": "json_object"}}, max_output_tokens=300)
    if anything.status == "completed":
        assert isinstance(json.loads(anything.output_text), dict)
    either = ask(client, SUM, extra_body={"guided_regex": "yes|no"})
    assert either.output_text in ("yes", "no")


def test_reasoning_comes_back(client: openai.OpenAI) -> None:
    """In a turn that is not over the model sees its reasoning, in whichever form it comes."""
    first = ask(client, PARIS, tools=[WEATHER], include=["reasoning.encrypted_content"], store=False)
    items = [item.model_dump(exclude_none=True) for item in first.output]
    if items[0]["type"] != "reasoning":
        items.insert(0, {"type": "reasoning", "id": "rs_1", "summary": [], "content": []})
    reasoning, call = items[0], items[-1]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "clear, 21 degrees"}

    def tokens(*before: Any) -> int:
        question = {"role": "user", "content": PARIS}
        return int(ask(client, [question, *before, call, result], tools=[WEATHER], store=False).usage.input_tokens)

    text = "I call get_weather for Paris, of course."
    full = tokens({**reasoning, "content": [{"type": "reasoning_text", "text": text}]})
    assert full > tokens()
    assert full == tokens({"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]})
    opaque = "qwill:" + base64.b64encode(text.encode()).decode()
    assert full == tokens({"type": "reasoning", "summary": [], "encrypted_content": opaque})
    for foreign in ("gAAAAABo", "qwill:", "qwill:??", "qwill:gAAA"):
        assert tokens({"type": "reasoning", "summary": [], "encrypted_content": foreign}) == tokens()


def test_log_probabilities(client: openai.OpenAI, server: Running) -> None:
    wanted: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 3}
    answer = ask(client, SUM, **wanted)
    part = answer.output[-1].content[0]
    assert "".join(token.token for token in part.logprobs) == part.text
    for token in part.logprobs:
        assert token.token == token.top_logprobs[0].token  # greedy
        assert len(token.top_logprobs) == 3
        assert bytes(token.bytes).decode() == token.token
    events = events_of(server, input=SUM, **wanted)
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    streamed = [token for event in deltas for token in event["logprobs"]]
    assert streamed == [token.to_dict() for token in part.logprobs]
    (done,) = [event for event in events if event["type"] == "response.output_text.done"]
    assert done["logprobs"] == streamed
    assert ask(client, SUM).output[-1].content[0].logprobs == []
    with pytest.raises(openai.BadRequestError, match="top_logprobs needs include"):
        ask(client, SUM, top_logprobs=3)


def test_answers_that_are_cut_off(client: openai.OpenAI, server: Running) -> None:
    answer = ask(client, SUM, max_output_tokens=3)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 3
    assert [item.status for item in answer.output] == ["incomplete"]
    events = events_of(server, input=SUM, max_output_tokens=3)
    assert events[-1]["type"] == "response.incomplete"
    assert told(events) == events[-1]["response"]["output"]
    assert client.responses.retrieve(events[-1]["response"]["id"]).status == "incomplete"


def test_a_call_that_is_cut_off(client: openai.OpenAI, server: Running) -> None:
    question = "Translate 'red house' into French."
    asked: dict[str, Any] = {"tools": [TRANSLATE], "reasoning": {"effort": "none"}}
    (call,) = ask(client, question, **asked).output
    seen = {}
    for most in range(5, 60, 2):
        events = events_of(server, input=question, max_output_tokens=most, **asked)
        final = events[-1]["response"]
        assert told(events) == final["output"]
        (item,) = final["output"]
        if item["status"] == "completed":  # though its closing tag may be missing
            break
        if item["type"] == "message":  # before its function is named nothing is told
            assert item["content"][0]["text"] == ""
        else:
            assert item["name"] == "translate"
            assert call.arguments.startswith(item["arguments"])
            with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
                json.loads(item["arguments"])
            seen[item["arguments"]] = most
    assert len(seen) > 3
    assert plain(final["output"]) == plain([call])
    cut = ask(client, question, max_output_tokens=max(seen.values()), **asked)
    assert cut.output[0].status == "incomplete"
    assert ask(client, SUM, previous_response_id=cut.id).output_text.endswith("42")
    assert ask(client, [*cut.output, {"role": "user", "content": SUM}]).output_text.endswith("42")


@pytest.mark.parametrize("length", [20, 2000])
def test_tokens_are_counted_whether_or_not_they_fit(client: openai.OpenAI, length: int) -> None:
    more: Any = {"model": "demo", "instructions": "Be kind.", "tools": [WEATHER]}
    counted = client.responses.input_tokens.count(input="word " * length, **more)
    assert counted.object == "response.input_tokens"
    if length < 1000:
        answer = ask(client, "word " * length, **more)
        assert answer.usage.input_tokens == counted.input_tokens
        after = client.responses.input_tokens.count(input=SUM, previous_response_id=answer.id, **more)
        again = ask(client, SUM, previous_response_id=answer.id, **more)
        assert after.input_tokens == again.usage.input_tokens
    else:
        assert length < counted.input_tokens < 2 * length
    raw = client.responses.input_tokens.with_raw_response.count(input=SUM, truncation="auto", model="demo")
    assert raw.headers["x-qwill-ignored"] == "truncation"
    with pytest.raises(openai.BadRequestError, match="personality"):
        client.responses.input_tokens.count(input=SUM, personality="friendly", model="demo")


def test_what_is_not_offered_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not compacted here"):
        client.responses.compact(model="demo", input=SUM)


def test_answers_that_fail(client: openai.OpenAI, server: Running) -> None:
    error = ZeroDivisionError("secret details")
    with failing_once(server, error), pytest.raises(openai.InternalServerError, match="the server failed"):
        ask(client, SUM)
    with failing_once(server, error):
        events = events_of(server, input=SUM)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert "the server failed" in events[-2]["message"]
    failed = events[-1]["response"]
    assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
    assert "secret" not in json.dumps(events)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(failed["id"])


def test_what_means_nothing_here_is_told(client: openai.OpenAI) -> None:
    answer = client.responses.with_raw_response.create(
        model="demo", input=SUM, user="somebody", truncation="auto", reasoning={"effort": "low", "context": "auto"},
        text={"verbosity": "low"}, include=["file_search_call.results"], prompt_cache_key="x", service_tier="auto",
    )  # fmt: skip
    assert answer.headers["x-qwill-ignored"] == (
        "include, prompt_cache_key, reasoning.context, service_tier, text.verbosity, truncation, user"
    )
    silent = client.responses.with_raw_response.create(
        model="demo", input=SUM, metadata={"a": "b"}, store=True, truncation="disabled", background=False,
        include=["reasoning.encrypted_content"],
    )  # fmt: skip
    assert "x-qwill-ignored" not in silent.headers


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"extra_body": {"temprature": 1}}, "unknown field 'temprature'"),
        ({"temperature": -1}, "temperature must be"),
        ({"max_output_tokens": 0}, "max_tokens must be"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"role": "judge", "content": "x"}]}, "role"),
        ({"input": [{"role": "user", "content": [{"type": "input_flie", "file_id": "f"}]}]}, "'input_flie' is none"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "the address of an image"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "data:,x"}]}]},
            "holds text alone",
        ),
        (
            {"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]},
            "none of its items can be shown",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "names the call 'c'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,x"}]}]}, "image"),
        ({"tools": [{"type": "web_search"}]}, "none is left, since this server does not run web_search"),
        ({"tools": [{"type": "custom", "format": {"type": "text"}}]}, "tools.0.name"),
        ({"tool_choice": "required"}, "required"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "needs a schema"),
        ({"text": {"format": {"type": "json_object", "schema": {}}}}, "has no schema"),
        ({"text": {"format": {"type": "json_object"}}, "extra_body": {"guided_regex": "a"}}, "exclude each other"),
        ({"background": True}, "nothing is answered in the background"),
        ({"conversation": "conv_1"}, "use previous_response_id"),
        ({"prompt": {"id": "pmpt_1"}}, "prompts are not kept here"),
        ({"extra_body": {"n": 2}}, "a response is one answer"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"include": ["everything"]}, "include"),
        ({"input": "word " * 2000}, "context"),
    ],
)
def test_mistakes_are_named(client: openai.OpenAI, more: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.responses.create(**{"model": "demo", "input": SUM, **more})
    assert "\n" not in caught.value.body["message"]


def test_unknown_queries(server: Running) -> None:
    refused = send("GET", f"{server.url}/v1/responses/resp_1?colour=red")
    assert refused.status_code == 400
    assert "colour" in refused.json()["error"]["message"]
