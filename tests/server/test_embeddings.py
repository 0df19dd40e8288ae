"""Embeddings in both dialects, through the official clients: as the model makes them, and what is refused."""

import base64
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import ollama
import openai
import pytest

from qwill import LLM
from server.asking import send
from server.raw import connect, post
from server.running import Running, until
from server.stepping import held

TEXTS = ["The cat sleeps.", "17 + 25 = 42", "日本語 🙂", "a " * 900]


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture
def other(server: Running) -> Iterator[ollama.Client]:
    with ollama.Client(server.url) as opened:
        yield opened


def ids_of(llm: LLM, text: str) -> list[int]:
    assert llm.tokenizer is not None
    return llm.tokenizer.encode(text, allow_special=True)


def vectors(answer: Any) -> np.ndarray:
    """float32, in the order of the inputs."""
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return np.array([one.embedding for one in answer.data], np.float32)


@pytest.mark.parametrize("form", [None, "float", "base64"])
@pytest.mark.parametrize("dimensions", [None, 256, 16, 1])
def test_openai(client: openai.OpenAI, alone: LLM, form: Any, dimensions: int | None) -> None:
    """Without a form the client asks for base64 and decodes it."""
    more: dict[str, Any] = {} if form is None else {"encoding_format": form}
    if dimensions is not None:
        more["dimensions"] = dimensions
    answer = client.embeddings.create(model="demo", input=TEXTS, **more)
    expected = alone.embed(TEXTS, dimensions)
    if form == "base64":
        data: list[Any] = answer.data
        got = np.array([np.frombuffer(base64.b64decode(one.embedding), "<f4") for one in data])
    else:
        got = vectors(answer)
    assert np.array_equal(got, expected)  # to the bit
    assert answer.model == "demo"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(len(ids_of(alone, text)) for text in TEXTS)


def test_token_ids_and_single_texts(client: openai.OpenAI, alone: LLM) -> None:
    ids = [ids_of(alone, text) for text in TEXTS]
    expected = alone.embed(TEXTS)
    assert np.array_equal(vectors(client.embeddings.create(model="demo", input=ids)), expected)
    for index, text in enumerate(TEXTS):
        for given in (text, ids[index]):
            (got,) = vectors(client.embeddings.create(model="demo", input=given))
            assert np.array_equal(got, expected[index])


def test_what_is_alike_is_near(client: openai.OpenAI) -> None:
    """As far as a mean of states goes: the same sentence with another number beside one of other words."""
    texts = ["What is 17 + 25?", "What is 18 + 25?", "The cat sleeps under the old table."]
    first, second, third = vectors(client.embeddings.create(model="demo", input=texts))
    assert first @ second > first @ third


def test_ollama(other: ollama.Client, alone: LLM) -> None:
    expected = alone.embed(TEXTS)
    answer = other.embed("demo", TEXTS)
    assert np.array_equal(np.array(answer.embeddings, np.float32), expected)
    assert answer.prompt_eval_count == sum(len(ids_of(alone, text)) for text in TEXTS)
    assert answer.total_duration is not None
    assert answer.load_duration is not None
    assert answer.total_duration >= answer.load_duration >= 0
    assert answer.model == "demo"
    (got,) = other.embed("demo:latest", TEXTS[0], dimensions=16, truncate=False, options={"num_ctx": 9}).embeddings
    assert np.array_equal(np.array(got, np.float32), alone.embed(TEXTS[:1], 16)[0])
    assert np.array_equal(np.array(other.embeddings("demo", TEXTS[0]).embedding, np.float32), expected[0])


def test_ollama_cuts_what_is_too_long(other: ollama.Client, alone: LLM) -> None:
    text = "one two three " * 1000
    (got,) = other.embed("demo", text).embeddings
    assert np.array_equal(np.array(got, np.float32), alone.embed([ids_of(alone, text)[:1024]])[0])
    for refused in (lambda: other.embed("demo", text, truncate=False), lambda: other.embeddings("demo", text)):
        with pytest.raises(ollama.ResponseError, match="too long") as caught:
            refused()
        assert caught.value.status_code == 400


def test_ollama_loads_a_model_for_nothing(server: Running, other: ollama.Client) -> None:
    for more in ({}, {"input": ""}, {"input": []}):
        answer = send("POST", f"{server.url}/api/embed", json={"model": "demo", **more})
        assert (answer.status_code, answer.json()["embeddings"]) == (200, [])
    assert list(other.embeddings("demo").embedding) == []
    assert list(other.embed("llama3").embeddings) == []  # the one model answers to any name


