"""/api/… through Ollama's own client."""

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from qwill.server.models import Served
from qwill.server.ollama.asking import chat_ask
from qwill.server.ollama.schemas import OllamaChatRequest
from server.asking import ABOUT_ANNA, ANNA, Person, send
from server.running import OPTIONS, Running, running

PICTURE = Path(__file__).parents[2] / "docs" / "red_circle.png"
SUM = "What is 17 + 25?"
GREEDY = {"temperature": 0}


@pytest.fixture
def client(server: Running) -> Iterator[ollama.Client]:
    with ollama.Client(server.url) as opened:
        yield opened


def get_weather(city: str) -> str:
    """The weather of a city

    Args:
        city: Name of the city
    """
    return f"clear in {city}"


def ask(client: ollama.Client, text: str, **more: Any) -> Any:
    return client.chat("demo", [{"role": "user", "content": text}], **more)


def post(server: Running, path: str, **body: Any) -> httpx.Response:
    return send("POST", f"{server.url}/api/{path}", json=body)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_question(client: ollama.Client) -> None:
    answer = ask(client, SUM)
    assert answer.message.role == "assistant"
    assert answer.message.content.endswith("42")
    assert answer.message.thinking
    assert (answer.model, answer.done, answer.done_reason) == ("demo", True, "stop")
    assert answer.prompt_eval_count > 0
    assert answer.eval_count > 1
    assert answer.prompt_eval_duration > 0
    assert answer.eval_duration > 0
    assert answer.total_duration > answer.load_duration + answer.prompt_eval_duration


@pytest.mark.parametrize("think", [True, False])
def test_a_stream_says_what_the_whole_answer_says(client: ollama.Client, think: bool) -> None:
    message = ask(client, SUM, think=think, options=GREEDY).message
    *pieces, last = ask(client, SUM, think=think, options=GREEDY, stream=True)
    assert len(pieces) > 2
    assert "".join(piece.message.content for piece in pieces) + last.message.content == message.content
    assert "".join(piece.message.thinking or "" for piece in pieces) == (message.thinking or "")
    assert bool(message.thinking) == think
    assert not any(piece.done or piece.done_reason for piece in pieces)
    assert (last.done, last.done_reason) == (True, "stop")
    assert last.eval_count > 1


def test_streaming_is_the_default(server: Running) -> None:
    messages = [{"role": "user", "content": SUM}]
    *pieces, last = lines(post(server, "chat", model="demo", messages=messages, think=False))
    assert [piece["done"] for piece in pieces] == [False] * len(pieces)
    assert last["done"]
    for piece in pieces:
        assert piece.keys() == {"model", "created_at", "message", "done"}
        assert datetime.fromisoformat(piece["created_at"]).tzinfo is not None
    whole = post(server, "chat", messages=messages, stream=False)
    assert whole.headers["content-type"] == "application/json"
    assert whole.json()["model"] == "demo"
    assert lines(post(server, "generate", model="demo", prompt=SUM))[-1]["response"] == ""


def test_calls(client: ollama.Client) -> None:
    question = {"role": "user", "content": "What is the weather in Paris?"}
    called = client.chat("demo", [question], tools=[get_weather], options=GREEDY)
    (call,) = called.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    assert called.done_reason == "stop"
    result = {"role": "tool", "tool_name": "get_weather", "content": '{"temperature": 21, "sky": "clear"}'}
    answer = client.chat("demo", [question, called.message, result], tools=[get_weather], options=GREEDY)
    assert answer.message.content
    assert answer.message.tool_calls is None


def test_streamed_calls_come_whole(server: Running) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    messages = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
    pieces = lines(post(server, "chat", messages=messages, tools=[tool], options=GREEDY))
    calls = [call for piece in pieces for call in piece["message"].get("tool_calls", [])]
    functions = [call["function"] for call in calls]
    assert [(call["index"], call["name"]) for call in functions] == [(0, "get_weather"), (1, "get_weather")]
    assert [call["arguments"] for call in functions] == [{"city": "Paris"}, {"city": "Rome"}]
    assert len({call["id"] for call in calls}) == 2
    assert not any("tool_call" in piece["message"]["content"] for piece in pieces)
    # What a client got it sends back as it is.
    answered = {"role": "assistant", "content": "", "tool_calls": calls}
    results = [{"role": "tool", "content": "rain", "tool_call_id": call["id"]} for call in calls]
    assert post(server, "chat", messages=[*messages, answered, *results], tools=[tool]).status_code == 200


