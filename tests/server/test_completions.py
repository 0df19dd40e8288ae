"""/v1/completions: prompts that are told with log-probabilities, one and many, whole and streamed."""

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from qwill import LLM, SamplingParams
from qwill.server.openai import completions
from server.asking import send
from server.raw import connect, post
from server.running import Running, until
from server.stepping import held

SUM = "17 + 25 ="
TEXTS = (SUM, "a", "Zoë said: 日本語 🙂🙃 and naïve ‑ déjà vu.", "<|im_start|>user\nHello!<|im_end|>\n")


ENDS = ("<|im_end|>", "<|endoftext|>")  # of answers, whose text has them not


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def ids_of(llm: LLM, prompt: str | list[int]) -> list[int]:
    assert llm.tokenizer is not None
    return llm.tokenizer.encode(prompt, allow_special=True) if isinstance(prompt, str) else prompt


def log_softmax(llm: LLM, ids: list[int]) -> np.ndarray:
    """float64 [tokens, vocab]: after each token."""
    logits = llm.forward(ids).astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def random_ids(llm: LLM, most: int = 100) -> list[int]:
    return [random.randrange(llm.config.text.vocab_size) for _ in range(random.randint(1, most))]


def text_of(llm: LLM, token: int) -> str:
    assert llm.tokenizer is not None
    return llm.tokenizer.token_bytes(token).decode("utf-8", "replace")


def check_choice(choice: Any, llm: LLM, prompt: str | list[int], tops: int, written: int) -> None:
    """`written`: tokens of the answer, which was greedy."""
    assert llm.tokenizer is not None
    ids = ids_of(llm, prompt)
    text = prompt if isinstance(prompt, str) else llm.tokenizer.decode(ids, skip_special=False)
    answer = llm.generate([ids], SamplingParams(temperature=0, max_tokens=written))[0] if written else None
    assert choice.text == text + (answer.text if answer is not None else "")
    told = choice.logprobs
    whole = ids + (answer.token_ids if answer is not None else [])
    assert told.tokens == [text_of(llm, token) for token in whole]
    assert told.token_logprobs[0] is told.top_logprobs[0] is None
    expected = log_softmax(llm, whole)
    for place in range(1, len(whole)):
        row, top = expected[place - 1], told.top_logprobs[place]
        logprob = told.token_logprobs[place]
        assert abs(logprob - row[whole[place]]) < 1e-6  # see tests/engine/test_readers.py
        best = np.argsort(-row, kind="stable")[:tops]
        named = {text_of(llm, token) for token in (*best.tolist(), whole[place])}
        assert set(top) == named
        assert (max(top.values()) == logprob) == (row[whole[place]] == row.max() or not tops)


@pytest.mark.parametrize("prompt", TEXTS)
@pytest.mark.parametrize(("tops", "written"), [(1, 1), (5, 0), (0, 3)])
def test_a_prompt_is_told(client: openai.OpenAI, alone: LLM, prompt: str, tops: int, written: int) -> None:
    for given in (prompt, ids_of(alone, prompt), random_ids(alone)):
        answer = client.completions.create(
            model="demo", prompt=given, echo=True, logprobs=tops, max_tokens=written, temperature=0
        )
        (choice,) = answer.choices
        check_choice(choice, alone, given, tops, written)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == len(ids_of(alone, given))
        assert answer.usage.completion_tokens == len(choice.logprobs.tokens) - answer.usage.prompt_tokens
        assert choice.finish_reason == ("stop" if choice.logprobs.tokens[-1] in ENDS and written else "length")


def test_offsets_are_places_in_the_text(client: openai.OpenAI) -> None:
    for prompt in TEXTS:
        answer = client.completions.create(model="demo", prompt=prompt, echo=True, logprobs=0, max_tokens=9, seed=1)
        told = answer.choices[0].logprobs
        assert told is not None
        assert told.text_offset is not None
        assert told.tokens is not None
        assert told.text_offset[0] == 0
        assert told.text_offset == sorted(told.text_offset)
        for token, offset in zip(told.tokens, told.text_offset, strict=True):
            if "\ufffd" not in token and token not in ENDS:
                assert answer.choices[0].text[offset : offset + len(token)] == token


def test_what_was_written_has_the_same_when_it_is_told(client: openai.OpenAI, alone: LLM) -> None:
    ids = ids_of(alone, SUM)
    common: dict[str, Any] = {"model": "demo", "logprobs": 2, "temperature": 0, "max_tokens": 6}
    written = client.completions.create(prompt=ids, **common).choices[0].logprobs
    (answer,) = alone.generate([ids], SamplingParams(temperature=0, max_tokens=6))
    told = client.completions.create(prompt=ids + answer.token_ids, echo=True, **common | {"max_tokens": 0})
    logprobs = told.choices[0].logprobs
    assert written is not None
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert logprobs.token_logprobs[len(ids) :] == written.token_logprobs
    assert logprobs.top_logprobs[len(ids) :] == written.top_logprobs


@pytest.mark.parametrize("more", [{"logprobs": 2}, {}, {"logprobs": 1, "max_tokens": 0}, {"n": 2, "logprobs": 0}])
def test_a_stream_is_the_whole(client: openai.OpenAI, alone: LLM, more: dict[str, Any]) -> None:
    asked: dict[str, Any] = {
        "model": "demo",
        "prompt": [SUM, TEXTS[2]],
        "echo": True,
        "temperature": 0,
        "max_tokens": 5,
    }
    asked |= more
    whole = client.completions.create(**asked)
    texts = ["" for _ in whole.choices]
    fields = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    told: list[dict[str, list[Any]]] = [{name: [] for name in fields} for _ in whole.choices]
    for chunk in client.completions.create(stream=True, **asked):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.logprobs is not None:
                for name in fields:
                    told[choice.index][name] += getattr(choice.logprobs, name)
    assert texts == [choice.text for choice in whole.choices]
    for parts, choice in zip(told, whole.choices, strict=True):
        expected = {name: getattr(choice.logprobs, name) for name in fields} if choice.logprobs is not None else None
        assert parts == (expected or {name: [] for name in fields})