def test_what_they_are_is_said(server: Running) -> None:
    for path, body in (
        ("/v1/embeddings", {"input": "x", "user": "me"}),
        ("/api/embed", {"input": "x", "user": "me"}),
        ("/api/embeddings", {"prompt": "x", "user": "me"}),
    ):
        answer = send("POST", f"{server.url}{path}", json=body)
        assert answer.status_code == 200
        assert "not trained for embeddings" in answer.headers["x-qwill-note"]
        assert answer.headers["x-qwill-ignored"] == "user"


def test_many_beside_an_answer(client: openai.OpenAI, alone: LLM) -> None:
    texts = ["".join(random.choices("abc xyz\n", k=random.randint(1, 60))) for _ in range(300)]
    question: list[Any] = [{"role": "user", "content": "What is 17 + 25?"}]
    asked: dict[str, Any] = {"model": "demo", "messages": question, "temperature": 0}
    expected = client.chat.completions.create(**asked).choices[0].message.content
    stream = client.chat.completions.create(stream=True, **asked)
    got = vectors(client.embeddings.create(model="demo", input=texts))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == expected
    assert np.array_equal(got, alone.embed(texts))


def test_a_client_that_leaves_ends_all_of_its_inputs(server: Running) -> None:
    with held(server, 2) as engine:
        with connect(server.url) as connection:
            connection.sendall(post("/v1/embeddings", {"input": [[index] * 900 for index in range(200)]}))
            engine.wait()
            assert server.worker.answering
        until(lambda: server.worker.answering == 0)
    server.until_idle()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"input": ""}, "input is empty"),
        ({"input": []}, "input is empty"),
        ({"input": [""]}, "input is empty"),
        ({"input": ["x", ""]}, "input 1 is empty"),
        ({"input": [[]]}, "input is empty"),
        ({"input": [[1], []]}, "input 1 is empty"),
        ({"input": [1, "x"]}, "input: must be a text, a list of texts, token ids or a list of lists of token ids"),
        ({"input": [True]}, "input: must be a text"),
        ({"input": {"text": "x"}}, "input: must be a text"),
        ({"input": [10**9]}, "token id 1000000000 is outside the vocabulary"),
        ({"input": [-1]}, "token id -1 is outside the vocabulary"),
        ({"input": [5] * 1025}, "1025"),
        ({"input": ["x", "word " * 3000]}, "too long"),
        ({"input": ["x"] * 2049}, "2048 inputs, not 2049"),
        ({"dimensions": 0}, "dimensions must be from 1 to 256, not 0"),
        ({"dimensions": 257}, "dimensions must be from 1 to 256, not 257"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"extra_body": {"task": "x"}}, "unknown field 'task'"),
    ],
)
def test_mistakes_are_named(client: openai.OpenAI, more: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        client.embeddings.create(**({"model": "demo", "input": "x"} | more))


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/embed", {"input": ["x", ""]}, "input 1 is empty"),
        ("/api/embed", {"input": [1]}, "input: must be a text or a list of texts"),
        ("/api/embed", {"input": "x", "dimensions": 257}, "dimensions must be from 1 to 256, not 257"),
        ("/api/embed", {"input": "x", "dimensions": -1}, "dimensions must be from 1 to 256, not -1"),
        ("/api/embeddings", {"prompt": ["x"]}, "prompt"),
    ],
)
def test_ollama_mistakes_are_named(server: Running, path: str, body: dict[str, Any], message: str) -> None:
    answer = send("POST", f"{server.url}{path}", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_overflow_names_the_field(client: openai.OpenAI) -> None:
    """Near the limit and far over it."""
    for given in ([5] * 1025, "word " * 3000):
        with pytest.raises(openai.BadRequestError, match=r"prompt is too long: \d+ tokens > 1024 maximum") as caught:
            client.embeddings.create(model="demo", input=given)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


def test_they_are_counted(server: Running) -> None:
    def read() -> float:
        lines = send("GET", f"{server.url}/metrics").text.splitlines()
        return next(
            float(line.split()[-1]) for line in lines if line.startswith('qwill_prompt_tokens_total{model="demo"')
        )

    server.until_idle()
    before = read()
    assert send("POST", f"{server.url}/v1/embeddings", json={"input": [[1, 2, 3], [4, 5]]}).status_code == 200
    until(lambda: read() == before + 5)