def test_a_picture(client: ollama.Client, server: Running) -> None:
    message = {"role": "user", "content": "What is in the picture?", "images": [PICTURE]}
    assert client.chat("demo", [message], options=GREEDY).message.content == "A red circle."
    answer = client.generate("demo", "What is in the picture?", images=[PICTURE.read_bytes()], options=GREEDY)
    assert answer.response == "A red circle."
    for image in ("", "no base64 of anything!", base64.b64encode(b"no picture").decode(), "file:///etc/passwd"):
        messages = [{"role": "user", "content": "?", "images": [image]}]
        assert post(server, "chat", messages=messages).status_code == 400


def test_structured(client: ollama.Client) -> None:
    for think in (True, False):
        answer = ask(client, ABOUT_ANNA, format=Person.model_json_schema(), think=think, options={"temperature": 0})
        assert Person.model_validate_json(answer.message.content) == ANNA
    anything = ask(client, SUM, format="json", think=False, options={"num_predict": 200})
    if anything.done_reason == "stop":
        assert isinstance(json.loads(anything.message.content), dict)


def test_options(client: ollama.Client) -> None:
    first, second = (ask(client, "Hello!", options={"seed": 7, "temperature": 2}).message.content for _ in range(2))
    assert first == second
    stopped = ask(client, SUM, think=False, options={"stop": ["= "], **GREEDY})
    assert (stopped.message.content, stopped.done_reason) == ("17 + 25 ", "stop")
    cut = ask(client, SUM, options={"num_predict": 2})
    assert (cut.eval_count, cut.done_reason) == (2, "length")
    free = ask(client, SUM, options={"num_predict": -1, "top_k": -1, "seed": -1, "repeat_penalty": 1.1, "min_p": 0.1})
    assert free.done_reason == "stop"


def test_options_mean_what_they_mean_elsewhere() -> None:
    given = {
        "temperature": 0.5, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repeat_penalty": 1.1, "seed": 3,
        "presence_penalty": 0.2, "frequency_penalty": 0.3, "num_predict": 9, "stop": "x",
    }  # fmt: skip
    body = {"messages": [{"role": "user", "content": SUM}], "options": given}
    params = chat_ask(OllamaChatRequest.model_validate(body)).params
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (0.5, 40, 0.9, 0.05)
    assert (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) == (1.1, 0.2, 0.3)
    assert (params.seed, params.max_tokens, params.stop) == (3, 9, ("x",))


def test_efforts(client: ollama.Client) -> None:
    assert ask(client, SUM, think="low", options=GREEDY).message.thinking
    assert client.generate("demo", SUM, think="high", options=GREEDY).thinking


def test_what_means_nothing_here_is_told(server: Running) -> None:
    messages = [{"role": "user", "content": SUM}]
    options = {"num_ctx": 1024, "num_gpu": 99, "mirostat": 0, "typical_p": None, "new_penalty": [1], "top_k": 3}
    told = post(server, "chat", messages=messages, keep_alive=-1, options=options, truncate=True, stream=False)
    assert told.headers["x-qwill-ignored"] == "options.mirostat, options.new_penalty, options.num_gpu, truncate"
    shorter = post(server, "chat", messages=messages, options={"num_ctx": 512})
    assert shorter.headers["x-qwill-ignored"] == "options.num_ctx"
    generated = post(server, "generate", prompt=SUM, context=[1, 2], keep_alive=-1, raw=True, think=True, options=None)
    assert generated.headers["x-qwill-ignored"] == "context, think"
    assert "x-qwill-ignored" not in post(server, "chat", messages=messages).headers


def test_generate(client: ollama.Client) -> None:
    answer = client.generate("demo", SUM, options=GREEDY)
    assert answer.response.endswith("42")
    assert answer.thinking
    assert (answer.done, answer.done_reason) == (True, "stop")
    *pieces, last = client.generate("demo", SUM, options=GREEDY, stream=True)
    assert "".join(piece.response for piece in pieces) == answer.response
    assert "".join(piece.thinking or "" for piece in pieces) == answer.thinking
    assert (last.done, last.eval_count) == (True, answer.eval_count)
    with_system = client.generate("demo", SUM, system="Answer at once.", think=False, options=GREEDY)
    assert with_system.prompt_eval_count > client.generate("demo", SUM, think=False).prompt_eval_count
    assert not with_system.thinking


def test_raw_texts_go_on(client: ollama.Client, server: Running) -> None:
    raw: dict[str, Any] = {"raw": True, "options": {"num_predict": 8, **GREEDY}}
    answer = client.generate("demo", "17 + 25 =", **raw)
    assert answer.response.strip().startswith("42")
    assert answer.thinking is None
    assert answer.prompt_eval_count == len(server.worker.llm.tokenizer.encode("17 + 25 ="))
    streamed = client.generate("demo", "17 + 25 =", stream=True, **raw)
    assert "".join(piece.response for piece in streamed) == answer.response
    for more in ({"system": "x"}, {"images": [PICTURE]}):
        with pytest.raises(ollama.ResponseError, match="raw goes neither with"):
            client.generate("demo", "x", raw=True, **more)