def test_usage_in_every_event(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "prompt": SUM, "temperature": 0, "max_tokens": 5, "stream": True}
    told = list(client.completions.create(**asked, stream_options={"include_usage": True}))
    assert [chunk.usage is None for chunk in told] == [True] * (len(told) - 1) + [False]
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    usages = [chunk.usage for chunk in client.completions.create(**asked, stream_options=options)]
    counts = [usage.completion_tokens for usage in usages if usage is not None]
    assert len(counts) == len(usages)
    assert counts == sorted(counts)
    assert 0 < counts[0] <= counts[-1]  # a busy client may get all at once
    assert usages[-1] == told[-1].usage


def test_as_many_prompts_as_there_may_be(client: openai.OpenAI, alone: LLM) -> None:
    """More than the server lets wait: they are answered some at a time."""
    prompts = [random_ids(alone, 40) for _ in range(256)]
    answer = client.completions.create(
        model="demo", prompt=prompts, echo=True, logprobs=1, max_tokens=1, temperature=0, seed=1234
    )
    assert [choice.index for choice in answer.choices] == list(range(256))
    for index in random.sample(range(256), 12):
        check_choice(answer.choices[index], alone, prompts[index], 1, 1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(map(len, prompts))
    with pytest.raises(openai.BadRequestError, match="256 answers to its prompts in all, not 257"):
        client.completions.create(model="demo", prompt=[*prompts, [1]])
    with pytest.raises(openai.BadRequestError, match="256 answers to its prompts in all, not 258"):
        client.completions.create(model="demo", prompt=prompts[:129], n=2)


def test_a_long_answer_has_the_same_form(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written elsewhere, so that streams do not stand still."""
    asked: dict[str, Any] = {"model": "demo", "prompt": list(TEXTS), "echo": True, "logprobs": 2, "temperature": 0}
    short = client.completions.create(**asked)
    monkeypatch.setattr(completions, "MANY_TOKENS", 1)
    long = client.completions.with_raw_response.create(**asked, user="me")
    assert long.headers["content-type"] == "application/json"
    assert long.headers["x-qwill-ignored"] == "user"
    parsed = long.parse()
    assert parsed.choices == short.choices
    assert parsed.usage is not None
    assert short.usage is not None
    assert parsed.usage.total_tokens == short.usage.total_tokens
    assert (parsed.object, parsed.model) == (short.object, short.model)


def test_others_get_their_turn_between_many_prompts(server: Running, alone: LLM) -> None:
    prompts = [[7 + index] * 900 for index in range(60)]
    body = {"prompt": prompts, "echo": True, "logprobs": 1, "max_tokens": 0}
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(send("POST", f"{server.url}/v1/completions", json=body)))
    with held(server, 3) as engine:
        thread.start()
        engine.wait()
        assert len(engine.requests) == server.worker.llm.max_sequences - 1
    other = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}
    assert send("POST", f"{server.url}/v1/chat/completions", json=other).status_code == 200
    assert not answers
    thread.join()
    assert answers[0].status_code == 200
    assert len(answers[0].json()["choices"]) == 60


def test_a_client_that_leaves_ends_all_of_its_prompts(server: Running) -> None:
    body = {"prompt": [[index] * 900 for index in range(200)], "echo": True, "logprobs": 1, "max_tokens": 0}
    with held(server, 2) as engine:
        with connect(server.url) as connection:
            connection.sendall(post("/v1/completions", body))
            engine.wait()
            assert server.worker.answering == server.worker.llm.max_sequences - 1
        until(lambda: server.worker.answering == 0)
    server.until_idle()


def test_the_prompt_alone(server: Running) -> None:
    for stream in (False, True):
        body = {"prompt": SUM, "echo": True, "max_tokens": 0, "stream": stream}
        text = send("POST", f"{server.url}/v1/completions", json=body).text
        (choice,) = json.loads(text.removeprefix("data: ").partition("\n")[0])["choices"]
        assert (choice["text"], choice["logprobs"], choice["finish_reason"]) == (SUM, None, "length")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_tokens": 0}, "max_tokens may be 0 only with echo: true"),
        ({"max_tokens": 0, "logprobs": 1}, "max_tokens may be 0 only with echo: true"),
        ({"logprobs": 101, "echo": True}, "logprobs must be a whole number from 0 to 100"),
        ({"logprobs": -1, "echo": True}, "logprobs must be a whole number from 0 to 100"),
        ({"prompt": ["x", ""], "echo": True}, "the prompt is empty"),
        ({"prompt": [5] * 1025, "echo": True, "max_tokens": 0}, "1025"),
        ({"prompt": [5] * 1024, "echo": True, "max_tokens": 1, "logprobs": 1}, "1024"),
    ],
)
def test_mistakes_are_named(client: openai.OpenAI, more: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        client.completions.create(**({"model": "demo", "prompt": "x"} | more))


def test_what_fills_the_context_can_be_told(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="demo", prompt=[5] * 1024, echo=True, logprobs=1, max_tokens=0)
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.tokens is not None
    assert len(told.tokens) == 1024
