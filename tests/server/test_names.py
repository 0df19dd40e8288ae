"""Names of models: their own, aliases, wildcards, and names that nobody knows, in every dialect."""

from collections.abc import Iterator
from typing import Any

import anthropic
import ollama
import openai
import pytest

from qwill.errors import InvalidArgument, ModelNotFound
from qwill.server.models import Models, Served
from qwill.server.settings import Settings
from qwill.server.usage import read_usage
from server.asking import send
from server.running import OPTIONS, Running, running, until

QUESTION = [{"role": "user", "content": "Hi"}]
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 1}),
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 1}),
    ("/v1/responses", {"input": "Hi", "max_output_tokens": 16}),
    ("/v1/messages", {"messages": QUESTION, "max_tokens": 1}),
    ("/v1/messages/count_tokens", {"messages": QUESTION}),
    ("/v1/responses/input_tokens", {"input": "Hi"}),
    ("/api/chat", {"messages": QUESTION, "options": {"num_predict": 1}, "stream": False}),
    ("/api/generate", {"prompt": "Hi", "options": {"num_predict": 1}, "stream": False}),
    ("/api/show", {}),
    ("/tokenize", {"prompt": "Hi"}),
    ("/detokenize", {"tokens": [1]}),
    ("/apply-template", {"messages": QUESTION}),
]


@pytest.fixture(scope="module")
def several() -> Iterator[Running]:
    """Two models, of which neither answers to any name."""
    served = [Served("big", "demo", OPTIONS), Served("small", "demo", {**OPTIONS, "max_context": 512})]
    aliases = {"gpt-5": "small", "claude-*": "big", "claude-haiku-*": "big", "qwen:7b": "small"}
    with running(served=served, aliases=aliases) as started:
        yield started


def models(*names: str, **more: Any) -> Models:
    return Models([Served(name, f"{name}.gguf") for name in names], **more)


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_one_model_answers_to_any_name(server: Running, path: str, body: dict[str, Any]) -> None:
    for name in ("demo", "demo:latest", "claude-sonnet-4-5-20250929", "gpt-5", "llama3:8b"):
        answer = send("POST", server.url + path, json={**body, "model": name})
        assert answer.status_code == 200, answer.text
        told = answer.json().get("model")
        assert told is None or told == (name if path.startswith("/api/") else "demo")
    assert send("GET", f"{server.url}/v1/models/gpt-5").json() | {"created": 0, "created_at": ""} == send(
        "GET", f"{server.url}/v1/models/demo"
    ).json() | {"id": "gpt-5", "display_name": "gpt-5", "created": 0, "created_at": ""}
    assert [entry["id"] for entry in send("GET", f"{server.url}/v1/models").json()["data"]] == ["demo"]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_several_models_answer_to_their_names_alone(several: Running, path: str, body: dict[str, Any]) -> None:
    for name in ("big", "small", "gpt-5", "claude-opus-4", "gpt-5:latest", "qwen:7b", ""):
        answer = send("POST", several.url + path, json={**body, "model": name})
        assert answer.status_code == 200, answer.text
    for name in ("gpt-4", "Big", "claude", "xclaude-1", "big:7b"):
        refused = send("POST", several.url + path, json={**body, "model": name})
        assert refused.status_code == 404
        assert f"no model '{name}' here; there is big, small, gpt-5, qwen:7b" in refused.text


def test_who_answers(several: Running) -> None:
    url = f"{several.url}/v1/chat/completions"
    for name, own in (("gpt-5", "small"), ("claude-haiku-4-5", "big"), ("small:latest", "small"), (None, "big")):
        assert send("POST", url, json={"messages": QUESTION, "max_tokens": 1, "model": name}).json()["model"] == own
    streamed = send("POST", url, json={"messages": QUESTION, "max_tokens": 1, "model": "gpt-5", "stream": True}).text
    assert '"model":"small"' in streamed
    assert "gpt-5" not in streamed


