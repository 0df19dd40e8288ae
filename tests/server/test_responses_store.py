"""/v1/responses: what is remembered, for whom, how long."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from qwill.server.errors import Refusal
from qwill.server.keys import Keys
from qwill.server.openai.responses_store import Remembered, ResponseStore, memory_of
from qwill.server.settings import Settings
from server.asking import send, streamed
from server.responses_client import SUM, ask, client_of
from server.running import Running, running


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return client_of(server)


def test_conversations_go_on(client: openai.OpenAI) -> None:
    first = ask(client, "Please remember: " + "one two three " * 40, instructions="Be kind.")
    second = ask(client, SUM, previous_response_id=first.id)
    third = ask(client, "And 3 + 4?", previous_response_id=second.id, instructions="Be kind.")
    messages: list[Any] = [{"role": "user", "content": "Please remember: " + "one two three " * 40}]
    messages += [{"role": "assistant", "content": first.output_text}, {"role": "user", "content": SUM}]
    chat = client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=1)
    assert second.usage.input_tokens == chat.usage.prompt_tokens  # instructions hold for one response
    system = {"role": "system", "content": "Be kind."}
    messages += [{"role": "assistant", "content": second.output_text}, {"role": "user", "content": "And 3 + 4?"}]
    chat = client.chat.completions.create(model="demo", messages=[system, *messages], temperature=0, max_tokens=1)
    assert third.usage.input_tokens == chat.usage.prompt_tokens
    assert third.usage.input_tokens_details.cached_tokens > 100
    client.responses.delete(first.id)
    assert ask(client, "Hello!", previous_response_id=second.id).status == "completed"


def test_stored_responses(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": SUM, "type": "message"}]
    answer = ask(client, messages)
    assert client.responses.retrieve(answer.id).to_dict() == answer.to_dict()
    newest = list(client.responses.input_items.list(answer.id))
    assert [item.role for item in newest] == ["user", "developer"]
    assert newest[0].content[0].text == SUM
    page = client.responses.input_items.list(answer.id, order="asc", limit=1)
    assert page.has_more
    assert [item.id for item in page] == [item.id for item in reversed(newest)]  # the client fetches all pages
    second = ask(client, [{"type": "item_reference", "id": newest[0].id}])
    assert second.usage.input_tokens == ask(client, SUM).usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="is finished"):
        client.responses.cancel(answer.id)
    with pytest.raises(openai.BadRequestError, match="no item 'nowhere'"):
        client.responses.input_items.list(answer.id, after="nowhere")
    with pytest.raises(openai.BadRequestError, match="limit"):
        client.responses.input_items.list(answer.id, limit=101)
    with pytest.raises(openai.BadRequestError, match="not streamed again"):
        client.responses.retrieve(answer.id, stream=True)
    client.responses.delete(answer.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError, match="no response 'resp_"):
            call(answer.id)
    with pytest.raises(openai.NotFoundError, match="send the conversation as input") as caught:
        ask(client, SUM, previous_response_id=answer.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    with pytest.raises(openai.NotFoundError, match="no item 'msg_1' is stored"):
        ask(client, [{"type": "item_reference", "id": "msg_1"}])


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call"])
@pytest.mark.parametrize("refers", [False, True])
def test_a_call_that_was_cut_off_may_be_answered(server: Running, kind: str, refers: bool) -> None:
    """A program that could not read it says so, in the next request; where it says nothing, the call is left out. The
    model reads the same as from a client that keeps the conversation."""
    long = "(ab){999}"
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": f"^{long}$"}}, "required": ["a"]}
    form = {"type": "grammar", "syntax": "regex", "definition": long}
    function = {"type": "function", "name": "f", "parameters": schema}
    tool = {"type": "custom", "name": "f", "format": form} if kind == "custom_tool_call" else function
    question = {"role": "user", "content": "x"}
    body = {"tools": [tool], "tool_choice": "required", "max_output_tokens": 60, "reasoning": {"effort": "none"}}

    def told(**more: Any) -> dict[str, Any]:
        answer = send("POST", f"{server.url}/v1/responses", json=body | more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    first = told(input=[question])
    (call,) = first["output"]
    assert (call["type"], call["status"]) == (kind, "incomplete")
    output = {"type": f"{kind}_output", "call_id": call["call_id"], "output": "That is no JSON."}
    calls = [{"type": "item_reference", "id": call["id"]}] if refers else []
    before = {} if refers else {"previous_response_id": first["id"]}
    second = told(input=[*([question] if refers else []), *calls, output], **before)
    assert second["usage"]["input_tokens"] == told(input=[question, call, output])["usage"]["input_tokens"]
    third = told(input=[question], previous_response_id=second["id"])
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"]
    other = told(input=[question], previous_response_id=first["id"])
    assert other["usage"]["input_tokens"] == told(input=[question, question])["usage"]["input_tokens"]


def test_what_is_not_stored(client: openai.OpenAI, server: Running) -> None:
    answer = ask(client, SUM, store=False)
    assert answer.to_dict()["store"] is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    body = {"input": "Hello!", "stream": True, "ignore_eos": True, "temperature": 1.0}
    with streamed(f"{server.url}/v1/responses", json=body) as left:
        data = next(line for line in left.iter_lines() if line.startswith("data: "))
    server.until_idle()
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(json.loads(data.removeprefix("data: "))["response"]["id"])


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with two keys that remembers two responses."""
    with running(Settings(stored_responses=2, keys=Keys.of(["the first secret", "the second secret"]))) as started:
        yield started


def test_responses_belong_to_their_key(guarded: Running) -> None:
    owner, other = client_of(guarded, "the first secret"), client_of(guarded, "the second secret")
    answer = ask(owner, SUM)
    item = next(iter(owner.responses.input_items.list(answer.id)))
    for call in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(answer.id)
    with pytest.raises(openai.NotFoundError):
        ask(other, SUM, previous_response_id=answer.id)
    with pytest.raises(openai.NotFoundError):
        ask(other, [{"type": "item_reference", "id": item.id}])
    assert owner.responses.retrieve(answer.id).id == answer.id


def test_the_oldest_are_forgotten(guarded: Running) -> None:
    client = client_of(guarded, "the first secret")
    first, second, third = (ask(client, SUM, max_output_tokens=1).id for _ in range(3))
    assert client.responses.retrieve(second).id == second
    assert client.responses.retrieve(third).id == third
    with pytest.raises(openai.NotFoundError, match="where the newest 2 are"):
        client.responses.retrieve(first)


def test_a_bound_in_bytes() -> None:
    def remembered(name: str, size: int) -> Remembered:
        return Remembered("me", {"id": name, "output": []}, [{"id": f"item of {name}"}], size)

    store = ResponseStore(most=10, most_bytes=1000)
    for name, size in (("a", 400), ("b", 400), ("c", 300)):
        store.put(remembered(name, size))
    assert store.items("me").keys() == {"item of b", "item of c"}
    assert not store.items("you")
    store.delete("me", "b")
    store.put(remembered("d", 700))
    assert store.items("me").keys() == {"item of c", "item of d"}
    assert store.size([], store.get("me", "c")) == 300 + memory_of([])
    with pytest.raises(Refusal, match="send store: false"):
        store.size([], store.get("me", "d"))


def test_bytes_of_deep_and_long_values() -> None:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    assert memory_of(deep) > 20_000
    assert 2_000_000 < memory_of({"a": ["é" * 1_000_000, {"b": "c" * 1_000_000}]}) < 4_000_000
