"""Fields of other services that have a meaning here, and values of OpenAI's that mean the same elsewhere."""

import json
from typing import Any

import pytest

from server.asking import send, streamed
from server.dialects import CHAT, MESSAGES, OLLAMA, RESPONSES, ask_of, body_of
from server.running import Running

SUM = "What is 17 + 25?"
GREEDY = {"temperature": 0, "enable_thinking": False}
PERSON = {
    "type": "object",
    "properties": {"name": {"const": "Anna"}},
    "required": ["name"],
    "additionalProperties": False,
}
ANNA = {"name": "Anna"}


def answer(server: Running, question: str = SUM, most: int | None = 60, **more: Any) -> dict[str, Any]:
    """The one choice of a greedy answer without reasoning."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": most, **GREEDY, **more}
    told = send("POST", server.url + CHAT, json=body)
    assert told.status_code == 200, told.text
    (choice,) = told.json()["choices"]
    return choice | {"usage": told.json()["usage"], "ignored": told.headers.get("x-qwill-ignored")}


def text(server: Running, **more: Any) -> str:
    return str(answer(server, **more)["message"]["content"])


@pytest.mark.parametrize(
    "more",
    [
        {"structured_outputs": {"json": PERSON}},
        {"structured_outputs": {"json": json.dumps(PERSON)}},
        {"guided_json": PERSON},
        {"response_format": {"type": "json_object", "schema": PERSON}},
        {"response_format": {"type": "json_schema", "schema": PERSON}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": PERSON}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": None, "schema": PERSON}}},
    ],
)
def test_a_schema_by_any_name(server: Running, more: dict[str, Any]) -> None:
    assert json.loads(text(server, **more)) == ANNA


def test_structured_outputs(server: Running) -> None:
    assert text(server, structured_outputs={"regex": "[xy]{3}"}) in {
        a + b + c for a in "xy" for b in "xy" for c in "xy"
    }
    assert text(server, structured_outputs={"json_object": True}).startswith("{")
    for name in ("structured_outputs", "guided_choice"):
        choice = ['say "no"', "ja, bitte", "a|b\\n"]
        given: Any = {"choice": choice} if name == "structured_outputs" else choice
        assert text(server, **{name: given}) in choice
    assert text(server, structured_outputs={"grammar": 'start: "abc"'}) == "abc"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"structured_outputs": {"json": PERSON, "regex": "x"}}, "one structure"),
        ({"guided_regex": "x", "structured_outputs": {"regex": "x"}}, "one structure"),
        ({"guided_json": PERSON, "response_format": {"type": "json_object"}}, "exclude each other"),
        ({"structured_outputs": {"structural_tag": "x"}}, "tags are not supported"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"min_tokens": -1}, "min_tokens must be from 0 to max_tokens"),
        ({"min_tokens": 61}, "min_tokens must be from 0 to max_tokens"),
        ({"stop_token_ids": [-1]}, "stop_token_ids must be token ids, not -1"),
        ({"stop_token_ids": [10**6]}, "outside the vocabulary"),
        ({"max_tokens": -2}, "max_tokens must be"),
        ({"thinking": {"type": "perhaps"}}, "thinking"),
    ],
)
def test_mistakes_are_named(server: Running, more: dict[str, Any], words: str) -> None:
    body = {"messages": [{"role": "user", "content": SUM}], "max_tokens": 60, **more}
    told = send("POST", server.url + CHAT, json=body)
    assert told.status_code == 400
    assert words in told.text


def test_as_many_tokens_as_fit(server: Running) -> None:
    for path, field in ((CHAT, "max_tokens"), (CHAT, "max_completion_tokens"), (RESPONSES, "max_output_tokens")):
        body = {name: value for name, value in body_of(path, [SUM]).items() if name != "max_tokens"}
        assert ask_of(path, body | {field: -1}).params.max_tokens is None
    assert answer(server, most=-1)["finish_reason"] == "stop"
    told = send("POST", f"{server.url}/v1/completions", json={"prompt": "17 + 25 =", "max_tokens": -1, "stop": "\n"})
    assert told.status_code == 200


def test_no_stop_string(server: Running) -> None:
    for path in (CHAT, RESPONSES):
        assert ask_of(path, body_of(path, [SUM], stop="")).params.stop == ()
    assert ask_of(OLLAMA, body_of(OLLAMA, [SUM]) | {"options": {"stop": ""}}).params.stop == ()
    assert text(server, stop="") == text(server)


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, OLLAMA])
def test_top_p_of_nothing_keeps_one_token(server: Running, path: str) -> None:
    """The likeliest, as with temperature 0."""
    field: dict[str, Any] = {"options": {"top_p": 0, "num_predict": 30, "temperature": 2}}
    greedy: dict[str, Any] = {"options": {"num_predict": 30, "temperature": 0}}
    if path != OLLAMA:
        field, greedy = {"top_p": 0, "temperature": 2}, {"temperature": 0}
    answers = [
        send("POST", server.url + path, json=body_of(path, [SUM], most=30, stream=False) | one).json()
        for one in (field, greedy)
    ]
    keys = {CHAT: "choices", RESPONSES: "output", MESSAGES: "content", OLLAMA: "message"}
    said = [json.dumps(told[keys[path]]) for told in answers]
    if path == RESPONSES:
        said = [json.dumps([item["content"] for item in told["output"]]) for told in answers]
    assert said[0] == said[1]


def test_the_penalty_by_its_other_name(server: Running) -> None:
    assert ask_of(CHAT, body_of(CHAT, [SUM], repeat_penalty=1.3)).params.repetition_penalty == 1.3
    both = body_of(CHAT, [SUM], repeat_penalty=1.3, repetition_penalty=1.1)
    assert ask_of(CHAT, both).params.repetition_penalty == 1.1


def test_an_answer_of_at_least_so_many_tokens(server: Running) -> None:
    short = answer(server)
    assert short["finish_reason"] == "stop"
    tokens = short["usage"]["completion_tokens"]
    longer = answer(server, min_tokens=tokens + 5)
    assert longer["usage"]["completion_tokens"] >= tokens + 5
    assert longer["message"]["content"].startswith(short["message"]["content"])
    assert answer(server, min_tokens=tokens - 1) == short | {"usage": answer(server)["usage"]}


def test_tokens_that_end_the_answer(server: Running) -> None:
    whole = text(server)
    ids = send("POST", f"{server.url}/tokenize", json={"prompt": whole}).json()["tokens"]
    stop = ids[len(ids) // 2]
    expected = send("POST", f"{server.url}/detokenize", json={"tokens": ids[: ids.index(stop) + 1]}).json()["prompt"]
    choice = answer(server, stop_token_ids=[stop])
    assert (choice["message"]["content"], choice["finish_reason"]) == (expected, "stop")
    assert choice["stop_reason"] == stop
    assert choice["usage"]["completion_tokens"] == ids.index(stop) + 1
    late = answer(server, stop_token_ids=[stop], min_tokens=ids.index(stop) + 1)
    assert (
        stop not in send("POST", f"{server.url}/tokenize", json={"prompt": late["message"]["content"]}).json()["tokens"]
    )
    free = answer(server, stop_token_ids=[stop], ignore_eos=True)
    assert free["stop_reason"] == stop  # the model's own ends alone are ignored


@pytest.mark.parametrize("logprobs", [False, True])
def test_usage_in_every_event(server: Running, logprobs: bool) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"messages": [{"role": "user", "content": SUM}], "max_tokens": 30, "stream": True, "stream_options": options}
    with streamed(server.url + CHAT, json=body | {"logprobs": logprobs}) as told:
        events = [json.loads(line[6:]) for line in told.iter_lines() if line.startswith("data: {")]
    counts = [one["usage"]["completion_tokens"] for one in events if one.get("usage")]
    assert len(counts) == len(events) - 1  # the first has the role alone
    assert counts == sorted(counts)
    assert counts[-1] >= counts[0] > 0  # a busy client may get all at once
    assert {one["usage"]["prompt_tokens"] for one in events if one.get("usage")} == {
        events[-1]["usage"]["prompt_tokens"]
    }


def test_what_means_nothing_here_is_named(server: Running) -> None:
    ignored = answer(server, provider={"order": ["x"]}, usage={"include": True}, cache_salt="x", id_slot=1)["ignored"]
    assert ignored == "cache_salt, id_slot, provider, usage"


@pytest.mark.parametrize(
    "more",
    [
        {"thinking_budget": -1}, {"max_thinking_tokens": -1}, {"reasoning": {"max_tokens": -1}},
        {"thinking": {"type": "enabled", "budget_tokens": -1}},
    ],
)  # fmt: skip
def test_reasoning_without_a_bound(more: dict[str, Any]) -> None:
    """-1 is as many as fit, as for the answer's tokens."""
    assert ask_of(CHAT, body_of(CHAT, [SUM], **more)).params.max_thinking_tokens is None
    if "thinking_budget" in more:
        assert ask_of(RESPONSES, body_of(RESPONSES, [SUM], **more)).params.max_thinking_tokens is None


def test_no_likeliest_tokens(server: Running) -> None:
    """None of them are what a request gets that wants no log-probabilities."""
    assert answer(server, most=2, top_logprobs=0)["logprobs"] is None
    assert answer(server, most=2, top_logprobs=0, logprobs=False)["logprobs"] is None
