"""The answer router: cases written by hand, any chunking, tag soup, and answers that the default template renders."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.text.chat_template import DEFAULT_TEMPLATE, ChatTemplate
from qwill.text.parsers.qwen import coerce_arguments
from qwill.text.router import Delta, Router, ToolCallDelta, ToolCallPiece

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
CALL = "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
PARIS = ("weather", {"city": "Paris"})


def route(pieces: Sequence[str], thinking: bool = False, tools: list[dict[str, Any]] | None = None) -> list[Any]:
    """The outcome with neighbouring texts of a kind joined: ("content", text) or ("tool_call", name, arguments)."""
    router = Router(thinking, tools)
    deltas = [delta for piece in pieces for delta in router.feed(piece)] + router.finish()
    parts: list[Any] = []
    told: dict[int, list[ToolCallPiece]] = {}
    last = -1
    for delta in deltas:
        if delta.piece is not None:
            assert delta.piece.first == (delta.piece.index not in told)
            told.setdefault(delta.piece.index, []).append(delta.piece)
        elif delta.tool_call is not None:
            assert delta.tool_call.index > last
            last = delta.tool_call.index
            assert {piece.name for piece in told[last]} == {delta.tool_call.name}
            assert json.loads("".join(piece.text for piece in told[last])) == delta.tool_call.arguments
            parts.append(("tool_call", delta.tool_call.name, delta.tool_call.arguments))
        elif parts and parts[-1][0] == delta.kind:
            parts[-1] = (delta.kind, parts[-1][1] + delta.text)
        else:
            parts.append((delta.kind, delta.text))
    assert list(told) == list(range(last + 1))  # no pieces are told of what turns out to be no call
    return parts


HAND_WRITTEN = [
    (True, "Let me see.\n</think>\n\nHello.", [("reasoning", "Let me see."), ("content", "Hello.")]),
    (True, "<think>\nTwice opened.\n</think>\n\nHi", [("reasoning", "Twice opened."), ("content", "Hi")]),
    (False, "\n<think>\nUnasked.\n</think>\n\nHi", [("reasoning", "Unasked."), ("content", "Hi")]),
    (False, "Say <think> and </think>.\n", [("content", "Say <think> and </think>.\n")]),
    (True, "never closed\n\n", [("reasoning", "never closed\n\n")]),
    (True, "\n\n</think>\n\nNo thought.", [("content", "No thought.")]),
    (True, "a\n\nb\n</think>\nc\n\nd", [("reasoning", "a\n\nb"), ("content", "c\n\nd")]),
    (True, "", []),
    (True, "<thi", [("reasoning", "<thi")]),
    (True, "x</thin", [("reasoning", "x</thin")]),
    (False, CALL, [("tool_call", *PARIS)]),
    (False, f"I look.\n\n{CALL}\n{CALL}", [("content", "I look."), ("tool_call", *PARIS), ("tool_call", *PARIS)]),
    (False, f"{CALL}\nDone.", [("tool_call", *PARIS), ("content", "Done.")]),
    (True, f"Hm.\n</think>\n\n{CALL}", [("reasoning", "Hm."), ("tool_call", *PARIS)]),
    (True, f"Hm.\n{CALL}", [("reasoning", "Hm."), ("tool_call", *PARIS)]),
    (True, f"Hm.\n{CALL}\n</think>\n\nSo.", [("reasoning", "Hm."), ("tool_call", *PARIS), ("content", "So.")]),
    (False, CALL.removesuffix("</tool_call>"), [("tool_call", *PARIS)]),
    (False, CALL.removesuffix("_call>"), [("tool_call", *PARIS)]),
    (False, CALL.replace("\n", ""), [("tool_call", *PARIS)]),
    (
        False,
        "<tool_call><function=weather><parameter=city>\n\n a\nb \n\n</parameter>"
        "<parameter=days> 3\n</parameter></function></tool_call>",
        [("tool_call", "weather", {"city": "\n a\nb \n", "days": 3})],
    ),
    (
        False,
        CALL.replace("Paris", "x</parameter> </tool_call> <parameter=city> </function>"),
        [("tool_call", "weather", {"city": "x</parameter> </tool_call> <parameter=city> </function>"})],
    ),
    (
        False,
        "<tool_call>\n<function=clock>\n</function>\n</tool_call>",
        [("tool_call", "clock", {})],
    ),
    # Not calls: handed on as they stand, and a real call behind them is found.
    (False, "<tool_call>{}</tool_call>", [("content", "<tool_call>{}</tool_call>")]),
    (False, f"<tool_call>\n{CALL}", [("content", "<tool_call>"), ("tool_call", *PARIS)]),
    (False, f"a <tool_call> tag\n{CALL}", [("content", "a <tool_call> tag"), ("tool_call", *PARIS)]),
    (False, CALL[:70], [("content", CALL[:70])]),
    (False, CALL.replace("weather", "we\nather"), [("content", CALL.replace("weather", "we\nather"))]),
    (
        True,
        f"It goes {CALL.replace('weather', 'name')} then.</think>ok",
        [("reasoning", f"It goes {CALL.replace('weather', 'name')} then."), ("content", "ok")],
    ),
    (
        True,
        "Maybe <tool_call>\n<function=weather>\n<parameter=city>\nno.\n</think>\n\nHi",
        [("reasoning", "Maybe <tool_call>\n<function=weather>\n<parameter=city>\nno."), ("content", "Hi")],
    ),
]


@pytest.mark.parametrize(("thinking", "text", "expected"), HAND_WRITTEN)
def test_hand_written_answers_whole_and_by_character(thinking: bool, text: str, expected: list[Any]) -> None:
    assert route([text], thinking, [WEATHER]) == expected
    assert route(list(text), thinking, [WEATHER]) == expected


@pytest.mark.parametrize("tools", [None, []])
def test_without_tools_a_call_is_text(tools: list[Any] | None) -> None:
    assert route(list(f"Write:\n{CALL}"), False, tools) == [("content", f"Write:\n{CALL}")]
    assert route(list(f"{CALL}</think>{CALL}"), True, tools) == [("reasoning", CALL), ("content", CALL)]


TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<function=weather>", "<function=", "<parameter=days>"]
TAGS += ["</parameter>", "</function>", "\n", "\n\n", " ", "<", ">", "</", "12", "word", CALL, "é😀"]
SOUP = st.lists(st.sampled_from(TAGS), max_size=25).map("".join)


@given(text=SOUP, thinking=st.booleans(), tools=st.sampled_from([None, [WEATHER]]), data=st.data())
@settings(deadline=None, max_examples=400)
def test_the_cut_never_matters_and_nothing_is_lost(text: str, thinking: bool, tools: Any, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    parts = route([text], thinking, tools)
    assert route(pieces, thinking, tools) == parts
    assert route(list(text), thinking, tools) == parts
    if all(part[0] != "tool_call" for part in parts):
        # Only the tags that switch between the parts and newlines may be gone.
        remaining = "".join(part[1] for part in parts).replace("\n", "")
        flat = text.replace("\n", "")
        opened = text.lstrip().startswith("<think>")
        if opened:
            flat = flat.lstrip().removeprefix("<think>")
        if thinking or opened:
            flat = flat.replace("</think>", "", 1)
        assert remaining == flat


def test_text_streams_without_delay() -> None:
    router = Router(thinking=False, tools=[WEATHER])
    assert router.feed("Hello") == [Delta("content", "Hello")]
    assert router.feed(" a < b") == [Delta("content", " a < b")]
    assert router.feed(" <tool") == [Delta("content", " ")]
    assert router.feed("s>\n") == [Delta("content", "<tools>")]
    assert router.feed("x") == [Delta("content", "\nx")]
    assert router.finish() == []


def test_arguments_as_json_text() -> None:
    call = ToolCallDelta(0, "f", {"city": "Łódź", "days": 3})
    assert call.arguments_json == '{"city": "Łódź", "days": 3}'


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aé\n<>/\"' ", max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=3),
    max_leaves=6,
)
TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
    str: "string",
}


@given(
    calls=st.lists(st.dictionaries(st.text("abc_", min_size=1, max_size=4), JSON, max_size=4), min_size=1, max_size=3)
)
@settings(deadline=None, max_examples=50)
def test_a_rendered_answer_comes_back(calls: list[dict[str, Any]]) -> None:
    tools = [
        {
            "name": f"f{index}",
            "parameters": {"properties": {key: {"type": TYPES[type(value)]} for key, value in call.items()}},
        }
        for index, call in enumerate(calls)
    ]
    answer = {
        "role": "assistant",
        "reasoning": "Why not?",
        "content": "I call.",
        "tool_calls": [{"function": {"name": f"f{index}", "arguments": call}} for index, call in enumerate(calls)],
    }
    rendered = ChatTemplate(DEFAULT_TEMPLATE, []).render([{"role": "user", "content": "?"}, answer], tools, False)
    text = rendered.text.split("<|im_start|>assistant\n")[1].removesuffix("<|im_end|>\n")
    expected = [("tool_call", f"f{index}", call) for index, call in enumerate(calls)]
    assert route(list(text), True, tools) == [("reasoning", "Why not?"), ("content", "I call."), *expected]


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "integer"}, "42", 42),
        ({"type": "integer"}, " -7\n", -7),
        ({"type": "integer"}, "3.0", 3),
        ({"type": "integer"}, "3.5", "3.5"),
        ({"type": "integer"}, "007", "007"),
        ({"type": "integer"}, "9" * 9000, "9" * 9000),
        ({"type": "number"}, "2.5e3", 2500.0),
        ({"type": "number"}, "4", 4),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "number"}, "NaN", "NaN"),
        ({"type": "number"}, "true", "true"),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "null"}, "None", None),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "array"}, "[1, 2", "[1, 2"),
        ({"type": "array"}, "['it\\'s', True, None, \"a'b\", 'a\"b', ]", ["it's", True, None, "a'b", 'a"b']),
        ({"type": "array"}, "(1, 2)", "(1, 2)"),
        ({"type": ["array", "string"]}, "['a']", "['a']"),
        ({"type": "object"}, "{'a': {'b': False}, 'c': 'True\\n\\d\\x41'}", {"a": {"b": False}, "c": "True\n\\dA"}),
        ({"type": "object"}, "{'a': None", "{'a': None"),
        ({"type": "object"}, "{1: 2}", "{1: 2}"),
        ({"type": "integer"}, "3\n</parameter>\n</function>", 3),
        ({"type": "string"}, "3\n</parameter>", "3\n</parameter>"),
        ({"type": "array"}, "[" * 100_000, "[" * 100_000),
        ({"type": "array"}, '["\\ud800"]', '["\\ud800"]'),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({"type": "object"}, "[1]", "[1]"),
        ({"type": "string"}, "42", "42"),
        ({"type": "string"}, "null", "null"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["integer", "string"]}, "many", "many"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "5", 5),
        ({"oneOf": [{"type": "null"}, {"type": "array"}]}, "[]", []),
        ({"$ref": "#/$defs/count"}, "5", 5),
        ({"$ref": "#/$defs/loop"}, "5", "5"),
        ({"$ref": "#/nowhere"}, "5", "5"),
        ({"enum": [1, 2, "x"]}, "2", 2),
        ({"enum": [1, 2, "x"]}, "x", "x"),
        ({"const": True}, "true", True),
        ({"type": "integer", "nullable": True}, "null", None),
        ({"type": "file"}, "5", "5"),
        ({}, "5", "5"),
        (None, "5", "5"),
        (True, "5", "5"),
    ],
)
def test_coercion(schema: Any, value: str, expected: Any) -> None:
    definitions = {"count": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop"}}
    result = coerce_arguments({"key": value}, {"properties": {"key": schema}, "$defs": definitions})
    assert result == {"key": expected}
    assert type(result["key"]) is type(expected)
    json.dumps(result, ensure_ascii=False, allow_nan=False).encode()


def test_unknown_keys_follow_additional_properties() -> None:
    assert coerce_arguments({"key": "5"}, {"additionalProperties": {"type": "integer"}}) == {"key": 5}
    assert coerce_arguments({"key": "5"}, {"properties": None, "additionalProperties": False}) == {"key": "5"}


def test_calls_can_be_left_to_the_content() -> None:
    call = "<tool_call>\n<function=f>\n</function>\n</tool_call>"
    for text, kinds in (
        (f"a {call}</think>b", ["reasoning"] * 2 + ["content"]),
        (f"a</think>{call}", ["reasoning", "tool_call"]),
    ):
        router = Router(True, [{"name": "f"}], calls_in_reasoning=False)
        deltas = [*router.feed(text), *router.finish()]
        assert sorted({delta.kind for delta in deltas if delta.piece is None}) == sorted(set(kinds))
        said = "".join(delta.text for delta in deltas if delta.kind == "reasoning")
        assert said == text.partition("</think>")[0]


def test_arguments_come_one_by_one() -> None:
    call = CALL.replace("</function>", "<parameter=days>\n3\n</parameter>\n</function>")
    router = Router(False, [WEATHER])
    told = []
    for index, character in enumerate(call):
        for delta in router.feed(character):
            told.append((index, delta))
    pieces = [(delta.piece.text, delta.piece.first) for _, delta in told if delta.piece is not None]
    assert pieces == [('{"city": "Paris"', True), (', "days": 3', False), ("}", False)]
    # An argument is known when what follows it is: the next one's tag.
    assert told[0][0] < call.index("3")
    assert told[-1][1].tool_call is not None


def test_a_call_that_ends_in_the_midst_is_whole_after_its_pieces() -> None:
    call = CALL.replace("</function>\n</tool_call>", "<parameter=days>\n3")
    router = Router(False, [WEATHER])
    deltas = [*router.feed(call), *router.finish()]
    pieces = [delta.piece.text for delta in deltas if delta.piece is not None]
    assert pieces == ['{"city": "Paris"', ', "days": 3', "}"]
    assert [delta.tool_call.arguments for delta in deltas if delta.tool_call] == [{"city": "Paris", "days": 3}]
    assert all(delta.text == "" for delta in deltas)


def test_what_may_be_quoted_is_not_told_before_it_is_a_call() -> None:
    for before, thinking in (("Hm.\n", True), ("So: ", False), ("```\n", False)):
        router = Router(thinking, [WEATHER])
        router.feed(before)
        call = CALL.replace("</function>", "<parameter=days>\n3\n</parameter>\n</function>")
        early = [delta for character in call[:-1] for delta in router.feed(character)]
        assert early == []
        piece, whole = router.feed(">")
        assert piece.piece is not None
        assert whole.tool_call is not None
        assert piece.piece.text == whole.tool_call.arguments_json == '{"city": "Paris", "days": 3}'


def test_going_on_keeps_every_character() -> None:
    router = Router(False, goes_on=True)
    assert [delta.text for delta in router.feed("\n<think> so")] == ["\n<think> so"]
    router = Router(True, goes_on=True)
    deltas = [*router.feed("\n and so\n</think>\n\nYes"), *router.finish()]
    assert [(delta.kind, delta.text) for delta in deltas] == [("reasoning", "\n and so"), ("content", "Yes")]


@pytest.mark.parametrize("city", ["Paris", "<b>", 'a"b\\', "}", "a\n</parameter>\nb", ""])
@pytest.mark.parametrize("thinking", [True, False])
def test_a_call_that_is_cut_off_never_looks_whole(city: str, thinking: bool) -> None:
    """Wherever it is cut, all that is told of it is the beginning of what would be told of the whole call."""
    text = CALL.replace("<parameter=city>\nParis", f"<parameter=days>\n3\n</parameter>\n<parameter=city>\n{city}")
    whole = json.dumps({"days": 3, "city": city}, ensure_ascii=False)
    told = set()
    for end in range(len(text) + 1):
        router = Router(thinking, [WEATHER])
        deltas = [*router.feed(text[:end]), *router.finish(cut_off=True)]
        pieces = "".join(delta.piece.text for delta in deltas if delta.piece is not None)
        if router.cut_call is None:  # its function is not named yet, or all of it is there
            assert pieces == ("" if end <= text.find(">\n<parameter") else whole)
            continue
        assert pieces == router.cut_call.text
        assert whole.startswith(pieces)
        assert not any(delta.text or delta.tool_call for delta in deltas)
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(pieces)
        assert router.cut_call.arguments == ({"days": 3} if len(pieces) > 1 else {})
        told.add(pieces)
    assert {"{", '{"days": 3', whole[:-2]} <= told
