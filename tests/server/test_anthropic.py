"""/v1/messages and /v1/messages/count_tokens through the official client."""

import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from qwill.server.keys import Key, Keys
from qwill.server.settings import Settings
from server.anthropic_parts import IMAGE, PARIS, SUM, WEATHER, assistant, result, use, user
from server.asking import ABOUT_ANNA, ANNA, Person, streamed
from server.running import Running, running

THINKING = {"type": "enabled", "budget_tokens": 2048}
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


def request(content: Any, **more: Any) -> dict[str, Any]:
    messages = content if isinstance(content, list) and "role" in content[0] else [user(content)]
    return {"model": "demo", "max_tokens": 300, "messages": messages, "extra_body": GREEDY} | more


def ask(client: anthropic.Anthropic, content: Any, **more: Any) -> Any:
    return client.messages.create(**request(content, **more))


def stream(client: anthropic.Anthropic, content: Any, **more: Any) -> Any:
    with client.messages.stream(**request(content, **more)) as events:
        return events.get_final_message()


def count(client: anthropic.Anthropic, content: Any, **more: Any) -> int:
    body = request(content, **more)
    del body["max_tokens"], body["extra_body"]
    return int(client.messages.count_tokens(**body).input_tokens)


def without_ids(message: Any) -> Any:
    """What two answers to the same question have in common."""
    content = [{key: value for key, value in block.to_dict().items() if key != "id"} for block in message.content]
    return content, message.stop_reason, message.stop_sequence, message.usage.output_tokens


def test_a_question(client: anthropic.Anthropic) -> None:
    message = ask(client, SUM)
    assert [block.type for block in message.content] == ["text"]  # the dialect's default is not to think
    assert message.content[0].text == "17 + 25 = 42"
    assert (message.stop_reason, message.stop_sequence, message.model) == ("end_turn", None, "demo")
    assert message.usage.input_tokens > 0 < message.usage.output_tokens
    assert message.usage.output_tokens_details.thinking_tokens == 0
    assert message.id.startswith("msg_")
    assert message._request_id.startswith("req_")


def test_the_events_of_a_stream(client: anthropic.Anthropic) -> None:
    events = list(ask(client, SUM, stream=True, thinking=THINKING))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("message_start") == kinds.count("message_stop") == 1
    opened = [event for event in events if event.type == "content_block_start"]
    assert [(event.index, event.content_block.type) for event in opened] == [(0, "thinking"), (1, "text")]
    deltas = [event.delta.type for event in events if event.type == "content_block_delta"]
    assert deltas == sorted(deltas, key=["thinking_delta", "signature_delta", "text_delta"].index)
    assert deltas.count("signature_delta") == 1
    assert deltas.count("text_delta") > 1
    first, last = events[0].message, events[-2]
    assert (first.role, first.content, first.stop_reason, first.usage.output_tokens) == ("assistant", [], None, 0)
    assert first.usage.input_tokens == last.usage.input_tokens > 0
    assert first.usage.cache_read_input_tokens == last.usage.cache_read_input_tokens
    assert last.usage.output_tokens > 0


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (SUM, {}),
        (SUM, {"thinking": THINKING}),
        (SUM, {"thinking": {"type": "adaptive", "display": "omitted"}}),
        (SUM, {"max_tokens": 2}),
        (PARIS, {"tools": [WEATHER]}),
        ("What is the weather in Paris and in Rome?", {"tools": [WEATHER], "thinking": THINKING}),
        (SUM, {"stop_sequences": ["= "]}),
    ],
)
def test_a_stream_says_what_the_whole_answer_says(client: anthropic.Anthropic, text: str, more: Any) -> None:
    assert without_ids(stream(client, text, **more)) == without_ids(ask(client, text, **more))


def test_thinking(client: anthropic.Anthropic) -> None:
    message = ask(client, SUM, thinking=THINKING)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking
    assert message.content[0].signature
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens
    for thinking in ({"type": "disabled"}, {"type": "enabled", "budget_tokens": 0}):
        assert [block.type for block in ask(client, SUM, thinking=thinking).content] == ["text"]
    adaptive = ask(client, SUM, thinking={"type": "adaptive"}, output_config={"effort": "low"})
    assert without_ids(adaptive) == without_ids(message)
    few = ask(client, SUM, thinking={"type": "enabled", "budget_tokens": 3})
    assert few.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens_details.thinking_tokens