def test_a_begun_answer_goes_on(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": SUM}, {"role": "assistant", "content": "17 + 25 ="}]
    answer = client.chat("demo", messages, options=GREEDY)
    assert answer.message.content.strip() == "42"
    assert answer.message.thinking is None


def test_log_probabilities(client: ollama.Client) -> None:
    answer = ask(client, SUM, logprobs=True, top_logprobs=3, options=GREEDY)
    assert len(answer.logprobs) == answer.eval_count
    for token in answer.logprobs:
        assert token.token == token.top_logprobs[0].token  # greedy
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
    streamed = [
        token.token
        for piece in ask(client, SUM, logprobs=True, options=GREEDY, stream=True)
        for token in piece.logprobs or []
    ]
    assert streamed == [token.token for token in answer.logprobs]
    with pytest.raises(ollama.ResponseError, match="top_logprobs needs logprobs"):
        ask(client, SUM, top_logprobs=3)


def test_a_request_without_a_question_loads_the_model(client: ollama.Client, server: Running) -> None:
    answer = client.chat("demo", [])
    assert (answer.done, answer.done_reason, answer.message.content) == (True, "load", "")
    assert client.chat("demo").done_reason == "load"
    generated = client.generate("demo", keep_alive=-1)
    assert (generated.done, generated.done_reason, generated.response) == (True, "load", "")
    assert [piece.done_reason for piece in client.generate("demo", "", stream=True)] == ["load"]
    told = post(server, "generate", model="demo", system="x", options={"top_k": 1})
    assert told.headers["x-qwill-ignored"] == "options, system"


def test_models_are_told(client: ollama.Client, server: Running) -> None:
    (listed,) = client.list().models
    assert listed.model == "demo:latest"
    assert ask(client, SUM).model == "demo"
    assert client.chat(listed.model, [{"role": "user", "content": SUM}]).model == "demo:latest"
    assert listed.size > 1_000_000
    assert len(listed.digest) == 64
    assert (listed.details.format, listed.details.family) == ("gguf", "qwen35moe")
    assert listed.details.parameter_size.endswith("M")
    shown = client.show("demo")
    assert shown == client.show("demo:latest")
    assert {"completion", "tools", "thinking", "vision"} == set(shown.capabilities)
    assert shown.details == listed.details
    assert shown.modified_at == listed.modified_at
    assert shown.modelinfo["general.architecture"] == "qwen35moe"
    assert shown.modelinfo["qwen35moe.context_length"] == 1024
    assert shown.modelinfo["general.parameter_count"] > 1_000_000
    assert "add_generation_prompt" in shown.template
    parameters = dict(line.split(maxsplit=1) for line in shown.parameters.splitlines())
    assert parameters["num_ctx"] == "1024"
    assert 0 <= float(parameters["temperature"]) <= 2
    (running_model,) = client.ps().models
    assert (running_model.name, running_model.context_length, running_model.size_vram) == ("demo:latest", 1024, 0)
    assert running_model.expires_at.timestamp() > listed.modified_at.timestamp()
    assert all(part.isdigit() for part in send("GET", f"{server.url}/api/version").json()["version"].split("."))
    older = post(server, "show", name="demo", verbose=True)
    assert older.json()["details"]["family"] == "qwen35moe"
    assert older.headers["x-qwill-ignored"] == "verbose"
    for path in ("version", "tags"):
        head = send("HEAD", f"{server.url}/api/{path}")
        assert (head.status_code, head.text) == (200, "")


def test_models_that_are_not_loaded_are_told_too(tmp_path: Path) -> None:
    served = [
        Served("demo", "demo", OPTIONS),
        Served("other:small", "demo", {**OPTIONS, "max_context": 512}),
        Served("gone", str(tmp_path / "gone.gguf")),
    ]
    with running(served=served) as server, ollama.Client(server.url) as client:
        assert [model.model for model in client.list().models] == ["demo:latest", "other:small", "gone:latest"]
        assert [model.digest is None for model in client.list().models] == [False, False, True]
        assert client.show("other:small").modelinfo["qwen35moe.context_length"] == 512
        assert [model.model for model in client.ps().models] == ["demo:latest"]
        with pytest.raises(ollama.ResponseError, match=r"gone\.gguf") as caught:
            client.show("gone")
        assert caught.value.status_code == 404


def test_what_other_programs_send(server: Running) -> None:
    """Ollama's own program asks whether anybody is there, and leaves out nothing that is empty."""
    assert send("HEAD", server.url).status_code == 200
    assert post(server, "show", model="demo", system="", template="", verbose=False, options=None, name="").json()
    empty: dict[str, Any] = {"format": None, "options": None, "keep_alive": None, "think": None, "stream": None}
    messages = [{"role": "user", "content": SUM, "images": None, "tool_calls": None, "thinking": ""}]
    answered = post(server, "chat", model="demo", messages=messages, tools=None, **empty)
    assert lines(answered)[-1]["done_reason"] == "stop"
    assert "x-qwill-ignored" not in answered.headers
    texts: dict[str, Any] = {"suffix": "", "system": "", "template": "", "context": None, "images": None, "raw": False}
    loaded = post(server, "generate", model="demo", prompt="", **texts, **empty)
    assert loaded.json()["done_reason"] == "load"
    assert "x-qwill-ignored" not in loaded.headers
    answered = post(server, "generate", model="demo", prompt=SUM, **texts, **(empty | {"format": "", "options": {}}))
    assert lines(answered)[-1]["done_reason"] == "stop"


def test_long_prompts(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="the context holds 1024") as caught:
        list(ask(client, "word " * 2000, stream=True))
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"options": {"temperature": -1}}, "temperature must be"),
        ({"options": {"temperature": "hot"}}, "options.temperature: "),
        ({"options": {"top_p": 1.1}}, "top_p must be"),
        ({"options": {"num_predict": 0}}, "num_predict must be at least 1, or -1"),
        ({"options": {"num_predict": -3}}, "num_predict must be at least 1, or -1"),
        ({"options": {"repeat_penalty": 0}}, "options.repeat_penalty: "),
        ({"options": {"seed": 2**65}}, "seed must be"),
        ({"options": {"stop": [""]}}, "stop must be"),
        ({"options": [1]}, "options: "),
        ({"format": "xml"}, "format: must be json or a JSON schema"),
        ({"format": {"type": "nonsense"}}, "schema"),
        ({"think": "deeply"}, "think: must be true, false, none, minimal, low, medium, high, xhigh or max"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs: "),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role: "),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0: must be an object whose type"),
        ({"messages": [{"role": "system", "content": "x", "images": ["eA=="]}]}, "images"),
        ({"tools": [{"type": "function"}]}, "tools.0.function: "),
        ({"tools": [{"function": {"name": ""}}]}, "tools.0.function.name: "),
    ],
)
def test_mistakes_are_named(server: Running, more: dict[str, Any], message: str) -> None:
    refused = post(server, "chat", **({"messages": [{"role": "user", "content": SUM}]} | more))
    assert refused.status_code == 400
    assert refused.json().keys() == {"error"}
    assert message in refused.json()["error"]


