"""Answers that end early: clients that leave, models that fail or are unloaded, too many at once."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from qwill.errors import NotEnoughMemory
from qwill.llm import LLM
from qwill.server.models import Served
from qwill.server.settings import Settings
from server.asking import send, streamed
from server.running import OPTIONS, PATIENCE, Running, running, until
from server.stepping import failing_once, held

ENDLESS = {"ignore_eos": True, "temperature": 1.0}


def body(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello!"}], **more}


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_answer(server: Running, stream: bool) -> None:
    url = f"{server.url}/v1/chat/completions"
    with held(server, 3) as engine:
        if stream:
            with streamed(url, json=body(stream=True, **ENDLESS)):
                engine.wait()
                assert server.worker.answering == 1
        else:
            with httpx.Client(timeout=httpx.Timeout(PATIENCE, read=0.3)) as client, pytest.raises(httpx.ReadTimeout):
                client.post(url, json=body(**ENDLESS))
            engine.wait()
        until(lambda: server.worker.answering == 0)
        engine.release()
        server.until_idle()
    (request,) = engine.requests
    assert len(request.output_ids) < 100  # of a thousand for which there is room


def test_too_many_at_once_are_refused() -> None:
    served = [Served("demo", "demo", {**OPTIONS, "max_sequences": 1})]
    with running(Settings(max_waiting=1), served) as server, held(server, 3) as engine:
        url = f"{server.url}/v1/chat/completions"
        assert send("POST", url, json=body(n=3)).status_code == 429
        with streamed(url, json=body(stream=True, n=2, **ENDLESS)):
            engine.wait()
            refused = send("POST", url, json=body())
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            with pytest.raises(openai.RateLimitError, match="send this one again later"):
                openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0).chat.completions.create(
                    model="demo", messages=[{"role": "user", "content": "Hello!"}]
                )
        engine.release()
        server.until_idle()
        assert send("POST", url, json=body()).status_code == 200


def test_a_step_that_fails_is_told_and_the_next_request_is_answered(server: Running) -> None:
    error = ZeroDivisionError("secret details")
    with failing_once(server, error):
        refused = send("POST", f"{server.url}/v1/chat/completions", json=body())
        assert refused.status_code == 500
        assert "secret" not in refused.text
        assert send("POST", f"{server.url}/v1/chat/completions", json=body()).status_code == 200
    with failing_once(server, error):
        lines = send("POST", f"{server.url}/v1/chat/completions", json=body(stream=True)).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    assert "the server failed" in json.loads(lines[-3].removeprefix("data: "))["error"]["message"]
    server.until_idle()


def test_several_models_within_a_budget() -> None:
    """The second model makes the first one leave, which comes back when it is asked; one that is in use stays."""
    loads: list[str] = []

    def load(checkpoint: Any, **options: Any) -> LLM:
        loads.append(options.pop("label"))
        return LLM(checkpoint, **options)

    served = [Served(name, "demo", {**OPTIONS, "label": name}) for name in ("a", "b")]
    with running(served=served, budget=30_000_000, load=load) as server:
        url = f"{server.url}/v1/chat/completions"

        def ask(name: str, **more: Any) -> httpx.Response:
            return send("POST", url, json=body(model=name, **more))

        assert ask("a").json()["model"] == "a"
        assert ask("b").json()["model"] == "b"
        assert ask("a:latest").json()["model"] == "a"
        assert loads == ["a", "b", "a"]
        with held(server, 3) as engine, streamed(url, json=body(model="a", stream=True, **ENDLESS)):
            engine.wait()
            refused = ask("b")
            assert refused.status_code == 429
            assert "in use" in refused.text
        assert ask("c").status_code == 404
        assert [model["id"] for model in send("GET", f"{server.url}/v1/models").json()["data"]] == ["a", "b"]


def test_idle_models_are_unloaded() -> None:
    with running(idle_seconds=0.2) as server:
        assert send("POST", f"{server.url}/v1/chat/completions", json=body()).status_code == 200
        until(lambda: server.worker is None)
        assert send("GET", f"{server.url}/ready").status_code == 200  # it is loaded again when it is asked
        assert send("POST", f"{server.url}/v1/chat/completions", json=body()).status_code == 200


def test_a_model_that_does_not_fit() -> None:
    def load(checkpoint: Any, **options: Any) -> LLM:
        if options.pop("huge", False):
            raise NotEnoughMemory("needs 800.0 GB, 20.0 GB are free; take a smaller file or context")
        return LLM(checkpoint, **options)

    served = [Served("demo", "demo", OPTIONS), Served("huge", "demo", {**OPTIONS, "huge": True})]
    with running(served=served, load=load) as server:
        refused = send("POST", f"{server.url}/v1/chat/completions", json=body(model="huge"))
        assert refused.status_code == 503
        assert "take a smaller file" in refused.text
        assert send("POST", f"{server.url}/v1/chat/completions", json=body(model="demo")).status_code == 200


def test_draining_finishes_what_was_begun() -> None:
    with running(replace(Settings(), drain_seconds=20)) as server:
        request = body(stream=True, ignore_eos=True, max_tokens=200)
        with streamed(f"{server.url}/v1/chat/completions", json=request) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.application.drain()
            assert send("GET", f"{server.url}/ready").status_code == 503
            refused = send("POST", f"{server.url}/v1/chat/completions", json=body())
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            assert list(lines)[-2:] == ["data: [DONE]", ""]


def test_many_clients_get_the_answers_of_one(server: Running) -> None:
    questions = [f"What is {first} + {first * 3 + 1}?" for first in range(10, 42)]

    async def ask(client: openai.AsyncOpenAI, text: str) -> str:
        stream = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": text}], temperature=0, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x") as client:
            return await asyncio.gather(*(ask(client, text) for text in questions))

    async def alone() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x") as client:
            return [await ask(client, text) for text in questions]

    assert asyncio.run(together()) == asyncio.run(alone())
