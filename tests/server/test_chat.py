"""/v1/chat/completions and /v1/completions through the official client."""

import base64
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from server.asking import ABOUT_ANNA, ANNA, Person, send
from server.running import Running

PICTURE = Path(__file__).parents[2] / "docs" / "red_circle.png"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SUM = "What is 17 + 25?"


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def ask(client: openai.OpenAI, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": text}], **more)


def collect(stream: Any) -> tuple[str, str, list[dict[str, Any]], Any]:
    """Content, reasoning, calls and the last chunk that has a choice."""
    content, reasoning, last = "", "", None
    calls: list[dict[str, Any]] = []
    for chunk in stream:
        if not chunk.choices:
            continue
        last = chunk
        delta = chunk.choices[0].delta
        content += delta.content or ""
        reasoning += getattr(delta, "reasoning_content", None) or ""
        for call in delta.tool_calls or []:
            if call.index == len(calls):
                assert call.id
                calls.append({"name": call.function.name, "arguments": ""})
            calls[call.index]["arguments"] += call.function.arguments
    return content, reasoning, calls, last


def test_a_question(client: openai.OpenAI) -> None:
    answer = ask(client, SUM)
    assert answer.choices[0].message.content.endswith("42")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.reasoning_content == answer.choices[0].message.reasoning != ""
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens


@pytest.mark.parametrize("thinking", [True, False])
def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI, thinking: bool) -> None:
    more: dict[str, Any] = {"temperature": 0, "extra_body": {"chat_template_kwargs": {"enable_thinking": thinking}}}
    message = ask(client, SUM, **more).choices[0].message
    stream = ask(client, SUM, stream=True, stream_options={"include_usage": True}, **more)
    chunks = list(stream)
    content, reasoning, _, last = collect(chunks)
    assert content == message.content
    assert reasoning == (getattr(message, "reasoning_content", None) or "")
    assert bool(reasoning) == thinking
    assert last.choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0


def test_calls(client: openai.OpenAI) -> None:
    called = ask(client, "What is the weather in Paris?", tools=[WEATHER], temperature=0)
    assert called.choices[0].finish_reason == "tool_calls"
    (call,) = called.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    stream = ask(client, "What is the weather in Paris?", tools=[WEATHER], temperature=0, stream=True)
    _, _, calls, last = collect(stream)
    assert calls == [{"name": "get_weather", "arguments": call.function.arguments}]
    assert last.choices[0].finish_reason == "tool_calls"
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        called.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21, "sky": "clear"}'},
    ]
    answer = client.chat.completions.create(model="demo", messages=messages, tools=[WEATHER], temperature=0)
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


def test_a_call_that_is_cut_off(client: openai.OpenAI) -> None:
    more: dict[str, Any] = {"tools": [WEATHER], "temperature": 0, "extra_body": {"enable_thinking": False}}
    (call,) = ask(client, "What is the weather in Paris?", **more).choices[0].message.tool_calls
    told = set()
    for most in range(4, 60, 2):
        cut = ask(client, "What is the weather in Paris?", max_tokens=most, **more)
        choice = cut.choices[0]
        content, _, calls, last = collect(
            ask(client, "What is the weather in Paris?", max_tokens=most, stream=True, **more)
        )
        assert (content or None, last.choices[0].finish_reason) == (choice.message.content, choice.finish_reason)
        functions = [one.function.model_dump() for one in choice.message.tool_calls or []]
        assert [{"name": one["name"], "arguments": one["arguments"]} for one in functions] == calls
        if [one["arguments"] for one in functions] == [call.function.arguments]:  # its closing tag may be missing
            break
        assert choice.finish_reason == "length"
        for one in functions:
            assert call.function.arguments.startswith(one["arguments"])
            with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
                json.loads(one["arguments"])
            told.add(one["arguments"])
            sent_back = choice.message.model_dump(exclude_none=True)
    assert "{" in told
    assert len(told) > 2
    conversation = [{"role": "user", "content": "?"}, sent_back, {"role": "user", "content": SUM}]
    assert client.chat.completions.create(model="demo", messages=conversation, max_tokens=1).choices