def test_generate_refuses_what_it_cannot_do(client: ollama.Client) -> None:
    for more in ({"suffix": "x"}, {"template": "{{ .Prompt }}"}):
        with pytest.raises(ollama.ResponseError, match=f"{next(iter(more))} is not supported") as caught:
            client.generate("demo", SUM, **more)
        assert caught.value.status_code == 400
    assert client.generate("demo", SUM, suffix="", template="").done


def test_files_are_left_alone(client: ollama.Client) -> None:
    for refused in (
        lambda: client.pull("llama3"),
        lambda: list(client.pull("llama3", stream=True)),
        lambda: client.push("demo"),
        lambda: client.create("mine", from_="demo"),
        lambda: client.create_blob(PICTURE),
    ):
        with pytest.raises(ollama.ResponseError, match="qwill pull") as caught:
            refused()
        assert caught.value.status_code == 400
    for refused in (lambda: client.copy("demo", "mine"), lambda: client.delete("demo")):
        with pytest.raises(ollama.ResponseError, match="qwill serve") as caught:
            refused()
        assert caught.value.status_code == 400
    assert [model.model for model in client.list().models] == ["demo:latest"]


def test_an_error_ends_a_stream(client: ollama.Client, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = server.worker.llm.engine
    step, steps = engine.step, iter(range(3))

    def failing() -> Any:
        if next(steps, None) is None:
            raise ZeroDivisionError("secret details")
        return step()

    stream = ask(client, "Hello!", stream=True, options={"num_predict": 500})
    monkeypatch.setattr(engine, "step", failing)
    with pytest.raises(ollama.ResponseError, match="the server failed"):
        list(stream)
    monkeypatch.undo()
    assert ask(client, SUM).done


def test_the_asynchronous_client(server: Running) -> None:
    async def together() -> list[str]:
        async with ollama.AsyncClient(server.url) as client:

            async def one(first: int) -> str:
                message = {"role": "user", "content": f"What is {first} + 25?"}
                stream = await client.chat("demo", [message], think=False, options=GREEDY, stream=True)
                return "".join([piece.message.content async for piece in stream])

            return list(await asyncio.gather(*map(one, range(10, 18))))

    for first, answer in zip(range(10, 18), asyncio.run(together()), strict=True):
        assert answer.startswith(f"{first} + 25 = ")
