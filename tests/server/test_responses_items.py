"""Items of /v1/responses without a server: conversations, and answers that grow."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.answer import Answer
from qwill.engine.sampler import Sampled
from qwill.engine.sampling_params import SamplingParams
from qwill.server.errors import Refusal
from qwill.server.openai.responses_events import Output, TextTokens
from qwill.server.openai.responses_items import messages_of, stored_items
from qwill.server.openai.responses_schemas import ResponsesRequest
from qwill.text.router import Router
from qwill.text.tokenizer import Tokenizer
from server.running import Running

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL = "<tool_call>\n<function=f>\n<parameter=a>\n</tool_call>é\n</parameter>\n</function>\n</tool_call>"
UNCLEAR = "<tool_call>\n<function=f>\n<parameter=a>\n1"
BROKEN = "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2"


@pytest.fixture(scope="module")
def tokenizer(server: Running) -> Tokenizer:
    return server.worker.llm.tokenizer


def conversation(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    request = ResponsesRequest.model_validate({"input": items})
    return messages_of(None, stored_items(request.input, {}))


def said(text: str, role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": text}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def call(name: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"}


def result(name: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": name, "output": "done"}


def shape(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (one["content"], one.get("reasoning_content"), [call["id"] for call in one.get("tool_calls", [])])
        if one["role"] == "assistant"
        else one["role"]
        for one in messages
    ]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([said("Hi", "user"), thought("Hm."), said("Yes.")], ["user", ("Yes.", "Hm.", [])]),
        ([said("A"), said("B")], [("A", None, []), ("B", None, [])]),
        ([thought("a"), thought("b"), call("1"), call("2")], [("", "a\nb", ["1", "2"])]),
        (
            [said("First"), call("1"), said("second"), result("1"), thought("c"), said("End")],
            [("First\nsecond", None, ["1"]), "tool", ("End", "c", [])],
        ),
        ([thought("a"), said("A"), thought("b"), said("B")], [("A", "a", []), ("B", "b", [])]),
        ([thought("a"), call("1"), thought("b"), said("B")], [("B", "a\nb", ["1"])]),
        ([thought(""), said("Hi", "user"), thought("left alone")], ["user", ("", "left alone", [])]),
        ([call("1"), result("1"), call("2"), result("2")], [("", None, ["1"]), "tool", ("", None, ["2"]), "tool"]),
    ],
)
def test_what_was_written_in_one_go_is_one_message(items: list[dict[str, Any]], expected: list[Any]) -> None:
    assert shape(conversation(items)) == expected


def test_outputs_need_their_calls() -> None:
    with pytest.raises(Refusal, match="names the call '2', and no call before it"):
        conversation([call("1"), result("2"), call("2")])


def grow(tokenizer: Tokenizer, text: str, sizes: list[int], ahead: int = 0, finish: str = "stop") -> Any:
    """Events and items of an answer whose tokens come in groups of those sizes; so many samples run ahead of them."""
    ids = tokenizer.encode(text, allow_special=True)
    request: Any = SimpleNamespace(
        params=SamplingParams(logprobs=0), output_ids=[], samples=[], finish_reason=None, cached=0,
        prompt=SimpleNamespace(token_ids=[], media=()), reader=None,
    )  # fmt: skip
    answer = Answer(request, tokenizer, Router(True, [TOOL]))
    tokens = TextTokens(answer, tokenizer)
    output, events, done = Output(tokens), [], 0
    while done < len(ids) or request.finish_reason is None:
        end = done + sizes[len(events) % len(sizes)]
        request.output_ids += ids[done:end]
        request.samples += [Sampled(id, -1.0, []) for id in ids[len(request.samples) : end + ahead]]
        done = end
        if done >= len(ids):
            request.finish_reason = finish
        events += [event for delta in answer.advance() for event in output.take(delta)]
    return events, output.items


def spelled(part: dict[str, Any]) -> str:
    return bytes(byte for token in part["logprobs"] for byte in token["bytes"]).decode()


TEXTS = [
    ("Let me see.\n</think>\n\nIt is t.", ["It is t."]),
    ("\n</think>\n\nthink", ["think"]),
    ("a\n</think>\n\nDrüben 中文 🙂\n\nend", ["Drüben 中文 🙂\n\nend"]),
    (f"a\n</think>\n\none\n\n{CALL}\n\n</tool_call>é", ["one", "</tool_call>é"]),
    (f"a{CALL}b\n</think>\n\nb", ["b"]),
    (f"a\n</think>\n\n{CALL}\n{CALL}", []),
    (
        f"a\n</think>\n\none\n{UNCLEAR}",
        ["one\n<tool_call>\n<function=f>\n<parameter=a>\n1"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), ahead=st.integers(0, 4))
def test_texts_get_their_own_tokens(
    tokenizer: Tokenizer, text: str, expected: list[str], sizes: list[int], ahead: int
) -> None:
    events, items = grow(tokenizer, text, sizes, ahead)
    parts = [item["content"][0] for item in items if item["type"] == "message"]
    assert "".join(part["text"] for part in parts) == "".join(expected)
    for part in parts:
        assert spelled(part).strip("\n") == part["text"].strip("\n")
    streamed = [token for event in events for token in event.get("logprobs", []) if event["type"].endswith("delta")]
    assert streamed == [token for part in parts for token in part["logprobs"]]


def test_a_call_that_is_cut_off_is_an_incomplete_item(tokenizer: Tokenizer) -> None:
    events, items = grow(tokenizer, f"a\n</think>\n\n{BROKEN}", [1], finish="length")
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert deltas == ['{"a": "1"', ', "b": "2']
    assert [(item["type"], item["status"]) for item in items] == [
        ("reasoning", "completed"),
        ("function_call", "incomplete"),
    ]
    assert items[-1]["arguments"] == "".join(deltas)
    assert events[-1] == {"type": "response.output_item.done", "output_index": 1, "item": items[-1]}


def test_what_was_told_of_a_call_is_closed(tokenizer: Tokenizer) -> None:
    events, items = grow(tokenizer, f"a\n</think>\n\n{BROKEN}", [1])
    ended = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert ended == items
    assert [(item["type"], item["status"]) for item in items] == [
        ("reasoning", "completed"),
        ("function_call", "completed"),
    ]
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == items[1]["arguments"] == '{"a": "1", "b": "2"}'


def test_a_call_that_is_none_is_no_item(tokenizer: Tokenizer) -> None:
    events, items = grow(tokenizer, f"a\n</think>\n\n{UNCLEAR}", [1])
    ended = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert ended == items
    assert [item["type"] for item in items] == ["reasoning", "message"]
    assert items[1]["content"][0]["text"] == UNCLEAR