def test_aliases_are_listed(several: Running) -> None:
    names = ["big", "small", "gpt-5", "qwen:7b"]
    with openai.OpenAI(base_url=f"{several.url}/v1", api_key="x") as client:
        listed = {model.id: model for model in client.models.list().data}
        assert list(listed) == names
        assert listed["gpt-5"].model_dump()["root"] == "small"
        assert listed["gpt-5"].model_dump()["max_model_len"] == 512
        assert client.models.retrieve("claude-x").model_dump()["root"] == "big"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-4")
    with anthropic.Anthropic(base_url=several.url, api_key="x") as claude:
        assert [model.id for model in claude.models.list().data] == names
    with ollama.Client(several.url) as client:
        tags = ["big:latest", "small:latest", "gpt-5:latest", "qwen:7b"]
        assert [model.model for model in client.list().models] == tags
        assert client.chat("gpt-5:latest", QUESTION, options={"num_predict": 1}).model == "gpt-5:latest"


def test_a_default_answers_to_names_that_nobody_knows() -> None:
    with_default = models("a", "b", default="b")
    assert with_default.find("gpt-5").name == "b"
    assert with_default.find(None).name == "b"
    assert with_default.find("a:latest").name == "a"
    with_star = models("a", "b", aliases={"gpt-*": "a", "*": "b"})
    assert [with_star.find(name).name for name in ("x", "gpt-5", "gpt-5:latest", "a", "", None)] == [*"baaaaa"]


@pytest.mark.parametrize("name", ["x" * 257, "demo\0", "a\nb", "\ud800", "\u202e"])
def test_names_that_nobody_gives(name: str) -> None:
    """They could come back in every line of an answer."""
    for one in (models("demo"), models("a", "b", default="a"), models("a", "b", aliases={"*": "a"})):
        with pytest.raises(ModelNotFound, match="no model"):
            one.find(name)
    assert models("demo").find("x" * 256).name == "demo"


def test_tags_may_be_left_out() -> None:
    """As Ollama's clients do, whether or not the model was given one."""
    tagged = models("a:latest", "b", aliases={"qwen:latest": "b", "qwen:7b": "a:latest"})
    assert [tagged.find(name).name for name in ("a", "a:latest", "qwen", "qwen:7b")] == ["a:latest"] * 2 + [
        "b",
        "a:latest",
    ]
    with pytest.raises(ModelNotFound):
        tagged.find("a:7b")


def test_what_a_model_was_given_as_is_a_name_of_it() -> None:
    link = "hf.co/unsloth/Qwen3.5-4B-GGUF:Q4_K_M"
    there = Models([Served("big", "demo"), Served("unsloth/Qwen3.5-4B-GGUF:Q4_K_M", link)], aliases={"b.gguf": "big"})
    assert there.find(link).name == "unsloth/Qwen3.5-4B-GGUF:Q4_K_M"
    assert there.find("demo").name == "big"
    assert [name for name, _ in there.names.listed] == ["big", "unsloth/Qwen3.5-4B-GGUF:Q4_K_M", "b.gguf"]


def test_names_that_are_wrong() -> None:
    for more, message in (
        ({"aliases": {"x": "c"}}, "--alias x=c: no model 'c' here; there is a, b"),
        ({"aliases": {"a": "b"}}, "--alias a: a model has that name"),
        ({"default": "c"}, "--default c: no model 'c' here; there is a, b"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            models("a", "b", **more)
    assert models("a", "b", aliases={"x": "b.gguf"}).find("x").name == "b"
    with pytest.raises(ModelNotFound, match="no model 'c' here; there is a, b"):
        models("a", "b").find("c")


def test_usage_and_metrics_count_under_the_models_own_name(tmp_path: Any) -> None:
    settings = Settings(usage_file=tmp_path / "usage.sqlite")
    with running(settings, aliases={"other": "demo"}) as server:
        for name in ("other", "gpt-5", "demo"):
            body = {"messages": QUESTION, "max_tokens": 1, "model": name}
            assert send("POST", f"{server.url}/v1/chat/completions", json=body).status_code == 200
        page = ""

        def counted() -> bool:
            nonlocal page
            page = send("GET", f"{server.url}/metrics").text
            return 'qwill_answers_total{finish_reason="length",model="demo"} 3.0' in page

        until(counted)
        assert "gpt-5" not in page
        assert 'model="other"' not in page
    assert {row.model for row in read_usage(tmp_path / "usage.sqlite")} == {"demo"}
