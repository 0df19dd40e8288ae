"""Calls written slightly wrong: what is clear is a call, what is not is text, and nothing is told by halves."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.text.router import CutCall, Router

TOOLS = [
    {
        "name": "weather",
        "parameters": {
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "sky": {"type": "boolean"},
                "tags": {"type": "array"},
                "near": {"type": ["object", "null"]},
                "note": {},
            }
        },
    },
    {"name": "write", "parameters": {"properties": {"path": {}, "text": {}}, "required": ["path", "text"]}},
    {"name": "clock"},
]
CALL = "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
TWO = CALL.replace("</function>", "<parameter=days>\n3\n</parameter>\n</function>")
PARIS = ("weather", {"city": "Paris"})
BOTH = ("weather", {"city": "Paris", "days": 3})


def route(
    pieces: Sequence[str], thinking: bool = False, cut_off: bool = False, goes_on: bool = False
) -> tuple[list[Any], CutCall | None]:
    """Texts with their kinds, and calls, in their order. No pieces are told of anything but calls."""
    router = Router(thinking, TOOLS, goes_on=goes_on)
    parts: list[Any] = []
    told: dict[int, str] = {}
    for delta in [delta for piece in pieces for delta in router.feed(piece)] + router.finish(cut_off):
        if delta.piece is not None:
            assert delta.piece.first == (delta.piece.index not in told)
            told[delta.piece.index] = told.get(delta.piece.index, "") + delta.piece.text
        elif delta.tool_call is not None:
            call = delta.tool_call
            assert json.loads(told.pop(call.index)) == call.arguments
            parts.append((call.name, call.arguments))
        elif parts and parts[-1][0] == delta.kind:
            parts[-1] = (delta.kind, parts[-1][1] + delta.text)
        else:
            parts.append((delta.kind, delta.text))
    assert list(told.values()) == ([] if router.cut_call is None else [router.cut_call.text])
    return parts, router.cut_call


def without(text: str, tag: str) -> str:
    return text.replace(f"{tag}\n", "", 1) if f"{tag}\n" in text else text.replace(tag, "", 1)


MENDED = [
    (CALL.replace("</function>", "</function>\n</function>"), [PARIS]),
    (TWO.replace("</function>", "</function></function>\n</function>"), [BOTH]),
    (CALL.replace("</function>", "</function>\n</parameter>"), [PARIS]),
    (without(CALL, "</parameter>"), [PARIS]),
    (CALL.replace("</parameter>", ""), [PARIS]),
    (CALL.replace("</function>", ""), [PARIS]),
    (TWO.replace("</parameter>", ""), [BOTH]),
    (without(CALL, "</function>"), [PARIS]),
    (without(CALL, "</tool_call>"), [PARIS]),
    (without(without(CALL, "</parameter>"), "</function>"), [PARIS]),
    (without(without(CALL, "</function>"), "</tool_call>"), [PARIS]),
    (without(without(CALL, "</parameter>"), "</tool_call>"), [PARIS]),
    (without(TWO, "</function>"), [BOTH]),
    (without(TWO, "</parameter>"), [BOTH]),
    (without(without(TWO, "</parameter>"), "</parameter>"), [BOTH]),
    (TWO.replace("<function=weather>", "<function=weather>\n</parameter>"), [BOTH]),
    (TWO.replace("3\n</parameter>", "3\n</parameter>\n</parameter>"), [BOTH]),
    (CALL.replace("</function>", "</function_invocation>"), [PARIS]),
    (CALL.replace("</function>", "</invoke>"), [PARIS]),
    (CALL.replace("</function>", "</function_invocation>\n</function>"), [PARIS]),
    (CALL.replace("</function>", "</function>\n</function_calls>"), [PARIS]),
    (CALL.replace("</function>", "</function=weather>"), [PARIS]),
    (CALL.replace("</function>", "</function"), [PARIS]),
    (CALL.replace("</parameter>", "</parameter"), [PARIS]),
    (CALL.replace("</tool_call>", "</tool_call"), [PARIS]),
    (CALL.removesuffix("_call>"), [PARIS]),
    (CALL.replace("</function>\n</tool_call>", "</tool_call>\n</function>\nOk"), [PARIS, ("content", "Ok")]),
    (CALL.replace("</tool_call>", "</function"), [PARIS]),
    (CALL.replace("</tool_call>", "</tool_call Done."), [PARIS, ("content", "</tool_call Done.")]),
    (CALL.replace("<function=weather>", "<function=weather"), [PARIS]),
    (CALL.replace("<parameter=city>", "<parameter=city"), [PARIS]),
    (CALL.replace("weather", '"weather"').replace("city", "'city'"), [PARIS]),
    (CALL.replace("\nParis\n", "Paris"), [PARIS]),
    (CALL.replace("\nParis\n</parameter>\n", "Paris\n"), [PARIS]),
    (without(CALL, "<tool_call>"), [PARIS]),
    (without(without(CALL, "<tool_call>"), "</tool_call>"), [PARIS]),
    (f"I look.\n\n{without(CALL, '<tool_call>')}\n\nDone.", [("content", "I look."), PARIS, ("content", "Done.")]),
    ("<tool_call>\n<function=clock>\n</tool_call>", [("clock", {})]),
    ("<tool_call>\n<function=clock>\n</function>\nDone.", [("clock", {}), ("content", "Done.")]),
    (f"{without(CALL, '</tool_call>')}\n\nDone.", [PARIS, ("content", "Done.")]),
    (f"{without(CALL, '</function>')}\n\nDone.", [PARIS, ("content", "Done.")]),
    (f"{without(CALL, '</parameter>')}\n{TWO}", [PARIS, BOTH]),
    (f"{without(CALL, '</function>')}\n{without(TWO, '</function>')}\n{CALL}", [PARIS, BOTH, PARIS]),
    (f"{without(CALL, '</tool_call>')}{TWO}", [PARIS, BOTH]),
    (f"{without(CALL, '</function>')}\n\nAnd:\n{TWO}", [PARIS, ("content", "And:"), BOTH]),
    ('<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": "3"}}\n</tool_call>', [BOTH]),
    ("<tool_call>\n{'name': 'weather', 'arguments': {'city': 'Paris', 'days': 3,}}\n</tool_call>", [BOTH]),
    ('<tool_call>{"arguments": "{\\"city\\": \\"Paris\\"}", "name": "weather"}', [PARIS]),
    ('<tool_call>\n<function=weather>\n{"city": "Paris", "days": 3}\n</function>\n</tool_call>', [BOTH]),
    (
        CALL.replace("Paris", "a</parameter>\n</function>\n<b>\n</function>\nc"),
        [("weather", {"city": "a</parameter>\n</function>\n<b>\n</function>\nc"})],
    ),
    (
        "<tool_call>\n<function=write>\n<parameter=path>\n/a\n<parameter=text>\nb\n</parameter>\n</function>\n</tool_call>",
        [("write", {"path": "/a", "text": "b"})],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MENDED)
def test_what_is_clear_is_a_call(text: str, expected: list[Any]) -> None:
    assert route([text]) == (expected, None)
    assert route(list(text)) == (expected, None)
    assert route([f"Hm.\n</think>\n\n{text}"], thinking=True) == ([("reasoning", "Hm."), *expected], None)


QUOTED = [
    f"Write:\n```\n{without(CALL, '</function>')}\n```\nso.",
    f"~~~xml\n{without(CALL, '</tool_call>')}\n~~~",
    f"So: {without(CALL, '</function>')}",
    f"`{without(CALL, '</parameter>')}`",
    without(CALL, "</function>").replace("weather", "sun"),
    without(CALL, "<tool_call>").replace("weather", "sun"),
    f"So: {without(CALL, '<tool_call>')}",
    f"```\n{without(CALL, '<tool_call>')}\n```",
    "<function=weather>\n<parameter=city>\nParis\n</parameter>",
    '<tool_call>\n{"name": "sun", "arguments": {}}\n</tool_call>',
    '<tool_call>\n{"name": "weather", "arguments": {}, "why": 1}\n</tool_call>',
    '<tool_call>\n{"name": "weather", "arguments": {}\n</tool_call>',
    "<tool_call>\n<function=weather>\nParis\n</function>\n</tool_call>",
    "<tool_call>\n<function=weather>\n<parameter=city>\nParis",
    "<tool_call>\n<function=weather>\n<parameter=city>\nA </tool_call> tag.\n</tool_call>\nB",
    "<tool_call>\n<function=weather>",
    "<tool_call> is a tag.",
]


@pytest.mark.parametrize("text", QUOTED)
def test_what_is_not_clear_is_text_as_a_whole(text: str) -> None:
    assert route([text]) == ([("content", text)], None)
    assert route(list(text)) == ([("content", text)], None)


@pytest.mark.parametrize("text", [text for text, _ in MENDED if text.startswith("<")])
def test_in_the_reasoning_and_on_a_line_that_goes_on_calls_are_well_formed(text: str) -> None:
    whole = len(
        re.findall(r"(?s)<tool_call>\s*<function=[^>\n]+>.*?</function>\s*(?:</tool_call>|(?:</tool\w*)?$)", text)
    )
    for before, thinking in (("Hm: ", True), ("So: ", False)):
        parts, _ = route(list(before + text), thinking)
        calls = [part for part in parts if part[0] not in ("reasoning", "content")]
        assert len(calls) <= whole
        if not calls:
            assert parts == [("reasoning" if thinking else "content", before + text)]


def test_half_a_call_that_was_told_is_closed() -> None:
    begun = without(TWO, "</function>").removesuffix("\n</parameter>\n</tool_call>")
    for end in range(begun.index("<parameter=days>") + 1, len(begun)):
        (call, *rest), _ = route(list(begun[:end]))
        assert call[0] == "weather" if end >= begun.index("days") else call == ("content", begun[:end])
        if call[0] == "weather":
            assert call[1]["city"] == "Paris"
            assert all("Paris" not in part[1] for part in rest)
    assert route([begun]) == ([BOTH], None)
    assert route([f"{begun}\n{CALL}"]) == ([BOTH, PARIS], None)
    assert route([f"{begun}\n{without(CALL, '</function>')}\nDone."]) == ([BOTH, PARIS, ("content", "Done.")], None)


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("text", [CALL, TWO, '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}'])
def test_a_call_that_is_cut_off_leaks_no_syntax(text: str, thinking: bool) -> None:
    text = f"I look.\n\n{text}"
    kind = "reasoning" if thinking else "content"
    if thinking and "{" in text:
        return
    for end in range(text.index("<tool_") + len("<tool_"), len(text)):
        parts, cut = route([text[:end]], thinking, cut_off=True)
        assert parts[0] == (kind, "I look.")
        if len(parts) == 1:
            assert (cut is not None) == ("weather>" in text[:end] or 'weather"' in text[:end])
        else:
            assert parts[1:] in ([PARIS], [BOTH])


@pytest.mark.parametrize("text", ["a <t", "a <tools>", "a <tool_call>x", "<tool_call>\n<function=sun", "<function=we"])
def test_what_is_no_call_is_told_when_it_is_cut_off(text: str) -> None:
    assert route([text], cut_off=True) == ([("content", text)], None)


# What follows is drawn: calls that are well-formed, and what mistakes make of them.

TAGS = ["</parameter>", "</function>", "</tool_call>", "<tool_call>", "<function=weather>", "<parameter=days>"]
TAGS += ["<parameter=city>", "</invoke>", "\n", "\n", "```\n", "{", "'", "<", " ", "word", "é"]
NASTY = st.lists(st.sampled_from(TAGS), max_size=14).map("".join)
ENDS_EARLY = re.compile(r"</parameter>\s*(<parameter=|</function>)")


@given(
    values=st.dictionaries(st.sampled_from(["city", "note", "other"]), NASTY, max_size=3),
    name=st.sampled_from(["weather", "clock", "sun"]),
    before=st.sampled_from(["", "I look.\n\n", "```\n", "So: "]),
    thinking=st.booleans(),
    data=st.data(),
)
@settings(deadline=None, max_examples=400)
def test_well_formed_calls_hold_whatever_they_hold(
    values: dict[str, str], name: str, before: str, thinking: bool, data: st.DataObject
) -> None:
    body = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    text = f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>\nDone."
    # The value's end is the one that counts unless its own text has one, or its last tags and the next ones make one.
    if len(ENDS_EARLY.findall(text)) > len(values):
        return
    kind = "reasoning" if thinking else "content"
    parts, _ = route(cut(data, before + text), thinking)
    said = [(kind, before.rstrip("\n"))] if before else []
    if thinking and name == "sun":
        assert parts == [(kind, before + text)]
    else:
        assert parts == [*said, (name, values), (kind, "Done.")]


@st.composite
def mistaken(draw: st.DrawFn) -> str:
    """A few calls with words of their own in their values, and a few mistakes."""
    text, number = "", 0
    for _ in range(draw(st.integers(1, 3))):
        text += draw(st.sampled_from(["", f"word{number}.\n\n", f"word{number} "]))
        text += f"<tool_call>\n<function={draw(st.sampled_from(['weather', 'clock', 'sun']))}>\n"
        for _ in range(draw(st.integers(0, 3))):
            number += 1
            text += f"<parameter=key{number}>\nword{number}\n</parameter>\n"
        number += 1
        text += f"</function>\n</tool_call>{draw(st.sampled_from(['', chr(10), f' word{number} ']))}"
        number += 1
    for _ in range(draw(st.integers(1, 3))):
        tags = list(re.finditer(r"</?[\w=]+>", text))
        if not tags:
            break
        tag = draw(st.sampled_from(tags))
        other = draw(st.sampled_from(TAGS))
        start, end = draw(
            st.sampled_from([(tag.start(), tag.end()), (tag.end(), tag.end()), (tag.end() - 1, tag.end())])
        )
        text = text[:start] + draw(st.sampled_from(["", other, tag[0], f"\n{other}\n"])) + text[end:]
    return text


def cut(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(text=mistaken(), thinking=st.booleans(), cut_off=st.booleans(), goes_on=st.booleans(), data=st.data())
@settings(deadline=None, max_examples=400)
def test_mistakes_lose_nothing_however_the_text_is_cut(
    text: str, thinking: bool, cut_off: bool, goes_on: bool, data: st.DataObject
) -> None:
    whole = route([text], thinking, cut_off, goes_on)
    assert route(list(text), thinking, cut_off, goes_on) == whole
    assert route(cut(data, text), thinking, cut_off, goes_on) == whole
    if not cut_off:
        keys = re.findall(r"<parameter=(\w+)", text)
        if len(set(keys)) == len(keys):
            said = json.dumps(whole[0])
            assert not [word for word in re.findall(r"word\d+", text) if word not in said]


@pytest.mark.parametrize("part", ["<tool_call>\n<function=weather>\n<parameter=note>\n", "<function=weather>\n"])
def test_many_beginnings_are_text(part: str) -> None:
    assert route([part * 3000]) == ([("content", part * 3000)], None)


def test_a_value_may_hold_many_ends() -> None:
    value = "</parameter></function>x" * 3000
    text = CALL.replace("Paris", value)
    assert route([text]) == ([("weather", {"city": value})], None)
