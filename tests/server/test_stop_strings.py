"""Stop strings in the answers of every dialect that has them: they are looked for in the content alone."""

from collections.abc import Iterator
from typing import Any

import pytest

from server.asking import send
from server.forced import DIALECTS, QUESTION, completions, forced
from server.running import Running

CALL = "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
PARIS = ("weather", {"city": "Paris"})
# The dialect's words for an answer that a stop string ended, that ended by itself, and that ended with calls.
WORDS = {
    "chat": ("stop", "stop", "tool_calls"),
    "anthropic": ("stop_sequence", "end_turn", "tool_use"),
    "ollama": ("stop", "stop", "stop"),
}
# What the model says, the stop strings, the content, the calls, the string that ends the answer, and what the model has
# said when that is complete.
CASES: list[tuple[str, list[str], str, list[Any], str | None, str]] = [
    ("One, two.\n\nThree.", ["\n\n"], "One, two.", [], "\n\n", "One, two.\n\n"),
    ("One.\n\nTwo.", ["two", "."], "One", [], ".", "One."),
    ("One, two.\n\nThree.", ["Four"], "One, two.\n\nThree.", [], None, ""),
    (f"I look.\n\n{CALL}", ["\n\n"], "I look.", [PARIS], None, ""),
    (CALL, ["Paris", "\n", "<tool_call>", "</parameter>", "function"], "", [PARIS], None, ""),
    (f"Look:\n{CALL}\n\nDone.", ["Look:D", ".\n", "ne"], "Look:Do", [PARIS], "ne", f"Look:\n{CALL}\n\nDone"),
    (f"Do{CALL}ne", ["Done"], "Done", [PARIS], None, ""),
    ("A <tool_call> tag, <b>so</b>", ["<tool_call>"], "A ", [], "<tool_call>", "A <tool_call>"),
    ("A </think> tag", ["</think>"], "A ", [], "</think>", "A </think>"),
    ("Almost stopp", ["stopped"], "Almost stopp", [], None, ""),
    ("One\n\n", ["\n\n"], "One", [], "\n\n", "One\n\n"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with forced() as started:
        yield started


def tokens(server: Running, says: str, until: str) -> int:
    """How many of the tokens that spell what the model says are needed for its beginning."""
    tokenizer = server.worker.llm.tokenizer
    ids = tokenizer.encode(says, allow_special=True)
    return next(count for count in range(len(ids) + 1) if tokenizer.decode(ids[:count]).startswith(until))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "anthropic", "ollama"])
@pytest.mark.parametrize(("text", "stops", "content", "calls", "stop", "until"), CASES)
def test_in_the_content_alone(
    server: Running, dialect: str, thinking: bool, stream: bool,
    text: str, stops: list[str], content: str, calls: list[Any], stop: str | None, until: str,
) -> None:  # fmt: skip
    musing = "".join(stops).replace("</think>", "").strip("\n") + ", I see."
    thought = f"{musing}\n</think>\n\n" if thinking else ""
    server.worker.llm.says = thought + text
    said = DIALECTS[dialect](server, stream, stops, tools=True, thinking=thinking)
    assert said.content == content
    assert said.arguments == calls
    assert said.reasoning == (musing if thinking else "")
    stopped, ended, called = WORDS[dialect]
    assert said.reason == (called if calls else stopped if stop else ended)
    if dialect != "ollama" and not (dialect == "anthropic" and calls):
        assert said.stop == stop
    # It ends with the token in which the string ends, whatever had to be read to know that it is content.
    if stop is None:
        assert said.tokens == tokens(server, thought + text, thought + text) + 1
    else:
        assert said.tokens == tokens(server, thought + text, thought + until)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "anthropic", "ollama"])
def test_the_line_breaks_before_the_content_are_no_content(
    server: Running, dialect: str, thinking: bool, stream: bool
) -> None:
    server.worker.llm.says = ("Hm.\n\nWell.\n</think>\n\n" if thinking else "\n\n") + "One.\nTwo.\n\nThree."
    said = DIALECTS[dialect](server, stream, ["\n\n"], tools=False, thinking=thinking)
    assert said.content == "One.\nTwo."
    assert said.reasoning == ("Hm.\n\nWell." if thinking else "")


@pytest.mark.parametrize("stream", [False, True])
def test_all_of_a_completion_is_content(server: Running, stream: bool) -> None:
    for text, stop, content in (
        ("\n\nA", "\n\n", ""),
        (f"One</think>{CALL}", "</think>", "One"),
        (f"One\n{CALL}", "\n<tool_call>\n<fun", "One"),
        (f"One\n{CALL}", "</tool_call>.", f"One\n{CALL}"),
    ):
        server.worker.llm.says = text
        said = completions(server, stream, [stop])
        assert said.content == content
        assert said.stop == (stop if stop in text else None)
        assert said.reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_in_every_choice_and_behind_a_given_beginning(server: Running, stream: bool) -> None:
    server.worker.llm.says = "\n\nTwo.\nThree"
    begun: dict[str, Any] = {"messages": [*QUESTION, {"role": "assistant", "content": "One."}]}
    chat = DIALECTS["chat"]
    goes_on = {"continue_final_message": True, "add_generation_prompt": False}
    said = chat(server, stream, ["\n\n"], tools=True, thinking=False, **begun, **goes_on)
    assert (said.content, said.stop, said.tokens) == ("", "\n\n", tokens(server, "\n\nTwo.\nThree", "\n\n"))
    said = chat(server, stream, [".\n\n", "\nTh"], tools=True, thinking=False, **begun, **goes_on)
    assert (said.content, said.stop) == ("\n\nTwo.", "\nTh")
    said = chat(server, stream, ["."], tools=False, thinking=False, n=3)
    assert said.content == "Two" * 3
    assert said.tokens == 3 * tokens(server, "\n\nTwo.\nThree", "\n\nTwo.")


def test_log_probabilities_end_with_the_stop_string(server: Running) -> None:
    server.worker.llm.says = "One, two.\n\nThree."
    body = {"messages": QUESTION, "stop": "\n\n", "enable_thinking": False, "logprobs": True}
    (choice,) = send("POST", f"{server.url}/v1/chat/completions", json=body).json()["choices"]
    assert "".join(token["token"] for token in choice["logprobs"]["content"]) == "One, two.\n\n"
