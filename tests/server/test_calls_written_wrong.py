"""Calls that the model writes slightly wrong, in every dialect, streamed and whole."""

from collections.abc import Iterator
from typing import Any

import pytest

from server.forced import DIALECTS, forced
from server.running import Running

CALL = "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
TWO = CALL.replace("</function>", "<parameter=days>\n3\n</parameter>\n</function>")
PARIS, BOTH = ("weather", {"city": "Paris"}), ("weather", {"city": "Paris", "days": 3})
UNKNOWN = TWO.replace("weather", "sun").replace("</function>\n", "")
QUOTED = f"Write:\n```\n{TWO.replace('</function>', '</invoke>')}\n```"
# What the model says, the content and the calls.
CASES: list[tuple[str, str, list[Any]]] = [
    (TWO.replace("</function>", "</function>\n</function>"), "", [BOTH]),
    (f"I look.\n\n{TWO.replace('</function>', '</function_invocation>')}", "I look.", [BOTH]),
    (TWO.replace("</parameter>\n<parameter=days>", "<parameter=days>"), "", [BOTH]),
    (TWO.replace("3\n</parameter>\n</function>\n</tool_call>", "3\n"), "", [BOTH]),
    (f"{TWO.replace('</function>', '')}\n{CALL.replace('</parameter>', '')}", "", [BOTH, PARIS]),
    (f"{CALL.removesuffix('</tool_call>')}\nDone.", "Done.", [PARIS]),
    ('<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>', "", [PARIS]),
    (TWO.removeprefix("<tool_call>\n"), "", [BOTH]),
    (UNKNOWN, UNKNOWN, []),
    (QUOTED, QUOTED, []),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with forced() as started:
        yield started


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("text", "content", "calls"), CASES)
def test_what_is_clear_is_a_call_and_the_rest_is_text(
    server: Running, dialect: str, thinking: bool, stream: bool, text: str, content: str, calls: list[Any]
) -> None:
    server.worker.llm.says = ("Hm.\n</think>\n\n" if thinking else "") + text
    said = DIALECTS[dialect](server, stream, None, tools=True, thinking=thinking)
    assert (said.reasoning, said.content, said.arguments) == ("Hm." if thinking else "", content, calls)
    ended, called = {
        "chat": ("stop", "tool_calls"),
        "anthropic": ("end_turn", "tool_use"),
        "ollama": ("stop", "stop"),
        "responses": ("completed", "completed"),
    }[dialect]
    assert said.reason == (called if calls else ended)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_call_that_is_cut_off_before_its_name_leaks_no_syntax(server: Running, dialect: str, stream: bool) -> None:
    server.worker.llm.says = text = f"I look.\n\n{CALL}"
    tokenizer = server.worker.llm.tokenizer
    ids = tokenizer.encode(text, allow_special=True)
    spelled = {count: tokenizer.decode(ids[:count]) for count in range(len(ids))}
    cut = [count for count, begun in spelled.items() if "<tool_call>" in begun and "weather>" not in begun]
    assert len(cut) > 1
    limit = {"ollama": "num_predict", "responses": "max_output_tokens"}.get(dialect, "max_tokens")
    for tokens in cut:
        said = DIALECTS[dialect](server, stream, None, tools=True, thinking=False, **{limit: tokens})
        assert (said.content, said.calls) == ("I look.", [])
        assert said.tokens == tokens
        assert said.reason == {"anthropic": "max_tokens", "responses": "incomplete"}.get(dialect, "length")
