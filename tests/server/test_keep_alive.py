"""How long models are kept, as Ollama's clients ask for it."""

import gc
import math
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import ollama
import pytest

from qwill.server.errors import Refusal
from qwill.server.models import Served
from qwill.server.ollama.keep_alive import keep_seconds
from server.asking import send, streamed
from server.running import OPTIONS, Running, running, until
from server.stepping import held

SUM = "What is 17 + 25?"


@pytest.fixture(scope="module")
def own() -> Iterator[Running]:
    """A server that is unloaded as these tests like."""
    with running() as started:
        yield started


def post(server: Running, path: str, **body: Any) -> httpx.Response:
    return send("POST", f"{server.url}/api/{path}", json={"stream": False, **body})


def left(server: Running) -> float:
    """Seconds until the loaded model leaves."""
    (loaded,) = send("GET", f"{server.url}/api/ps").json()["models"]
    return (datetime.fromisoformat(loaded["expires_at"].replace("Z", "+00:00")) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        (None, None), ("", None), (0, 0), ("0", 0), ("0s", 0), ("0m0s", 0), (300, 300), ("300", 300), ("5m", 300),
        ("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("250ms", 0.25), ("1h0m1s", 3601), ("+5m", 300), (0.5, 0.5),
        (-1, math.inf), ("-1", math.inf), ("-1m", math.inf), ("-1s", math.inf), (1e300, math.inf),
        ("9999999h", math.inf), ("5µs", 5e-6),
    ],
)  # fmt: skip
def test_durations(stated: Any, seconds: float | None) -> None:
    assert keep_seconds(stated) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("stated", ["soon", "5 m", "5d", "m", "5m3", "--1", "1e3", "٥m", "5m" * 100, "\n5m", "nan"])
def test_what_is_no_duration(server: Running, stated: str) -> None:
    with pytest.raises(Refusal, match="no duration"):
        keep_seconds(stated)
    for path, more in (("chat", {"messages": [{"role": "user", "content": SUM}]}), ("generate", {})):
        refused = post(server, path, keep_alive=stated, **more)
        assert refused.status_code == 400
        assert refused.json()["error"].startswith("keep_alive ")
        assert "5m" in refused.json()["error"]


@pytest.mark.parametrize("none", [0, "0", "0s"])
@pytest.mark.parametrize("path", ["generate", "chat"])
def test_a_model_is_unloaded_and_comes_back(own: Running, path: str, none: Any) -> None:
    """What `ollama stop` sends, to a model that is loaded and to one that is not."""
    post(own, "generate", model="demo", prompt=SUM)
    for _ in range(2):
        told = post(own, path, model="demo", keep_alive=none).json()
        assert (told["model"], told["done"], told["done_reason"]) == ("demo", True, "unload")
        assert own.worker is None
        assert send("GET", f"{own.url}/api/ps").json() == {"models": []}
        assert send("GET", f"{own.url}/ready").status_code == 200
    answer = post(own, "chat", model="demo", messages=[{"role": "user", "content": SUM}], options={"temperature": 0})
    assert answer.json()["message"]["content"].endswith("42")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["generate", "chat"])
def test_no_time_after_an_answer(own: Running, path: str, stream: bool) -> None:
    question: dict[str, Any] = (
        {"prompt": SUM} if path == "generate" else {"messages": [{"role": "user", "content": SUM}]}
    )
    answer = post(own, path, keep_alive=0, stream=stream, **question)
    assert answer.status_code == 200
    assert "x-qwill-ignored" not in answer.headers
    assert '"done_reason":"stop"' in answer.text
    until(lambda: own.worker is None)


def test_a_model_that_is_used_is_unloaded_afterwards(own: Running) -> None:
    post(own, "generate", model="demo")
    with held(own, 3) as engine:
        url = f"{own.url}/v1/chat/completions"
        body = {"messages": [{"role": "user", "content": SUM}], "stream": True, "temperature": 0}
        with streamed(url, json=body) as answer:
            engine.wait()
            assert post(own, "generate", keep_alive=0).json()["done_reason"] == "unload"
            assert own.worker is not None
            engine.release()
            assert "data: [DONE]" in list(answer.iter_lines())
    until(lambda: own.worker is None)


def test_durations_are_kept_until_another_one_comes(own: Running) -> None:
    post(own, "generate", keep_alive=-1)
    assert left(own) > 1e9
    post(own, "generate", prompt=SUM, keep_alive="5m")
    assert 200 < left(own) <= 300
    send("POST", f"{own.url}/v1/completions", json={"prompt": "x", "max_tokens": 1})  # says nothing of it
    assert 200 < left(own) <= 300
    post(own, "chat", messages=[{"role": "user", "content": SUM}], keep_alive=1000)
    assert 900 < left(own) <= 1000
    post(own, "generate", keep_alive=0.05)
    until(lambda: own.worker is None)
    post(own, "generate")
    assert left(own) > 1e9  # as the server has it again


def test_each_model_has_its_own() -> None:
    served = [Served("a", "demo", OPTIONS), Served("b", "demo", OPTIONS)]
    with running(served=served, idle_seconds=500) as server, ollama.Client(server.url) as client:
        client.generate("b", keep_alive="-1")
        assert client.generate("a", keep_alive="2h").done_reason == "load"
        until_when = {model.model: model.expires_at.timestamp() for model in client.ps().models}
        now = datetime.now(UTC).timestamp()
        assert until_when["a:latest"] == pytest.approx(now + 7200, abs=100)
        assert until_when["b:latest"] > now + 1e9
        client.generate("a", keep_alive=0)
        assert [model.model for model in client.ps().models] == ["b:latest"]
        client.generate("a")
        until_when = {model.model: model.expires_at.timestamp() for model in client.ps().models}
        assert until_when["a:latest"] == pytest.approx(now + 500, abs=100)
        assert send("POST", f"{server.url}/api/generate", json={"model": "c", "keep_alive": 0}).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": SUM}], "max_tokens": 60, "n": 2}),
        ("/v1/completions", {"prompt": SUM, "max_tokens": 60}),
        ("/v1/responses", {"input": SUM, "max_output_tokens": 60}),
        ("/v1/messages", {"model": "demo", "messages": [{"role": "user", "content": SUM}], "max_tokens": 60}),
        ("/api/chat", {"messages": [{"role": "user", "content": SUM}], "options": {"num_predict": 60}}),
        ("/tokenize", {"messages": [{"role": "user", "content": SUM}]}),
    ],
)
def test_an_unloaded_model_gives_its_memory_back_at_once(own: Running, path: str, body: dict[str, Any]) -> None:
    """Not when Python next looks for objects that hold themselves, which may be long after the next model wants it."""
    post(own, "generate")
    gc.collect()
    gc.disable()
    try:
        for stream in ({}, {"stream": True}, {"stream": False})[: 1 if path == "/tokenize" else 3]:
            assert send("POST", own.url + path, json={**body, **stream}).status_code == 200
        refused = send("POST", own.url + path, json={**body, "model": "demo", "nonsense": 1})
        assert refused.status_code in (200, 400)
        if path != "/tokenize":
            with held(own, 2) as engine, streamed(own.url + path, json={**body, "stream": True}):
                engine.wait()  # and the client leaves
        own.until_idle()
        vars(own.worker.llm.engine).pop("step", None)  # which `held` put there, and which holds its engine
        model = weakref.ref(own.worker.llm._model)
        assert model() is not None
        post(own, "generate", keep_alive=0)
        until(lambda: model() is None)
    finally:
        gc.enable()
