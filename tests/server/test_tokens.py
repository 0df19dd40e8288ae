"""/tokenize, /detokenize and /tokenizer_info: what a client needs that counts tokens itself."""

import random

from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.asking import send
from server.running import Running

TOOL = {"type": "function", "function": {"name": "f"}}


def test_texts_come_back(server: Running) -> None:
    tokenizer = server.worker.llm.tokenizer
    for text in ("17 + 25 =", "日本語 🙂", "<|im_start|>user\nx<|im_end|>", "".join(random.choices("ab \né", k=50))):
        for more in ({}, {"add_special_tokens": False}, {"add_special_tokens": True}):
            said = send("POST", f"{server.url}/tokenize", json={"prompt": text, **more}).json()
            ids = tokenizer.encode(text, allow_special=True)
            assert said == {"tokens": ids, "count": len(ids), "max_model_len": server.worker.llm.max_context}
        assert send("POST", f"{server.url}/detokenize", json={"tokens": ids}).json() == {"prompt": text}


def test_texts_of_tokens(server: Running) -> None:
    said = send("POST", f"{server.url}/tokenize", json={"prompt": "17 + 25", "return_token_strs": True}).json()
    assert "".join(said["token_strs"]) == "17 + 25"
    assert len(said["token_strs"]) == said["count"]
    body = {"messages": [{"role": "user", "content": "Hi!"}], "return_token_strs": True}
    said = send("POST", f"{server.url}/tokenize", json=body).json()
    assert said["token_strs"][0] == "<|im_start|>"


def test_what_there_is_to_know(server: Running) -> None:
    said = send("GET", f"{server.url}/tokenizer_info").json()
    assert said["eos_token"] == "<|im_end|>"
    assert said["bos_token"] is None
    assert said["pad_token"] == "<|endoftext|>"
    assert said["model_max_length"] == server.worker.llm.max_context
    assert said["vocab_size"] == server.worker.llm.config.text.vocab_size
    # The end of an answer is one token, and it is one that ends answers.
    ids = send("POST", f"{server.url}/tokenize", json={"prompt": said["eos_token"]}).json()["tokens"]
    assert len(ids) == 1
    assert set(ids) <= server.worker.llm._eos_ids
    assert {"<|im_start|>", "<|im_end|>"} <= set(said["additional_special_tokens"])
    assert send("GET", f"{server.url}/tokenizer_info?model=demo").json() == said
    assert send("GET", f"{server.url}/tokenizer_info?model=x").json() == said  # the one model answers to any name


def test_the_template_makes_the_prompt(server: Running) -> None:
    said = send("GET", f"{server.url}/tokenizer_info").json()
    messages = [{"role": "user", "content": "What is 17 + 25?"}]
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(said["chat_template"])
    rendered = template.render(messages=messages, add_generation_prompt=True)
    ids = send("POST", f"{server.url}/tokenize", json={"messages": messages}).json()["tokens"]
    assert send("POST", f"{server.url}/tokenize", json={"prompt": rendered}).json()["tokens"] == ids


def test_what_a_conversation_says_in_vain(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "Hi!", "opts": 1}], "tools": [{"type": "web_search"}, TOOL]}
    said = send("POST", f"{server.url}/tokenize", json=body)
    assert said.headers["x-qwill-ignored"] == "messages.opts, tools.web_search"
