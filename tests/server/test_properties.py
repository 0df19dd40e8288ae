"""What the server tells of its models and of itself, in the words that clients of other servers look for."""

from pathlib import Path
from typing import Any

import anthropic
import pytest

from qwill import __version__
from qwill.llm import LLM
from qwill.model.config import model_config
from qwill.server.models import Served
from server.asking import send, streamed
from server.running import OPTIONS, Running, running
from server.stepping import held

CONTEXT_NAMES = ("max_model_len", "context_length", "context_window", "max_context_length", "max_input_tokens")
GETS = (
    "/", "/docs", "/health", "/ready", "/metrics", "/version", "/props", "/slots", "/v1/models", "/v1/models/demo",
    "/api/tags", "/api/ps", "/api/version", "/openapi.json",
)  # fmt: skip
CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What is 17 + 25?"}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}  # fmt: skip


def get(server: Running, path: str, **more: Any) -> Any:
    answer = send("GET", server.url + path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", GETS)
def test_whether_something_is_there(server: Running, path: str) -> None:
    whole, head = (send(method, server.url + path) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers.keys() == whole.headers.keys()


def test_heads_of_what_is_not_there(server: Running) -> None:
    assert send("HEAD", f"{server.url}/nothing").status_code == 404
    assert send("HEAD", f"{server.url}/v1/chat/completions").status_code == 405


def test_a_model_is_described_before_it_is_loaded(tmp_path: Path) -> None:
    served = [
        Served("demo", "demo", OPTIONS),
        Served("other", "demo", {**OPTIONS, "max_context": 512, "max_sequences": 3}),
        Served("gone", str(tmp_path / "gone.gguf")),
    ]
    with running(served=served) as server:
        demo, other, gone = get(server, "/v1/models")["data"]
        assert [entry["loaded"] for entry in (demo, other, gone)] == [True, False, False]
        assert [entry["status"]["value"] for entry in (demo, other)] == ["loaded", "unloaded"]
        for name in CONTEXT_NAMES:
            assert (demo[name], other[name], gone.get(name)) == (1024, 512, None)
        llm = server.worker.llm
        text = llm.config.text
        assert other["meta"] == {
            "n_ctx_train": text.max_position_embeddings, "n_ctx": 512, "n_vocab": text.vocab_size,
            "n_embd": text.hidden_size, "n_params": demo["meta"]["n_params"], "size": served[0].bytes,
        }  # fmt: skip
        assert other["architecture"] == {"input_modalities": ["text", "image", "video"], "output_modalities": ["text"]}
        assert get(server, "/v1/models/other") == other
        shown = send("POST", f"{server.url}/api/show", json={"model": "other"}).json()
        assert shown["model_info"]["qwen35moe.context_length"] == 512
        assert shown["model_info"]["general.basename"] == "other"
        properties = get(server, "/props", params={"model": "other"})
        assert properties["is_sleeping"] is True
        assert (properties["total_slots"], properties["n_ctx"]) == (3, 512)
        slots = get(server, "/slots", params={"model": "other"})
        assert [(slot["id"], slot["n_ctx"], slot["is_processing"]) for slot in slots] == [
            (n, 512, False) for n in range(3)
        ]
        assert send("GET", f"{server.url}/props", params={"model": "nobody"}).status_code == 404
        assert "gone.gguf" in send("GET", f"{server.url}/props", params={"model": "gone"}).text
        assert served[1].worker is None
        with anthropic.Anthropic(base_url=server.url, api_key="x") as client:
            assert client.models.retrieve("other").max_input_tokens == 512


def test_properties(server: Running) -> None:
    assert get(server, "/version") == {"version": __version__}
    properties = get(server, "/props")
    llm: LLM = server.worker.llm
    defaults = properties["default_generation_settings"]
    assert (defaults["n_ctx"], defaults["id_task"], defaults["is_processing"]) == (1024, -1, False)
    assert defaults["speculative"] is True
    assert defaults["params"]["n_predict"] == -1
    assert defaults["params"]["temperature"] == llm.checkpoint.generation_config.get("temperature", 0)
    assert properties["chat_template"] == llm.checkpoint.chat_template
    assert properties["modalities"] == {"vision": True, "video": True, "audio": False}
    assert properties["total_slots"] == llm.max_sequences == len(get(server, "/slots"))
    assert Path(properties["model_path"]) == llm.checkpoint.path
    assert properties["build_info"] == f"qwill-{__version__}"
    assert properties["n_ctx_train"] == model_config(llm.checkpoint.config, None).text.max_position_embeddings
    assert properties["is_sleeping"] is False


def test_slots_tell_what_is_under_way() -> None:
    served = [Served("demo", "demo", {**OPTIONS, "max_sequences": 2})]
    body = {
        "messages": CHAT,
        "stream": True,
        "ignore_eos": True,
        "temperature": 0.25,
        "seed": 7,
        "max_tokens": 200,
        "n": 2,
    }
    with running(served=served) as server, held(server, 8) as engine:
        assert send("GET", f"{server.url}/slots?fail_on_no_slot=1").status_code == 200
        with streamed(f"{server.url}/v1/chat/completions", json=body):
            engine.wait()
            slots = get(server, "/slots")
            assert sorted(slot["id"] for slot in slots) == [0, 1]
            for slot in slots:
                (request,) = [one for one in engine.requests if one.slot == slot["id"]]
                written = len(request.output_ids)
                assert slot["is_processing"] is True
                assert slot["id_task"] == request.arrival
                assert slot["n_prompt_tokens"] == slot["n_prompt_tokens_processed"] == len(request.prompt.token_ids)
                assert slot["next_token"] == {"has_next_token": True, "n_remain": 200 - written, "n_decoded": written}
                assert written > 0
                assert (slot["params"]["temperature"], slot["params"]["stream"]) == (0.25, True)
            assert "Be short" not in str(slots)
            full = send("GET", f"{server.url}/slots?fail_on_no_slot=1")
            assert full.status_code == 503
            assert "all slots are in use" in full.text
        engine.release()
        server.until_idle()
        assert [slot["is_processing"] for slot in get(server, "/slots")] == [False, False]


@pytest.mark.parametrize(
    "more",
    [
        {}, {"tools": [TOOL]}, {"chat_template_kwargs": {"enable_thinking": False}},
        {"messages": [*CHAT, {"role": "assistant", "content": "17 + 25 = "}], "continue_final_message": True},
        {"messages": [{"role": "user", "content": "<|im_end|> is no end of mine"}]},
    ],
)  # fmt: skip
def test_the_text_of_a_conversation(server: Running, more: dict[str, Any]) -> None:
    body = {"messages": CHAT, **more}
    answer = send("POST", f"{server.url}/apply-template", json={**body, "user": "me"})
    assert answer.headers["x-qwill-ignored"] == "user"
    text = answer.json()["prompt"]
    assert text.startswith("<|im_start|>")
    for message in body["messages"]:
        assert message["content"].strip() in text
    assert ("get_weather" in text) == ("tools" in more)
    counted = send("POST", f"{server.url}/v1/chat/completions", json={**body, "max_tokens": 1}).json()["usage"]
    if "<|im_end|>" not in body["messages"][0]["content"]:
        ids = send("POST", f"{server.url}/tokenize", json={"prompt": text}).json()["tokens"]
        assert len(ids) == counted["prompt_tokens"]


def test_what_has_no_text(server: Running) -> None:
    for body in ({}, {"messages": []}, {"messages": CHAT, "temprature": 1}, {"messages": [{"role": "robot"}]}):
        assert send("POST", f"{server.url}/apply-template", json=body).status_code == 400
