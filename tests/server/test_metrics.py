"""/metrics, read as Prometheus reads it, against what clients were told."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from qwill.server.keys import Keys
from qwill.server.metrics import Intervals
from qwill.server.models import Served
from qwill.server.settings import Settings
from server.asking import send, streamed
from server.running import OPTIONS, PATIENCE, Running, running, until
from server.stepping import held

SECRET = "a secret of many letters"
RED_CIRCLE = Path(__file__).parents[2] / "docs" / "red_circle.png"
ENDLESS = {"stream": True, "ignore_eos": True, "temperature": 1.0, "seed": 1}


class Page:
    """The figures at one moment."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.names = [family.name for family in families]
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples.get((f"qwill_{name}", frozenset(labels.items())), 0.0)

    def labels(self, label: str) -> set[str]:
        """All values that a label has."""
        return {dict(labels)[label] for _, labels in self.samples if label in dict(labels)}


def page(server: Running) -> Page:
    answer = send("GET", f"{server.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Page(answer.text)


def page_when(server: Running, name: str, value: float, **labels: str) -> Page:
    """The figures once one of them has a value; without it the wait ends in a failure."""

    def figures() -> Page | None:
        found = page(server)
        return found if found(name, **labels) == value else None

    return until(figures)


@pytest.fixture(scope="module")
def own() -> Iterator[Running]:
    """A server that only these tests ask, with drafts whether they pay or not."""
    with running(served=[Served("demo", "demo", {**OPTIONS, "speculative": 2})]) as started:
        yield started


def ask(server: Running, content: Any, **more: Any) -> Any:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": content}], **more)


def body(content: str = "Hello!", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def grown(before: Page, after: Page, name: str, **labels: str) -> float:
    return after(name, **labels) - before(name, **labels)


def test_answers_and_their_tokens(own: Running) -> None:
    before = page(own)
    question = "What is 17 + 25? Think of it as long as you like, and then a little longer."
    answers = [ask(own, question, seed=1), ask(own, question, seed=1)]
    after = page(own)
    told = [answer.usage for answer in answers]
    assert told[1].prompt_tokens_details.cached_tokens > 0
    for name, expected in {
        "prompt_tokens": sum(usage.prompt_tokens for usage in told),
        "cached_tokens": sum(usage.prompt_tokens_details.cached_tokens for usage in told),
        "completion_tokens": sum(usage.completion_tokens for usage in told),
        "reasoning_tokens": sum(usage.completion_tokens_details.reasoning_tokens for usage in told),
        "image_tokens": 0,
    }.items():
        assert grown(before, after, f"{name}_total", model="demo") == expected, name
    assert grown(before, after, "answers_total", model="demo", finish_reason="stop") == 2
    assert grown(before, after, "request_seconds_count", model="demo") == 2
    assert grown(before, after, "time_to_first_token_seconds_count", model="demo") == 2
    first = grown(before, after, "time_to_first_token_seconds_sum", model="demo")
    between = grown(before, after, "time_between_tokens_seconds_sum", model="demo")
    assert 0 < first + between <= grown(before, after, "request_seconds_sum", model="demo")
    pieces = grown(before, after, "time_between_tokens_seconds_count", model="demo")
    assert 1 <= pieces <= sum(usage.completion_tokens for usage in told)
    assert after("prefix_cache_hit_ratio", model="demo") == pytest.approx(
        after("cached_tokens_total", model="demo") / after("prompt_tokens_total", model="demo")
    )
    assert 0 < after("drafts_accepted_total", model="demo") <= after("drafts_total", model="demo")
    assert after("draft_acceptance_ratio", model="demo") == pytest.approx(
        after("drafts_accepted_total", model="demo") / after("drafts_total", model="demo")
    )
    assert after("snapshots", model="demo") > 0
    assert after("snapshot_bytes", model="demo") > 0


def test_an_image(own: Running) -> None:
    before = page(own)
    address = f"data:image/png;base64,{base64.b64encode(RED_CIRCLE.read_bytes()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "text", "text": "What is in the picture?"},
    ]
    told = ask(own, content).usage.prompt_tokens_details
    assert told.image_tokens > 0
    assert grown(before, page(own), "image_tokens_total", model="demo") == told.image_tokens


def test_a_prompt_with_several_answers_counts_once(own: Running) -> None:
    before = page(own)
    answer = ask(own, "What is 3 + 4?", n=3, max_tokens=5, extra_body={"ignore_eos": True})
    after = page(own)
    assert grown(before, after, "prompt_tokens_total", model="demo") == answer.usage.prompt_tokens
    assert grown(before, after, "completion_tokens_total", model="demo") == 15
    assert grown(before, after, "answers_total", model="demo", finish_reason="length") == 3
    assert grown(before, after, "request_seconds_count", model="demo") == 1
    assert grown(before, after, "time_to_first_token_seconds_count", model="demo") == 3


def test_an_answer_under_way_and_its_end(own: Running) -> None:
    before = page(own)
    cancelled = {"model": "demo", "finish_reason": "cancelled"}
    with held(own, 12) as engine:
        with streamed(f"{own.url}/v1/chat/completions", json=body(**ENDLESS)) as answer:
            lines = answer.iter_lines()
            while '"content":""' in (line := next(lines)) or not line:  # the role comes before any token
                pass
            engine.wait()
            during = page(own)
        engine.release()
        after = page_when(own, "answers_total", before("answers_total", **cancelled) + 1, **cancelled)
    for name in ("answers_running", "state_slots_used", "requests_in_progress"):
        assert during(name, model="demo") == 1, name
    assert 0 < during("pages_running", model="demo") <= during("pages_used", model="demo")
    assert during("pages_used", model="demo") <= during("pages", model="demo")
    assert during("state_slots", model="demo") == own.worker.llm.max_sequences
    for name in ("answers_running", "state_slots_used", "requests_in_progress", "pages_running"):
        assert after(name, model="demo") == 0, name
    (request,) = engine.requests
    assert grown(before, after, "completion_tokens_total", model="demo") == len(request.output_ids) >= 12
    assert grown(before, after, "prompt_tokens_total", model="demo") == len(request.prompt.token_ids)
    assert grown(before, after, "request_seconds_count", model="demo") == 0
    assert grown(before, after, "time_to_first_token_seconds_count", model="demo") == 1


def test_who_waits_and_leaves_counts_no_tokens() -> None:
    served = [Served("demo", "demo", {**OPTIONS, "max_sequences": 1})]
    with running(served=served) as server, held(server, 5) as engine:
        url = f"{server.url}/v1/chat/completions"
        with streamed(url, json=body(**ENDLESS)):
            engine.wait()
            with streamed(url, json=body("And you?", **ENDLESS)):
                assert page(server)("requests_in_progress", model="demo") == 2
            page_when(server, "requests_in_progress", 1, model="demo")
            engine.release()
            after = page_when(server, "answers_total", 1, model="demo", finish_reason="cancelled")
            for name in ("prompt_tokens_total", "completion_tokens_total"):
                assert after(name, model="demo") == 0, name


def test_the_queue() -> None:
    """Of three answers that may be computed one at a time, two wait."""
    served = [Served("demo", "demo", {**OPTIONS, "max_sequences": 1})]
    with running(served=served) as server, held(server, 5) as engine:
        with streamed(f"{server.url}/v1/chat/completions", json=body(n=3, **ENDLESS)):
            engine.wait()
            figures = page(server)
            assert figures("answers_running", model="demo") == figures("state_slots_used", model="demo") == 1
            assert figures("answers_waiting", model="demo") == 2
        engine.release()
        after = page_when(server, "answers_total", 3, model="demo", finish_reason="cancelled")
        assert after("answers_running", model="demo") == after("answers_waiting", model="demo") == 0


def test_the_step_under_way_when_a_client_leaves_counts() -> None:
    """Of a prompt that is read in small pieces, the second is being read while its client goes."""
    served = [Served("demo", "demo", {**OPTIONS, "step_tokens": 40})]
    with running(served=served) as server, held(server, 1) as engine:
        with streamed(f"{server.url}/v1/chat/completions", json=body("word " * 200, **ENDLESS)):
            engine.wait()
            (request,) = engine.requests
            computed = request.computed
            assert computed > 0
        page_when(server, "requests_in_progress", 0, model="demo")
        assert page(server)("prompt_tokens_total", model="demo") == 0
        engine.release()
        after = page_when(server, "answers_total", 1, model="demo", finish_reason="cancelled")
        assert computed < request.computed < len(request.prompt.token_ids)
        assert after("prompt_tokens_total", model="demo") == request.computed


def test_a_step_that_fails_is_counted(own: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    before = page(own)

    def fail() -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(own.worker.llm.engine, "step", fail)
        assert send("POST", f"{own.url}/v1/chat/completions", json=body()).status_code == 500
    failed = {"model": "demo", "finish_reason": "failed"}
    page_when(own, "answers_total", before("answers_total", **failed) + 1, **failed)


def test_models_that_are_loaded() -> None:
    served = [Served(name, "demo", OPTIONS) for name in ("first", 'sec"ond\\')]
    with running(served=served) as server:
        figures = page(server)
        assert figures("model_loaded", model="first") == 1
        assert figures("model_loaded", model='sec"ond\\') == 0
        assert figures("model_weight_bytes", model="first") == server.application.models.all[0].bytes > 10**6
        assert figures.labels("model") == {"first", 'sec"ond\\'}
        assert send("POST", f"{server.url}/v1/chat/completions", json=body(model='sec"ond\\')).status_code == 200
        figures = page(server)
        assert figures("model_loaded", model='sec"ond\\') == 1
        assert figures("answers_total", model='sec"ond\\', finish_reason="stop") == 1
        assert figures("process_resident_memory_bytes") > 10**7
        assert all(name.startswith("qwill_") for name in figures.names)
        assert not [name for name in figures.names if name.endswith("_created")]


def test_labels_are_few_whatever_is_asked() -> None:
    with (
        running(Settings(keys=Keys.of([SECRET]))) as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE) as client,
    ):
        assert client.post("/v1/chat/completions", json=body()).status_code == 401
        client.headers["authorization"] = f"Bearer {SECRET}"
        for number in range(5):
            assert client.get(f"/nothing/{number}").status_code == 404
            assert client.get(f"/v1/models/{number}").status_code == 200
            assert client.request(f"BREW{number}", "/health").status_code in (400, 405)
        assert client.get("/v1/chat/completions").status_code == 405
        assert client.get("/v1/models/demo").status_code == 200
        figures = Page(client.get("/metrics").text)
        chat = "/v1/chat/completions"
        assert figures("http_requests_total", route=chat, method="POST", status="401") == 1
        assert figures("http_requests_total", route=chat, method="GET", status="405") == 1
        assert figures("http_requests_total", route="/v1/models/{name}", method="GET", status="200") == 6
        assert figures("http_requests_total", route="other", method="GET", status="404") == 5
        assert figures("http_request_seconds_count", route="/v1/models/{name}") == 6
        assert figures.labels("method") <= {"GET", "POST", "other"}
        assert figures.labels("route") <= {chat, "/v1/models/{name}", "/health", "other"}


def test_intervals_are_a_histogram() -> None:
    """Against the library's own histogram, with values on the bounds, below and beyond them."""
    bounds = (0.5, 1.0, 2.0)
    values = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.0, 9.0])
    registry, expected = CollectorRegistry(), CollectorRegistry()
    intervals = Intervals("waits", "How long.", bounds)
    registry.register(intervals)
    histogram = Histogram("waits", "How long.", ["model"], registry=expected, buckets=bounds)
    for model, own_values in (("a", values), ("b", values[:0])):
        intervals.add(model, own_values[:4])
        intervals.add(model, own_values[4:])
        histogram.labels(model)
        for value in own_values:
            histogram.labels(model).observe(value)
    pages = [Page(generate_latest(one).decode()).samples for one in (registry, expected)]
    assert {key: value for key, value in pages[1].items() if not key[0].endswith("_created")} == pages[0]
