"""The reasoning of an answer under way is ended by its name, in every dialect."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from qwill.engine.speculative import MOST_DRAFTS
from qwill.server.keys import Keys
from qwill.server.settings import Settings
from server.asking import send, streamed
from server.guards import KEY, SECRET
from server.running import Running, running, until
from server.stepping import held

SUM = "What is 17 + 25?"
CHAT = [{"role": "user", "content": SUM}]
STEPS = 5
OTHER = "another secret of many letters"
NAMED: list[tuple[str, str, dict[str, Any]]] = [
    ("/v1/chat/completions", r"chatcmpl-", {"messages": CHAT, "temperature": 0}),
    ("/v1/responses", "resp_", {"input": SUM, "temperature": 0}),
    ("/v1/messages", "msg_", {
        "model": "demo", "messages": CHAT, "max_tokens": 2000, "temperature": 0,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }),
    ("/api/chat", "", {"messages": CHAT, "options": {"temperature": 0}}),
    ("/api/generate", "", {"prompt": SUM, "options": {"temperature": 0}}),
]  # fmt: skip
STREAMS = [(*named, True) for named in NAMED] + [(*named, False) for named in NAMED if named[1]]


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    with running(Settings(keys=Keys.of([SECRET, OTHER]))) as started:
        yield started


def end(server: Running, name: Any, key: str = SECRET) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return send("POST", f"{server.url}/control/answer-now", json={"id": name}, headers=headers)


def while_held(server: Running, engine: Any, call: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer to a call that the engine's thread takes once it goes on."""
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(call()))
    caller.start()
    until(lambda: server.worker._orders)
    engine.release()
    caller.join()
    return answers[0]


def check_closed(server: Running, request: Any, length: int) -> None:
    """An answer that had so many tokens when its reasoning was ended: the step that was under way may have brought
    some more; then comes a line's end, if there was none, and the tag, and what the model makes of it."""
    tokenizer = server.worker.llm.tokenizer
    tag = tokenizer.added_tokens["</think>"]
    assert tag in request.output_ids[length : length + MOST_DRAFTS + 3]
    assert tokenizer.decode(request.output_ids[request.output_ids.index(tag) :], skip_special=True).strip()


@pytest.mark.parametrize(("path", "prefix", "body", "by_request"), STREAMS)
def test_a_stream(keyed: Running, path: str, prefix: str, body: dict[str, Any], by_request: bool) -> None:
    with held(keyed, STEPS) as engine, streamed(keyed.url + path, json={**body, "stream": True}, headers=KEY) as answer:
        lines = answer.iter_lines()
        name = answer.headers["x-request-id"]
        if not by_request:
            first = next(line for line in lines if line.startswith("data: ") and prefix in line)
            name = first[first.index(prefix) :].partition('"')[0]
        engine.wait()
        (request,) = engine.requests
        length = len(request.output_ids)
        done = while_held(keyed, engine, lambda: end(keyed, name))
        assert done.json() == {"id": name, "effect": True}
        assert '"error":{' not in "".join(lines)
    check_closed(keyed, request, length)


@pytest.mark.parametrize(("path", "prefix", "body"), NAMED)
def test_an_answer_that_is_not_streamed(keyed: Running, path: str, prefix: str, body: dict[str, Any]) -> None:
    """Its name is that of its request, which the client gives."""
    name = f"mine-{prefix}{path.replace('/', '-')}"
    answers: list[httpx.Response] = []
    headers = {**KEY, "x-request-id": name}
    with held(keyed, STEPS) as engine:
        asking = threading.Thread(
            target=lambda: answers.append(
                send("POST", keyed.url + path, json={**body, "stream": False}, headers=headers)
            )
        )
        asking.start()
        engine.wait()
        (request,) = engine.requests
        length = len(request.output_ids)
        assert while_held(keyed, engine, lambda: end(keyed, name)).json()["effect"] is True
        asking.join()
    check_closed(keyed, request, length)
    assert answers[0].status_code == 200
    assert end(keyed, name).status_code == 404


def test_all_choices_of_a_request(keyed: Running) -> None:
    body = {"messages": CHAT, "stream": True, "n": 3, "temperature": 1, "seed": 1, "max_tokens": 100}
    with held(keyed, 3) as engine, streamed(f"{keyed.url}/v1/chat/completions", json=body, headers=KEY) as answer:
        engine.wait()
        before = [len(request.output_ids) for request in engine.requests]
        name = answer.headers["x-request-id"]
        assert while_held(keyed, engine, lambda: end(keyed, name)).json()["effect"] is True
        list(answer.iter_lines())
    assert len(before) == 3
    for length, request in zip(before, engine.requests, strict=True):
        check_closed(keyed, request, length)


def test_what_is_not_thinking(keyed: Running) -> None:
    for more in ({"enable_thinking": False}, {"thinking_budget": 0}):
        body = {"messages": CHAT, "stream": True, "ignore_eos": True, "max_tokens": 50, **more}
        with held(keyed, 8) as engine, streamed(f"{keyed.url}/v1/chat/completions", json=body, headers=KEY) as answer:
            engine.wait()
            name = answer.headers["x-request-id"]
            assert while_held(keyed, engine, lambda: end(keyed, name)).json() == {"id": name, "effect": False}  # noqa: B023
            list(answer.iter_lines())


def test_others_answers_are_left_alone(keyed: Running) -> None:
    body = {"messages": CHAT, "stream": True}
    with held(keyed, 3) as engine, streamed(f"{keyed.url}/v1/chat/completions", json=body, headers=KEY) as answer:
        engine.wait()
        first = json.loads(next(answer.iter_lines()).removeprefix("data: "))
        for name in (answer.headers["x-request-id"], first["id"]):
            refused = end(keyed, name, OTHER)
            assert refused.status_code == 404
            assert f"no answer {name!r} is under way" in refused.json()["error"]["message"]
        assert end(keyed, first["id"], "wrong").status_code == 401
        for wrong in ("", "chatcmpl-", first["id"][:-1], "*"):
            assert end(keyed, wrong).status_code == 404
        for nonsense in (None, 7, ["x"]):
            assert end(keyed, nonsense).status_code == 400


def test_nobody_waits_for_a_model_that_leaves() -> None:
    with running() as server:
        body = {"messages": CHAT, "stream": True}
        with held(server, 3) as engine, streamed(f"{server.url}/v1/chat/completions", json=body) as answer:
            engine.wait()
            name = answer.headers["x-request-id"]
            server.worker._closing = True  # as `close` has it
            told = send("POST", f"{server.url}/control/answer-now", json={"id": name})
            assert told.json() == {"id": name, "effect": False}
            server.worker._closing = False
