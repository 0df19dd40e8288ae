"""Answers from tokens that come in groups, as drafts bring them: where they end and what they say of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill import LLM
from qwill.answer import Answer, StreamDelta
from qwill.engine.request import Request
from qwill.engine.sampler import Sampled
from qwill.engine.sampling_params import SamplingParams
from qwill.text.router import Router
from qwill.text.tokenizer import Tokenizer

TOOL = {"name": "f", "parameters": {"properties": {"a": {}}}}
CALL = "<tool_call>\n<function=f>\n<parameter=a>\nab\n\nab\n</parameter>\n</function>\n</tool_call>"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    found = LLM("demo", max_context=64).tokenizer
    assert found is not None
    return found


def grow(
    tokenizer: Tokenizer, text: str, stops: list[str], sizes: list[int], thinking: bool, ending: str = "stop"
) -> Any:
    """What streams, the completion and the stop string, of an answer whose tokens come in groups of those sizes."""
    ids = tokenizer.encode(text, allow_special=True)
    prompt: Any = SimpleNamespace(token_ids=[], media=())
    sampler: Any = None
    request = Request(prompt, SamplingParams(stop=tuple(stops), logprobs=0), sampler, frozenset())
    answer = Answer(request, tokenizer, Router(thinking, [TOOL]))
    stream: list[StreamDelta] = []
    given_out = 0
    for turn in range(len(ids) + 1):
        new = ids[given_out : given_out + sizes[turn % len(sizes)]]
        given_out += len(new)
        request.output_ids += new
        request.samples += [Sampled(id, -1.0, []) for id in new]
        if given_out == len(ids):
            request.finish_reason = ending
        stream += answer.advance()
        if request.finish_reason is not None:
            break
    completion = stream.pop().completion
    assert completion is not None
    return stream, completion, answer.stop_text


def first_stop(segments: list[str], stops: list[str]) -> tuple[int, int, str] | None:
    """In which segment a stop string is complete first, where it ends there, and which it is."""
    for number, segment in enumerate(segments):
        ends = [(segment.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in segment]
        if ends:
            return number, min(ends)[0], min(ends)[2]
    return None


WORDS = st.lists(st.sampled_from(["a", "b", "ab", "é", "\n\n", "\n", "中", "<b>", "<tool"]), max_size=9)
SEGMENT = WORDS.map(lambda words: "".join(words).strip("\n"))
STOPS = st.lists(st.sampled_from(["\n\n", "ab", "b\n", "\nb", "éa", "aaa", "<t", "l"]), max_size=3, unique=True)


@given(
    thought=SEGMENT, segments=st.lists(SEGMENT, min_size=1, max_size=3), stops=STOPS, thinking=st.booleans(),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_a_stop_string_ends_the_answer_with_its_own_token(
    tokenizer: Tokenizer, thought: str, segments: list[str], stops: list[str], thinking: bool, sizes: list[int]
) -> None:
    text = f"{thought}\n</think>\n\n" if thinking else ""
    starts = []
    for number, segment in enumerate(segments):
        text += f"\n{CALL}\n" if number else ""
        starts.append(len(text))
        text += segment
    stream, completion, stopped = grow(tokenizer, text, stops, sizes, thinking)
    found = first_stop(segments, stops)
    if found is None:
        assert (completion.text, stopped) == ("".join(segments), None)
        assert len(completion.tool_calls) == len(segments) - 1
        assert completion.token_ids == tokenizer.encode(text, allow_special=True)
    else:
        number, end, stop = found
        assert completion.text == "".join(segments[:number]) + segments[number][: end - len(stop)]
        assert stopped == stop
        assert len(completion.tool_calls) == number
        spelled = [tokenizer.decode(completion.token_ids[:count]) for count in (-1, len(completion.token_ids))]
        assert spelled[1].startswith(text[: starts[number] + end])
        assert len(spelled[0].removesuffix("\N{REPLACEMENT CHARACTER}")) < starts[number] + end
    assert completion.reasoning == (thought if thinking else "")
    assert completion.usage["completion_tokens"] == len(completion.token_ids) == len(completion.logprobs)
    assert "".join(delta.text for delta in stream if delta.kind == "content") == completion.text
    for delta in stream:
        assert text[delta.end - len(delta.text) : delta.end] == delta.text
    assert grow(tokenizer, text, stops, [1], thinking)[1].token_ids == completion.token_ids


@pytest.mark.parametrize(
    ("tools", "stop", "shown"),
    [
        ([TOOL], "zz", ["a", "\n\nb", "b"]),  # a call may follow, and the line breaks be the chat format's
        ([], "zz", ["a", "\n\n", "b", "b"]),
        ([], "\n\n\n", ["a", "\n\nb", "b"]),
    ],
)
def test_text_is_shown_as_soon_as_it_can_be(tokenizer: Tokenizer, tools: Any, stop: str, shown: list[str]) -> None:
    prompt: Any = SimpleNamespace(token_ids=[], media=())
    sampler: Any = None
    request = Request(prompt, SamplingParams(stop=(stop,)), sampler, frozenset())
    answer = Answer(request, tokenizer, Router(False, tools))
    told = []
    for piece in ("a", "\n\n", "b", "b"):
        request.output_ids += tokenizer.encode(piece)
        told += [delta.text for delta in answer.advance()]
    assert told == shown


@pytest.mark.parametrize("ending", ["length", "loop", "error"])
def test_a_call_in_whose_midst_the_answer_was_ended_is_no_whole_one(tokenizer: Tokenizer, ending: str) -> None:
    text = f"Look.\n\n{CALL}\n{CALL[: CALL.index('</param')]}"
    stream, completion, _ = grow(tokenizer, text, [], [1], False, ending)
    assert (completion.text, completion.finish_reason) == ("Look.", ending)
    assert completion.tool_calls == [{"name": "f", "arguments": {"a": "ab\n\nab"}}]
    assert completion.cut_call is not None
    assert (completion.cut_call.name, completion.cut_call.arguments) == ("f", {})
    pieces = [delta.piece.text for delta in stream if delta.piece is not None and delta.piece.index == 1]
    assert "".join(pieces) == completion.cut_call.text == '{"a": "ab\\n\\nab'


def test_a_stop_string_before_the_end_is_why_the_answer_ended(tokenizer: Tokenizer) -> None:
    for ending in ("stop", "length", "loop"):
        _, completion, stopped = grow(tokenizer, "a\n\n", ["\n\n"], [1], False, ending)
        assert (completion.text, completion.finish_reason, stopped) == ("a", "stop", "\n\n")
        _, completion, stopped = grow(tokenizer, f"ab{CALL[:14]}", ["b"], [9], False, ending)
        assert (completion.text, completion.finish_reason, completion.cut_call) == ("a", "stop", None)
