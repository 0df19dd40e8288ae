"""Calls and results that come back: results reach their own calls, and what is no JSON is shown as it came."""

import itertools
import random
from typing import Any

import pytest

from qwill.server.conversation import NO_RESULT, in_order
from qwill.server.errors import Refusal
from server.asking import send
from server.dialects import CHAT, DIALECTS, MESSAGES, OLLAMA, RESPONSES, body_of, prompt_of
from server.running import Running

CITIES = {"a": "Paris", "b": "Rome", "c": "Oslo"}
TOOLS = {"type": "object", "properties": {"city": {"type": "string"}}}


def calls(path: str) -> list[tuple[str, str, Any]]:
    """A call for each city, its arguments as the dialect has them."""
    as_text = path in (CHAT, RESPONSES)
    return [(name, "f", f'{{"city": "{city}"}}' if as_text else {"city": city}) for name, city in CITIES.items()]


@pytest.mark.parametrize("path", DIALECTS)
def test_results_in_any_order_reach_their_calls(server: Running, path: str) -> None:
    prompts = {
        prompt_of(server, path, body_of(path, ["?", calls(path), {name: f"{CITIES[name]}!" for name in order}]))
        for order in itertools.permutations(CITIES)
    }
    (prompt,) = prompts
    assert prompt.index("Paris!") < prompt.index("Rome!") < prompt.index("Oslo!")


@pytest.mark.parametrize("path", DIALECTS)
def test_a_call_without_a_result_does_not_get_the_next_ones(server: Running, path: str) -> None:
    prompt = prompt_of(server, path, body_of(path, ["?", calls(path), {"c": "Oslo!", "b": "Rome!"}, "Well?"]))
    assert prompt.index(NO_RESULT) < prompt.index("Rome!") < prompt.index("Oslo!") < prompt.index("Well?")
    assert prompt.count(NO_RESULT) == 1
    silent = prompt_of(server, path, body_of(path, ["?", calls(path), "Never mind."]))
    assert NO_RESULT not in silent  # all of them were given up


@pytest.mark.parametrize("path", DIALECTS)
def test_what_the_user_says_between_results_comes_behind_them(server: Running, path: str) -> None:
    turns = ["?", calls(path), {"b": "Rome!"}, "Hurry!", {"a": "Paris!", "c": "Oslo!"}]
    prompt = prompt_of(server, path, body_of(path, turns))
    places = [prompt.index(word) for word in ("Paris!", "Rome!", "Oslo!", "Hurry!")]
    assert places == sorted(places)


@pytest.mark.parametrize("path", DIALECTS)
def test_turns_may_use_the_same_ids(server: Running, path: str) -> None:
    turns = ["?", calls(path)[:1], {"a": "first"}, calls(path)[:1], {"a": "second"}]
    prompt = prompt_of(server, path, body_of(path, turns))
    assert prompt.index("first") < prompt.rindex("<tool_call>") < prompt.index("second")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (["?", None, {"a": "x", "nobody": "y"}], "'nobody', and no call before it has that id"),
        (["?", {"a": "x"}], "'a', and no call before it has that id"),
        (["?", None, {"a": "x"}, {"a": "y"}], "the call 'a' has two results"),
        (["?", [*"aa"], {"a": "x"}], "several calls have the id 'a'"),
    ],
)
def test_ids_that_are_wrong_are_named(server: Running, path: str, turns: list[Any], words: str, streamed: bool) -> None:
    own = calls(path)
    given = [own if turn is None else [own[0]] * 2 if isinstance(turn, list) else turn for turn in turns]
    answer = send("POST", server.url + path, json=body_of(path, given, stream=streamed))
    assert answer.status_code == 400
    assert words in answer.text.replace("\\u0027", "'")


def test_ollama_tells_results_apart_by_names(server: Running) -> None:
    functions = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g", "f")]
    results = [("g", "of g"), ("f", "first of f"), ("f", "second of f")]
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": functions},
        *({"role": "tool", "content": text, "tool_name": name} for name, text in results),
    ]
    prompt = prompt_of(server, OLLAMA, {"messages": messages})
    places = [prompt.index(text) for text in ("first of f", "of g", "second of f")]
    assert places == sorted(places)


def turn_of(names: list[tuple[str | None, str]]) -> dict[str, Any]:
    functions = [{"function": {"name": name, "arguments": "{}"}} | ({"id": one} if one else {}) for one, name in names]
    return {"role": "assistant", "content": "", "tool_calls": functions}


def test_results_without_ids_go_by_names_then_by_places() -> None:
    turn = turn_of([("a", "f"), (None, "g"), (None, "f"), (None, "h")])
    results = [
        {"role": "tool", "content": "4"}, {"role": "tool", "name": "f", "content": "3"},
        {"role": "tool", "name": "g", "content": "2"}, {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]  # fmt: skip
    for order in itertools.permutations(results):
        assert [message["content"] for message in in_order([turn, *order])[1:]] == ["1", "2", "3", "4"]


def test_nothing_is_lost_or_doubled() -> None:
    """Whatever comes with sound ids goes on, each message once, and results stand in the order of their calls."""
    for _ in range(200):
        messages: list[dict[str, Any]] = []
        for number in range(random.randint(1, 4)):
            identities = [f"{number}-{place}" for place in range(random.randint(0, 4))]
            following = [{"role": "tool", "tool_call_id": one, "content": one} for one in identities]
            following = random.sample(following, random.randint(0, len(following)))
            following += [{"role": "user", "content": f"u{number}-{n}"} for n in range(random.randint(0, 2))]
            random.shuffle(following)
            messages += [turn_of([(one, "f") for one in identities]), *following]
        ordered = in_order(messages)
        assert [id(m) for m in messages if m["role"] != "tool"] == [id(m) for m in ordered if m["role"] != "tool"]
        given = sorted(m["content"] for m in messages if m["role"] == "tool")
        told = [m["content"] for m in ordered if m["role"] == "tool" and m["content"] != NO_RESULT]
        assert told == given
        with pytest.raises(Refusal, match="no call before it"):
            in_order([*messages, {"role": "tool", "tool_call_id": "9-9", "content": ""}])


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("text", ['{"city": "Par', "Paris", '["Paris"]', '"{}"', "5", "[" * 200])
def test_arguments_that_are_no_json_are_shown_as_they_came(server: Running, path: str, text: str) -> None:
    body = body_of(path, ["Weather?", [("a", "f", text)], {"a": "It failed."}, "Again."])
    assert f"\n{text}\n</parameter>" in prompt_of(server, path, body)
    for streamed in (False, True):
        assert send("POST", server.url + path, json=body | {"stream": streamed}).status_code == 200


@pytest.mark.parametrize("path", [MESSAGES, OLLAMA])
def test_arguments_of_other_types(server: Running, path: str) -> None:
    for given, shown in (([1, "é"], '[1, "é"]'), (7, "7"), (True, "true")):
        body = body_of(path, ["?", [("a", "f", given)], {"a": "x"}])
        assert f"\n{shown}\n</parameter>" in prompt_of(server, path, body)
    assert "</parameter>" not in prompt_of(server, path, body_of(path, ["?", [("a", "f", None)], {"a": "x"}]))


@pytest.mark.parametrize("path", DIALECTS)
def test_a_conversation_without_a_question(server: Running, path: str) -> None:
    """After a compaction there may be nothing of the user's left."""
    body = body_of(path, [calls(path)[:1], {"a": "Paris!"}])
    assert send("POST", server.url + path, json=body).status_code == 200