def test_reasoning_that_the_client_does_not_see_comes_back(client: anthropic.Anthropic) -> None:
    """Within a chain of calls the prompt holds the reasoning; its signature carries it when the client does not."""
    shown = ask(client, PARIS, tools=[WEATHER], thinking=THINKING)
    hidden = ask(client, PARIS, tools=[WEATHER], thinking=THINKING | {"display": "omitted"})
    assert shown.content[0].thinking
    assert (hidden.content[0].type, hidden.content[0].thinking) == ("thinking", "")

    def tokens(*blocks: Any) -> int:
        answered = user([result(shown.content[-1].id, "sunny")])
        calls = [shown.content[-1]]
        return count(client, [user(PARIS), assistant([*blocks, *calls]), answered], tools=[WEATHER], thinking=THINKING)

    assert tokens(shown.content[0]) == tokens(hidden.content[0]) > tokens()
    foreign = {"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"}
    assert tokens(foreign) == tokens()
    with pytest.raises(anthropic.BadRequestError, match="signature of a thinking block is damaged"):
        tokens({"type": "thinking", "thinking": "", "signature": "qwill.x"})


def test_a_loop_of_calls(client: anthropic.Anthropic) -> None:
    called = ask(client, PARIS, tools=[WEATHER])
    assert called.stop_reason == "tool_use"
    call = called.content[-1]
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    assert call.id.startswith("toolu_")
    found = result(call.id, "sunny")
    messages = [user(PARIS), called.to_param(), user([found])]
    answer = ask(client, messages, tools=[WEATHER])
    assert answer.stop_reason == "end_turn"
    assert "sunny" in answer.content[0].text
    parts = [{"type": "text", "text": found["content"]}]
    assert without_ids(ask(client, [*messages[:2], user([result(call.id, parts)])], tools=[WEATHER])) == without_ids(
        answer
    )