def test_tool_choice(client: openai.OpenAI) -> None:
    forced = ask(client, SUM, tools=[WEATHER], tool_choice="required", max_tokens=200)
    assert forced.choices[0].message.tool_calls[0].function.name == "get_weather"
    named = {"type": "function", "function": {"name": "get_weather"}}
    assert ask(client, SUM, tools=[WEATHER], tool_choice=named).choices[0].message.tool_calls
    none = ask(client, "What is the weather in Paris?", tools=[WEATHER], tool_choice="none")
    assert none.choices[0].message.tool_calls is None
    with pytest.raises(openai.BadRequestError, match="get_rain"):
        ask(client, SUM, tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_rain"}})


def test_one_call_at_a_time(client: openai.OpenAI) -> None:
    """`parallel_tool_calls` false ends the answer after the first call."""
    text = "What is the weather in Paris and in Rome?"
    several = ask(client, text, tools=[WEATHER], temperature=0)
    one = ask(client, text, tools=[WEATHER], temperature=0, parallel_tool_calls=False)
    assert len(several.choices[0].message.tool_calls) == 2
    assert one.choices[0].message.tool_calls[0].function == several.choices[0].message.tool_calls[0].function
    assert len(one.choices[0].message.tool_calls) == 1
    assert one.choices[0].finish_reason == "tool_calls"
    stream = ask(client, text, tools=[WEATHER], temperature=0, parallel_tool_calls=False, stream=True)
    assert len(collect(stream)[2]) == 1


def test_a_picture(client: openai.OpenAI) -> None:
    address = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"
    parts = [
        {"type": "image_url", "image_url": {"url": address, "detail": "auto"}},
        {"type": "text", "text": "What is in the picture?"},
    ]
    answer = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": parts}], temperature=0)
    assert answer.choices[0].message.content == "A red circle."
    assert answer.usage.prompt_tokens_details.image_tokens > 0


def test_structured(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model="demo", messages=[{"role": "user", "content": ABOUT_ANNA}], response_format=Person, temperature=0
    )
    assert parsed.choices[0].message.parsed == ANNA
    either = ask(client, SUM, extra_body={"guided_regex": "yes|no"})
    assert either.choices[0].message.content in ("yes", "no")
    anything = ask(client, SUM, response_format={"type": "json_object"}, max_tokens=300)
    if anything.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(anything.choices[0].message.content), dict)


