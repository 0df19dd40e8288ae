"""Adapters of a served model: asked for by name in every dialect, listed, and by number with scales."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ollama
import openai
import pytest
from gguf_adapters import adapter_of_demo

from qwill import LLM, SamplingParams
from qwill.errors import InvalidArgument
from qwill.server.models import Models, Served
from server.asking import send
from server.running import OPTIONS, Running, running

QUESTION = [{"role": "user", "content": "What do you see?"}]
NAMES = ["pirate", "poet"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[Any, str]]:
    """Random adapters, and the answers of the model by itself with them, which all differ."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    folder = tmp_path_factory.mktemp("adapters")
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    choices: list[Any] = [None, "pirate", "poet", "mixed"]
    while True:
        files = {name: str(adapter_of_demo(folder / f"{name}{seed}.gguf", seed + i)) for i, name in enumerate(NAMES)}
        llm = LLM("demo", max_context=OPTIONS["max_context"], lora=files, threads=2)
        scales = {"mixed": {0: 0.5, 1: 1.0}}
        texts = {
            choice: llm.chat(QUESTION, params, thinking=False, lora=scales.get(choice, choice)).text
            for choice in choices
        }
        if len(set(texts.values())) == len(choices):
            return files, texts
        seed += 2


@pytest.fixture(scope="module")
def adapted(drawn: tuple[dict[str, str], dict[Any, str]]) -> Iterator[Running]:
    lora = [f"{name}={path}" for name, path in drawn[0].items()]
    served = [Served("demo", "demo", {**OPTIONS, "lora": lora}, NAMES)]
    with running(served=served, aliases={"gpt-5": "demo"}) as started:
        yield started


@pytest.fixture(scope="module")
def expected(drawn: tuple[dict[str, str], dict[Any, str]]) -> dict[Any, str]:
    return drawn[1]


def chat(server: Running, **more: Any) -> Any:
    body = {"messages": QUESTION, "temperature": 0, "max_tokens": 12, "ignore_eos": True, "enable_thinking": False}
    return send("POST", f"{server.url}/v1/chat/completions", json={**body, **more}).json()


def test_by_name(adapted: Running, expected: dict[Any, str]) -> None:
    for name, own, choice in (
        ("pirate", "pirate", "pirate"), ("poet:latest", "poet", "poet"), ("demo", "demo", None), (None, "demo", None),
        ("gpt-5", "demo", None),
    ):  # fmt: skip
        answer = chat(adapted, model=name)
        assert answer["model"] == own
        assert answer["choices"][0]["message"]["content"] == expected[choice]


def test_in_all_dialects(adapted: Running, expected: dict[Any, str]) -> None:
    with openai.OpenAI(base_url=f"{adapted.url}/v1", api_key="x") as client:
        answer = client.responses.create(
            model="poet", input=QUESTION, temperature=0, max_output_tokens=16, extra_body={"ignore_eos": True},
            reasoning={"effort": "none"},
        )  # fmt: skip
        assert answer.model == "poet"
        assert answer.output_text.startswith(expected["poet"])
    message = {"model": "poet", "max_tokens": 16, "messages": QUESTION, "temperature": 0}
    told = send("POST", f"{adapted.url}/v1/messages", json={**message, "thinking": {"type": "disabled"}}).json()
    assert told["model"] == "poet"
    with ollama.Client(adapted.url) as client:
        said = client.chat("poet", QUESTION, think=False, options={"temperature": 0, "num_predict": 12})
        assert said.model == "poet"
        assert expected["poet"].startswith(said.message.content)
        assert [model.model for model in client.list().models] == [
            "demo:latest",
            "pirate:latest",
            "poet:latest",
            "gpt-5:latest",
        ]
    vectors = [
        send("POST", f"{adapted.url}/v1/embeddings", json={"model": name, "input": "Hi"}).json()
        for name in ("demo", "pirate")
    ]
    assert vectors[1]["model"] == "pirate"
    assert vectors[0]["data"][0]["embedding"] != vectors[1]["data"][0]["embedding"]


def test_they_are_listed(adapted: Running) -> None:
    listed = {entry["id"]: entry for entry in send("GET", f"{adapted.url}/v1/models").json()["data"]}
    assert list(listed) == ["demo", "pirate", "poet", "gpt-5"]
    assert [(entry["root"], entry["parent"]) for entry in listed.values()] == [
        ("demo", None), ("demo", "demo"), ("demo", "demo"), ("demo", None),
    ]  # fmt: skip
    assert send("GET", f"{adapted.url}/v1/models/pirate").json()["parent"] == "demo"


def test_names_that_nobody_knows(adapted: Running) -> None:
    body = {"messages": QUESTION, "max_tokens": 1, "model": "pirat"}
    refused = send("POST", f"{adapted.url}/v1/chat/completions", json=body)
    assert refused.status_code == 404
    assert "no model 'pirat' here; there is demo, pirate, poet, gpt-5" in refused.text


def test_by_number(adapted: Running, expected: dict[Any, str]) -> None:
    scales = [{"id": 0, "scale": 0.5}, {"id": 1, "scale": 1.0}]
    assert chat(adapted, lora=scales)["choices"][0]["message"]["content"] == expected["mixed"]
    assert chat(adapted, lora=[{"id": 1, "scale": 1}])["choices"][0]["message"]["content"] == expected["poet"]
    assert chat(adapted, lora=[], model="poet")["choices"][0]["message"]["content"] == expected[None]
    for wrong, said in (([{"id": 2}], "no such adapter"), ([{"id": 0, "scale": 1e9}], "the scale must be")):
        body = {"messages": QUESTION, "max_tokens": 1, "lora": wrong}
        refused = send("POST", f"{adapted.url}/v1/chat/completions", json=body)
        assert refused.status_code == 400
        assert said in refused.text
    text = {"prompt": "What", "temperature": 0, "max_tokens": 4, "ignore_eos": True}
    plain, changed = (
        send("POST", f"{adapted.url}/v1/completions", json={**text, **more}).json()["choices"][0]["text"]
        for more in ({}, {"lora": [{"id": 0, "scale": 3}]})
    )
    assert plain != changed


def test_names_that_are_taken() -> None:
    for more in ({"aliases": {"poet": "demo"}}, {}):
        served = [Served("demo", "demo", {}, ["poet" if more else "demo"])]
        with pytest.raises(InvalidArgument, match="a model or an alias has that name"):
            Models(served, **more)


def test_options_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from qwill.cli import main

    path = str(adapter_of_demo(tmp_path / "a.gguf", 1))
    for arguments, said in (
        (["serve", "a=demo", "b=demo", "--lora", path], "adapters are made for one model and this server has several"),
        (["serve", "--lora", f"a={path}", "--lora", f"a={path}"], "two adapters are called a"),
        (["run", "-p", "Hi", "--lora", f"a={path}"], "only qwill serve knows adapters by name"),
        (["run", "-p", "Hi", "--lora", str(tmp_path / "none.gguf")], "no such adapter"),
        (["run", "-p", "Hi", path], "is an adapter (LoRA), no model"),
    ):
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
    assert main(["run", "-p", "Hi", "-n", "1", "--lora", f"{path}=0.5"]) == 0