def test_the_clients_own_loop(client: anthropic.Anthropic) -> None:
    """It asks the server to keep the conversation, and sends all of it once that is refused."""
    asked: list[str] = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city"""
        asked.append(city)
        return "sunny"

    runner = client.beta.messages.tool_runner(
        model="demo", max_tokens=300, tools=[get_weather], messages=[user(PARIS)], extra_body=GREEDY
    )
    assert runner.until_done().stop_reason == "end_turn"
    assert asked == ["Paris"]


def test_arguments_are_streamed_one_by_one(client: anthropic.Anthropic) -> None:
    events = list(ask(client, "What is the weather in Paris and in Rome?", tools=[WEATHER], stream=True))
    opened = [event for event in events if event.type == "content_block_start"]
    uses = [event.index for event in opened if event.content_block.type == "tool_use"]
    assert len(uses) == 2
    assert len({event.content_block.id for event in opened if event.index in uses}) == 2
    for index, city in zip(uses, ("Paris", "Rome"), strict=True):
        deltas = [event.delta for event in events if event.type == "content_block_delta" and event.index == index]
        assert {delta.type for delta in deltas} == {"input_json_delta"}
        assert len(deltas) > 1
        assert json.loads("".join(delta.partial_json for delta in deltas))["city"] == city
    assert events[-2].delta.stop_reason == "tool_use"


def test_tool_choice(client: anthropic.Anthropic) -> None:
    other = WEATHER | {"name": "get_rain"}
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        forced = ask(client, SUM, tools=[WEATHER], tool_choice=choice)
        assert {(block.type, block.name) for block in forced.content} == {("tool_use", "get_weather")}
    named = ask(client, PARIS, tools=[WEATHER, other], tool_choice={"type": "tool", "name": "get_rain"})
    assert {block.name for block in named.content} == {"get_rain"}
    none = ask(client, PARIS, tools=[WEATHER], tool_choice={"type": "none"})
    assert [block.type for block in none.content] == ["text"]
    text = "What is the weather in Paris and in Rome?"
    for kind in ("auto", "any"):
        one = ask(client, text, tools=[WEATHER], tool_choice={"type": kind, "disable_parallel_tool_use": True})
        assert [block.type for block in one.content] == ["tool_use"]
    strict = ask(client, PARIS, tools=[WEATHER | {"strict": True, "type": "custom"}])
    assert strict.content[0].input == {"city": "Paris"}


def test_an_answer_that_was_begun(client: anthropic.Anthropic) -> None:
    assert ask(client, [user(SUM), assistant("17 + 25")]).content[0].text == " = 42"
    parted = [{"type": "text", "text": "17 "}, {"type": "text", "text": "+ 25"}]
    assert ask(client, [user(SUM), assistant(parted)]).content[0].text == " = 42"
    with pytest.raises(anthropic.BadRequestError, match="cannot go on after tool calls"):
        ask(client, [user(PARIS), assistant([use("a")])], tools=[WEATHER])


def test_a_picture(client: anthropic.Anthropic) -> None:
    text = {"type": "text", "text": "What is in the picture?"}
    answer = ask(client, [IMAGE, text])
    assert answer.content[0].text == "A red circle."


def test_a_picture_that_a_call_gave(client: anthropic.Anthropic) -> None:
    """It stands inside the result, where the template has a place for it."""
    messages = [user("What is in the picture?"), assistant([use("a")])]
    seen, read = [*messages, user([result("a", [IMAGE])])], [*messages, user([result("a", "x")])]
    picture = count(client, [IMAGE]) - count(client, "x")
    assert count(client, seen, tools=[WEATHER]) - count(client, read, tools=[WEATHER]) == picture > 0
    assert ask(client, seen, tools=[WEATHER]).content


def test_structured(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(**request(ABOUT_ANNA, output_format=Person))
    assert parsed.parsed_output == ANNA
    schema = {"type": "json_schema", "schema": Person.model_json_schema()}
    older = ask(client, ABOUT_ANNA, extra_body=GREEDY | {"output_format": schema})
    assert Person.model_validate_json(older.content[0].text) == ANNA
    with pytest.raises(anthropic.BadRequestError, match="exclude each other"):
        ask(client, ABOUT_ANNA, output_config={"format": schema}, extra_body={"output_format": schema})


SYSTEM = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (SUM, {}),
        (SUM, {"system": SYSTEM}),
        (SUM, {"thinking": THINKING}),
        (PARIS, {"tools": [WEATHER]}),
        ([IMAGE, {"type": "text", "text": "What is in the picture?"}], {}),
        ([user(SUM), assistant("17 + 25")], {}),
    ],
)
def test_counted_tokens_are_those_of_the_answers_prompt(client: anthropic.Anthropic, content: Any, more: Any) -> None:
    counted = count(client, content, **more)
    for _ in range(2):
        usage = ask(client, content, **more).usage
        assert usage.input_tokens + usage.cache_read_input_tokens == counted
        assert usage.cache_creation_input_tokens == 0
        assert usage.input_tokens > 0


def test_what_does_not_fit_is_counted_all_the_same(client: anthropic.Anthropic) -> None:
    few, many = (count(client, "word " * words) for words in (200, 4000))
    assert many > 3 * 1024
    assert many - 3800 == pytest.approx(few, abs=1)
    with pytest.raises(anthropic.BadRequestError, match="the context holds 1024"):
        ask(client, "word " * 4000)


def test_a_long_conversation_is_read_once(client: anthropic.Anthropic) -> None:
    """The header that an agent puts in front, new with every request, must not be in the way of that."""

    def read(number: int, *messages: Any) -> tuple[Any, str]:
        accounting = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2; cch={number};"}
        more = {"system": [accounting, {"type": "text", "text": "one two three " * 60}]}
        raw = client.messages.with_raw_response.create(**request(list(messages), **more))
        return raw.parse(), raw.headers["x-qwill-ignored"]

    first, ignored = read(1, user("Hello!"))
    assert ignored == "x-anthropic-billing-header"
    second, _ = read(2, user("Hello!"), first.to_param(), user(SUM))
    assert second.usage.cache_read_input_tokens > 100


def test_stop_sequences(client: anthropic.Anthropic) -> None:
    message = ask(client, SUM, stop_sequences=["never", "= "])
    assert message.content[0].text == "17 + 25 "
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "= ")
    unmatched = ask(client, SUM, stop_sequences=["never"])
    assert (unmatched.stop_reason, unmatched.stop_sequence) == ("end_turn", None)


def test_an_answer_that_is_cut_off(client: anthropic.Anthropic, server: Running) -> None:
    cut = ask(client, SUM, max_tokens=2)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)
    text = "word " * (server.worker.llm.max_context - count(client, "word", thinking=THINKING) - 1)
    long = count(client, text, thinking=THINKING)
    room = server.worker.llm.max_context - long
    assert 0 < room < 20
    full = ask(client, text, thinking=THINKING, max_tokens=5000)
    assert (full.stop_reason, full.usage.output_tokens) == ("model_context_window_exceeded", room)


def test_a_call_that_is_cut_off(client: anthropic.Anthropic) -> None:
    """It has the arguments that came whole, and never looks like one that is complete."""
    whole = ask(client, PARIS, tools=[WEATHER]).usage.output_tokens
    inputs = []
    for most in range(6, whole - 4, 2):
        cut = ask(client, PARIS, tools=[WEATHER], max_tokens=most)
        assert cut.stop_reason == "max_tokens"
        assert without_ids(stream(client, PARIS, tools=[WEATHER], max_tokens=most)) == without_ids(cut)
        if cut.content[-1].type == "tool_use":
            inputs.append(cut.content[-1].input)
        else:  # before its function is named nothing is told
            assert cut.content[-1].to_dict() == {"type": "text", "text": ""}
    assert {} in inputs


def test_what_means_nothing_here_is_told(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(
        **request(
            [
                user([{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]),
                assistant([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Hello!"}]),
                user(SUM),
            ],
            metadata={"user_id": "somebody"},
            service_tier="auto",
            output_config={"effort": "low"},
            tools=[WEATHER | {"eager_input_streaming": True}],
        )
    )
    told = "cache_control, eager_input_streaming, effort, metadata, redacted_thinking, service_tier"
    assert raw.headers["x-qwill-ignored"] == told
    begun = client.messages.with_raw_response.create(**request([user(SUM), assistant("17")], thinking=THINKING))
    assert begun.headers["x-qwill-ignored"] == "thinking"
    assert "x-qwill-ignored" not in client.messages.with_raw_response.create(**request(SUM)).headers


def test_betas(client: anthropic.Anthropic) -> None:
    raw = client.beta.messages.with_raw_response.create(
        **request(SUM, betas=["context-management-2025-06-27"], mcp_servers=[]),
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    )
    assert raw.parse().content[0].text == "17 + 25 = 42"
    assert raw.headers["x-qwill-ignored"] == "context_management"


def test_errors_are_of_the_clients_classes(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match=r"no model 'claude.*' here; there is demo") as missing:
        ask(client, SUM, model="claude" * 50)
    assert missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.body["request_id"].startswith("req_")
    with pytest.raises(anthropic.NotFoundError):
        count(client, SUM, model="claude" * 50)
    with pytest.raises(anthropic.BadRequestError, match="the context holds 1024") as long:
        ask(client, "word " * 2000)
    assert long.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError, match="this server does not run web_search_20250305"):
        ask(client, SUM, tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}])
    with pytest.raises(anthropic.BadRequestError, match="conversations are not kept here"):
        client.beta.messages.create(**request(SUM), thread={"type": "create"})
    with pytest.raises(anthropic.BadRequestError, match="no call before it"):
        ask(client, [user(SUM), user([result("nobody", "x")])])


def test_keys() -> None:
    keys = Keys([Key("one", hashlib.sha256(b"right").digest())])
    with running(Settings(keys=keys)) as server:
        for secret in ("wrong", "right"):
            with anthropic.Anthropic(base_url=server.url, api_key=secret, max_retries=0) as client:
                if secret == "right":
                    assert ask(client, SUM).content[0].text.endswith("42")
                else:
                    with pytest.raises(anthropic.AuthenticationError, match="API key") as refused:
                        ask(client, SUM)
                    assert refused.value.body["error"]["type"] == "authentication_error"


def test_a_step_that_fails_ends_the_stream(
    client: anthropic.Anthropic, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> Any:
        monkeypatch.undo()
        raise ZeroDivisionError("secret details")

    monkeypatch.setattr(server.worker.llm.engine, "step", failing)
    with pytest.raises(anthropic.APIStatusError, match="the server failed") as failed:
        list(ask(client, SUM, stream=True))
    assert failed.value.body["error"]["type"] == "api_error"
    assert ask(client, SUM).content


def test_a_slow_answer_pings(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, go = server.worker.llm.engine, threading.Event()
    step = engine.step

    def slow() -> Any:
        assert go.wait(30)
        return step()

    monkeypatch.setattr(engine, "step", slow)
    monkeypatch.setattr("qwill.server.worker.KEEP_ALIVE", 0.05)
    body = {"model": "demo", "max_tokens": 5, "messages": [user(SUM)], "stream": True}
    with streamed(f"{server.url}/v1/messages", json=body) as answer:
        lines = answer.iter_lines()
        names = []
        for line in lines:
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            if names[-2:] == ["ping", "ping"]:
                go.set()
    assert names[:3] == ["message_start", "ping", "ping"]
    assert names[-1] == "message_stop"


def test_models(client: anthropic.Anthropic) -> None:
    listed = list(client.models.list())
    assert [(model.id, model.type, model.display_name) for model in listed] == [("demo", "model", "demo")]
    assert client.models.retrieve("demo").created_at == listed[0].created_at
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("claude" * 50)
    assert caught.value.request_id