def test_log_probabilities(client: openai.OpenAI) -> None:
    answer = ask(client, SUM, logprobs=True, top_logprobs=3, temperature=0)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert token.token == token.top_logprobs[0].token  # greedy
        logprobs = [top.logprob for top in token.top_logprobs]
        assert logprobs == sorted(logprobs, reverse=True)
        assert bytes(token.bytes).decode("utf-8", "replace") == token.token
    streamed = [
        token
        for chunk in ask(client, SUM, logprobs=True, top_logprobs=3, temperature=0, stream=True)
        for token in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert [token.token for token in streamed] == [token.token for token in content]
    with pytest.raises(openai.BadRequestError, match="top_logprobs needs logprobs"):
        ask(client, SUM, top_logprobs=3)


def test_several_answers(client: openai.OpenAI) -> None:
    answer = ask(client, "Hello!", n=3, seed=5, temperature=1.5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    alone = ask(client, "Hello!", seed=6, temperature=1.5)
    assert answer.choices[1].message.content == alone.choices[0].message.content
    assert answer.usage.prompt_tokens == alone.usage.prompt_tokens
    texts = {0: "", 1: "", 2: ""}
    for chunk in ask(client, "Hello!", n=3, seed=5, temperature=1.5, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert list(texts.values()) == [choice.message.content for choice in answer.choices]


def test_seeds_stop_strings_and_limits(client: openai.OpenAI) -> None:
    first, second = (ask(client, "Hello!", seed=7, temperature=2).choices[0].message.content for _ in range(2))
    assert first == second
    stopped = ask(client, SUM, stop=["= "], temperature=0, extra_body={"enable_thinking": False}).choices[0]
    assert stopped.message.content == "17 + 25 "
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", "= ")
    cut = ask(client, SUM, max_completion_tokens=2)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 2


def test_a_thinking_budget(client: openai.OpenAI) -> None:
    for body in ({"thinking_budget": 0}, {"reasoning": {"max_tokens": 0}}):
        answer = ask(client, SUM, temperature=0, extra_body=body)
        assert not getattr(answer.choices[0].message, "reasoning_content", None)
        assert answer.choices[0].message.content
    assert not getattr(ask(client, SUM, reasoning_effort="none").choices[0].message, "reasoning_content", None)
    hidden = ask(client, SUM, extra_body={"include_reasoning": False})
    assert not getattr(hidden.choices[0].message, "reasoning_content", None)
    assert hidden.usage.completion_tokens_details.reasoning_tokens > 0


def test_a_bias(client: openai.OpenAI, server: Running) -> None:
    tokenizer = server.worker.llm.tokenizer
    (token,) = tokenizer.encode("7")
    free = {"enable_thinking": False}
    answer = ask(client, SUM, temperature=0, extra_body=free, logit_bias={str(token): -100}, max_tokens=30)
    assert "7" not in answer.choices[0].message.content
    for bias in ({"x": 1}, {"-1": 1}, {"1": 101}, {"9999999": 1}):
        with pytest.raises(openai.BadRequestError, match="logit_bias"):
            ask(client, SUM, logit_bias=bias)


@pytest.mark.parametrize("field", ["prefix", "continue_final_message"])
def test_an_answer_that_was_begun(client: openai.OpenAI, field: str) -> None:
    begun: dict[str, Any] = {"role": "assistant", "content": "17 + 25"}
    more: dict[str, Any] = {}
    if field == "prefix":
        begun["prefix"] = True
    else:
        more["extra_body"] = {"continue_final_message": True}
    messages: Any = [{"role": "user", "content": SUM}, begun]
    answer = client.chat.completions.create(model="demo", messages=messages, temperature=0, **more)
    assert answer.choices[0].message.content == " = 42"
    with pytest.raises(openai.BadRequestError, match="only an assistant's message"):
        ask(client, SUM, extra_body={"continue_final_message": True})


def test_several_system_messages_are_merged_in_order(client: openai.OpenAI, server: Running) -> None:
    def tokens(*systems: str) -> list[int]:
        messages = [{"role": "user", "content": "Hi"}]
        messages[1:1] = [{"role": "system", "content": text} for text in systems]
        body = send("POST", f"{server.url}/tokenize", json={"messages": messages}).json()
        assert body["count"] == len(body["tokens"])
        return list(body["tokens"])

    assert tokens("Be kind.", "Be short.") == tokens("Be kind.\n\nBe short.") != tokens("Be short.", "Be kind.")
    assert client.chat.completions.create(
        model="demo",
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello!"},
            {"role": "developer", "content": "Be short."},
        ],
    ).choices


def test_tokens_there_and_back(server: Running) -> None:
    text = "17 + 25 = 42, naïve 中文 <|im_end|>"
    ids = send("POST", f"{server.url}/tokenize", json={"prompt": text}).json()["tokens"]
    assert send("POST", f"{server.url}/detokenize", json={"tokens": ids}).json()["prompt"] == text
    assert send("POST", f"{server.url}/detokenize", json={"tokens": [10**9]}).status_code == 400
    assert send("POST", f"{server.url}/tokenize", json={}).status_code == 400


def test_what_means_nothing_here_is_told(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="demo", messages=[{"role": "user", "content": SUM}], user="somebody", metadata={"a": "b"}, store=True
    )
    assert answer.headers["x-qwill-ignored"] == "metadata, store, user"
    with pytest.raises(openai.BadRequestError, match="unknown field 'temprature'"):
        ask(client, SUM, extra_body={"temprature": 1})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"temperature": -1}, "temperature must be"),
        ({"top_p": -0.1}, "top_p must be"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"n": 0}, "n must be from 1 to 16"),
        ({"n": 17}, "n must be from 1 to 16"),
        ({"stop": [""]}, "stop must be"),
        ({"response_format": {"type": "json_schema"}}, "has no schema"),
        ({"extra_body": {"guided_regex": "("}}, "regex"),
        ({"extra_body": {"chat_template_kwargs": {"messages": []}}}, "'messages' cannot be set"),
        ({"extra_body": {"mm_processor_kwargs": {"fps": -1}}}, "fps"),
        ({"extra_body": {"messages": []}}, "messages"),
        ({"seed": 2**65}, "seed must be"),
    ],
)
def test_mistakes_are_named(client: openai.OpenAI, more: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        ask(client, SUM, **more)


def test_long_prompts(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "word " * 2000)
    assert caught.value.code == "context_length_exceeded"
    assert client.models.list().data[0].id == "demo"
    assert client.models.retrieve("demo").id == "demo"


def test_completions(client: openai.OpenAI, server: Running) -> None:
    answer = client.completions.create(model="demo", prompt="17 + 25 =", temperature=0, max_tokens=8)
    assert answer.choices[0].text.strip().startswith("42")
    ids = server.worker.llm.tokenizer.encode("17 + 25 =")
    several = client.completions.create(model="demo", prompt=[ids, ids], temperature=0, max_tokens=8, n=2, logprobs=2)
    assert {choice.text for choice in several.choices} == {answer.choices[0].text}
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    tokens = several.choices[0].logprobs.tokens
    assert len(tokens) == several.usage.completion_tokens // 4
    streamed = client.completions.create(model="demo", prompt="17 + 25 =", temperature=0, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text
    echoed = client.completions.create(model="demo", prompt="17 + 25 =", temperature=0, max_tokens=8, echo=True)
    assert echoed.choices[0].text == f"17 + 25 ={answer.choices[0].text}"
    for more in ({"suffix": "x"}, {"best_of": 5}, {"prompt": []}, {"prompt": [[]]}, {"prompt": [10**9]}):
        with pytest.raises(openai.BadRequestError):
            client.completions.create(**({"model": "demo", "prompt": "x"} | more))


def test_a_long_conversation_is_read_once(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "Please remember: " + "one two three " * 60}]
    first = client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=20)
    messages += [first.choices[0].message.model_dump(exclude_none=True), {"role": "user", "content": SUM}]
    second = client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=20)
    assert second.usage.prompt_tokens_details.cached_tokens > 100
