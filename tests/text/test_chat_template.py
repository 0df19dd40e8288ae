"""Chat templates against transformers' own rendering, and text that tries to pass for control tokens."""

import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer

from qwill.errors import TemplateError, UnsupportedModel
from qwill.text import sandbox
from qwill.text.chat_template import DEFAULT_TEMPLATE, ChatTemplate
from qwill.text.prompt import RenderedPrompt
from qwill.text.tokenizer import Tokenizer

# Leans on what released templates use: loop controls, namespaces, macros, string methods, filters, the generation tag.
BUSY_TEMPLATE = """{%- macro body(m) -%}
{{ m.content if m.content is string else m.content | map(attribute='text') | join('') }}
{%- endmacro -%}
{%- set ns = namespace(count=0) %}
{% for m in messages %}
    {% if m.role == 'tool' %}{% continue %}{% endif %}
    {% set ns.count = ns.count + 1 %}
    {% generation %}
    <|im_start|>{{ m['role'] | upper }} {{ ns.count }}
    {{ body(m).strip().split('~')[-1] | trim }}{% if m.tool_calls %}{{ m.tool_calls | tojson(indent=2) }}{% endif %}
    {% endgeneration %}
    <|im_end|>
{% endfor %}
{% if tools %}{{ tools | tojson }}{% endif %}
{% if add_generation_prompt %}<think>{% endif %}"""

TOOL = {"type": "function", "function": {"name": "f", "description": "Größe <&> 大", "parameters": {"type": "object"}}}


def oracle(template: str, messages: list[dict[str, Any]], tools: Any, **variables: Any) -> str:
    """The same conversation rendered by transformers."""
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template([messages], tools=tools, chat_template=template, **variables)
    return rendered[0]


WORDS = st.text("ab<>|_/ \n~é大'\u0301", max_size=12)


def conversations(words: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A system message perhaps, then turns of user, assistant and tool; at least one by the user."""
    parts = st.lists(st.builds(lambda text: {"type": "text", "text": text}, words), min_size=1, max_size=3)
    user = st.fixed_dictionaries({"role": st.just("user"), "content": words | parts})
    function = st.fixed_dictionaries({"name": words, "arguments": st.dictionaries(words, words, max_size=2)})
    call = st.fixed_dictionaries({"type": st.just("function"), "function": function})
    assistant = st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": words},
        optional={"reasoning_content": words, "tool_calls": st.lists(call, max_size=2)},
    )
    tool = st.fixed_dictionaries({"role": st.just("tool"), "content": words})
    system = st.lists(st.fixed_dictionaries({"role": st.just("system"), "content": words}), max_size=1)
    turns = st.lists(user | assistant | tool, max_size=5)
    return st.tuples(system, user, turns).map(lambda drawn: [*drawn[0], drawn[1], *drawn[2]])


@pytest.mark.parametrize("source", [DEFAULT_TEMPLATE, BUSY_TEMPLATE], ids=["default", "busy"])
@given(
    messages=conversations(WORDS),
    tools=st.sampled_from([None, [TOOL]]),
    generate=st.booleans(),
    thinking=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_without_look_alikes_ids_are_those_of_the_plainly_rendered_text(
    source: str,
    tokenizer: Tokenizer,
    library: LibraryTokenizer,
    messages: list[dict[str, Any]],
    tools: Any,
    generate: bool,
    thinking: bool,
) -> None:
    rendered = _compiled(source, tokenizer).render(messages, tools, generate, thinking)
    expected = oracle(source, messages, tools, add_generation_prompt=generate, enable_thinking=thinking)
    assert rendered.text == expected
    assert tokenizer.encode_template(rendered) == library.encode(expected, add_special_tokens=False).ids


_TEMPLATES: dict[str, ChatTemplate] = {}


def _compiled(source: str, tokenizer: Tokenizer) -> ChatTemplate:
    if source not in _TEMPLATES:
        _TEMPLATES[source] = ChatTemplate(source, tokenizer.added_tokens)
    return _TEMPLATES[source]


NASTY = st.lists(
    st.sampled_from(["<|im_end|>", "<|im_start|>", "<think>", "<tool_call>", "</tool_response>", "<|image_pad|>"])
    | st.sampled_from(
        ["<|im_", "end|>", "<", "|>", "<th", "ink>", " ", "\n", "a", "~", "\U0002a6d6", "<|fim_prefix|>"]
    ),
    min_size=1,
    max_size=5,
).map("".join)


@given(messages=conversations(NASTY), tools=st.sampled_from([None, [{**TOOL, "name": "<|im_end|>"}]]))
@settings(deadline=None, max_examples=80)
def test_only_the_template_writes_control_tokens(
    tokenizer: Tokenizer, messages: list[dict[str, Any]], tools: Any
) -> None:
    ids = tokenizer.encode_template(_compiled(DEFAULT_TEMPLATE, tokenizer).render(messages, tools))
    harmless = _compiled(DEFAULT_TEMPLATE, tokenizer).render(_harmless(messages), tools and [TOOL])
    added = set(tokenizer.added_tokens.values())
    expected = Counter(id for id in tokenizer.encode_template(harmless) if id in added)
    assert Counter(id for id in ids if id in added) == expected
    text = oracle(DEFAULT_TEMPLATE, messages, tools, add_generation_prompt=True)
    assert tokenizer.decode(ids, skip_special=False) == unicodedata.normalize("NFC", text)


def _harmless(value: Any, key: str = "") -> Any:
    """The same conversation with every text replaced by one that is as empty as it was, and no more."""
    if isinstance(value, dict):
        fixed = {"role", "type"}
        return {
            (name if name in KNOWN_KEYS else f"k{index}"): item if name in fixed else _harmless(item, name)
            for index, (name, item) in enumerate(value.items())
        }
    if isinstance(value, list):
        return [_harmless(item) for item in value]
    return "x" if isinstance(value, str) and value.strip() else ""


KNOWN_KEYS = {"role", "type", "content", "text", "reasoning_content", "tool_calls", "function", "name", "arguments"}


def test_look_alikes_are_broken_wherever_they_stand(tokenizer: Tokenizer) -> None:
    bad = "<|im_end|>"
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "<|im_"}, {"type": "text", "text": "end|>"}]},
        {"role": "assistant", "content": bad, "tool_calls": [{"function": {"name": bad, "arguments": {bad: [bad]}}}]},
        {"role": "tool", "content": f"{bad}\U0002a6d6"},
    ]
    rendered = ChatTemplate("{{ messages }}{{ tools | tojson }}{{ note }}", tokenizer.added_tokens).render(
        messages, tools=[{"name": bad}], note=bad
    )
    assert rendered.text.count(bad) == 7
    assert "\U0002a6d6" in rendered.text
    assert not set(tokenizer.encode_template(rendered)) & set(tokenizer.added_tokens.values())
    joined = ChatTemplate("{% for part in messages[0].content %}{{ part.text }}{% endfor %}", tokenizer.added_tokens)
    assert tokenizer.encode_template(joined.render(messages)) == tokenizer.encode("<|im_end|>")
    trimmed = ChatTemplate("{{ first | trim }}{{ second }}", tokenizer.added_tokens)
    assert tokenizer.encode_template(trimmed.render([], first="<|im_ ", second="end|>")) == tokenizer.encode(
        "<|im_end|>"
    )


def test_an_answer_with_its_reasoning_in_the_text_is_split_by_the_template(tokenizer: Tokenizer) -> None:
    old = {"role": "assistant", "content": "<think>\nhm <|im_end|>\n</think>\n\nyes <think> </tool_call>"}
    rendered = _compiled(DEFAULT_TEMPLATE, tokenizer).render([{"role": "user", "content": "q"}, old], None, False)
    answer = rendered.text.split("assistant\n")[1]
    assert answer == "<think>\nhm <|im_end|>\n</think>\n\nyes <think> </tool_call><|im_end|>\n"
    ids = tokenizer.encode_template(rendered)
    for token, count in {"<think>": 1, "</think>": 1, "<|im_end|>": 2, "</tool_call>": 0}.items():
        assert ids.count(tokenizer.added_tokens[token]) == count
    as_parts = {**old, "content": [{"type": "text", "text": old["content"]}]}
    template = _compiled(DEFAULT_TEMPLATE, tokenizer)
    assert tokenizer.encode_template(template.render([{"role": "user", "content": "q"}, as_parts], None, False)) == ids
    # With the reasoning given apart, tags in the content are just text.
    apart = {**old, "reasoning": "hm"}
    ids = tokenizer.encode_template(_compiled(DEFAULT_TEMPLATE, tokenizer).render([apart], None, False))
    assert ids.count(tokenizer.added_tokens["</think>"]) == 1


def render(messages: list[dict[str, Any]], **options: Any) -> RenderedPrompt:
    return ChatTemplate(DEFAULT_TEMPLATE, ["<|im_end|>"]).render(messages, **options)


def test_system_messages_are_merged_in_order() -> None:
    messages = [
        {"role": "user", "content": "q"},
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "!"}]},
        {"role": "assistant", "content": "a"},
        {"role": "system", "content": None},
        {"role": "system", "content": "three"},
        {"role": "user", "content": "r"},
    ]
    merged = [{"role": "system", "content": "one\n\ntwo!\n\nthree"}, messages[0], messages[3], messages[6]]
    assert render(messages).text == oracle(DEFAULT_TEMPLATE, merged, None, add_generation_prompt=True)
    with pytest.raises(TemplateError, match="system message cannot stand at position 2"):
        render(messages[:2], merge_system=False)
    assert messages[1] == {"role": "system", "content": "one"}


def test_reasoning_by_either_name_and_arguments_in_either_form() -> None:
    def conversation(reasoning: dict[str, Any], arguments: Any) -> list[dict[str, Any]]:
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "tool_calls": [call], **reasoning},
        ]

    expected = oracle(DEFAULT_TEMPLATE, conversation({"reasoning_content": "why"}, {"k": [1]}), None)
    assert "why" in expected
    assert "[1]" in expected
    for reasoning in (
        {"reasoning": "why"},
        {"reasoning_content": None, "reasoning": "why"},
        {"reasoning_content": "why"},
    ):
        for arguments in ({"k": [1]}, '{"k": [1]}'):
            assert render(conversation(reasoning, arguments), add_generation_prompt=False).text == expected
    for arguments in ("", None, {}, "{}"):
        assert "<function=f>\n</function>" in render(conversation({}, arguments)).text
    flat = conversation({}, "")
    flat[1]["tool_calls"] = [{"name": "g", "arguments": '{"x": true}'}]
    assert "<function=g>\n<parameter=x>\ntrue\n" in render(flat).text


def test_media_come_in_the_order_of_their_placeholders() -> None:
    parts = [
        {"type": "text", "text": "<|image_pad|> is no image"},
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "video", "video": "b.mp4"},
        {"image": "c.png"},
        {"type": "video_url", "video_url": {"url": "d.mp4"}},
    ]
    rendered = render([{"role": "user", "content": parts[:3]}, {"role": "tool", "content": parts[3:]}])
    assert [(part.kind, part.source) for part in rendered.media] == [
        ("image", parts[1]), ("video", parts[2]), ("image", parts[3]), ("video", parts[4])
    ]  # fmt: skip
    assert "<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|video_pad|><|vision_end|>" in rendered.text
    expanded = rendered.expand_media(["(one)", "(two)", "(three)", "(four)"])
    assert "<|image_pad|> is no image(one)(two)<|im_end|>" in expanded.text
    assert "(three)(four)\n" in expanded.text
    assert "vision" not in expanded.text
    with pytest.raises(TemplateError, match="4 places for 3"):
        rendered.expand_media(["x"] * 3)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (["hello"], r"messages\[0\] is not an object with a role"),
        ([{"content": "x"}], r"messages\[0\] is not an object with a role"),
        ([{"role": "user", "content": 5}], r"messages\[0\].content is neither"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], r"content\[0\] is of type 'input_audio'"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\] is of type 'text'"),
        ([{"role": "system", "content": [{"type": "image"}]}], "system message cannot hold images"),
        ([{"role": "assistant", "tool_calls": [5]}], r"tool_calls\[0\] is not an object"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], r"tool_calls\[0\].function has no function name"),
        ([{"role": "wizard", "content": ""}], "A wizard message cannot stand at position 1"),
    ],
)
def test_conversations_that_are_refused(messages: list[Any], words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        render(messages)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a\n{% if %}", "does not compile, line 2"),
        ("{% include 'x' %}", "failed"),
        ("{{ raise_exception('no\n way') }}", "refused the conversation: no way"),
        ("{{ a.b.c }}", "'a' is undefined"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages | tojson(indent='x', sort_keys=5) + 1 }}", "TypeError"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% for i in range(10 ** 12) %}{% endfor %}", "loops without end"),
        ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "loops without end"),
        (
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(90) }}",
            "loops without end",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        (
            "{% set n = namespace(s='ab') %}{% for i in range(50) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
            "without measure",
        ),
        (
            "{% set n = namespace(s='ab') %}{% for i in range(50) %}{% set n.s = n.s + n.s %}{% endfor %}",
            "without measure",
        ),
        ("{{ 'ab' * 10 ** 12 }}", "without measure"),
        ("{{ 3 ** (10 ** 12) }}", "enormous power"),
    ],
)
def test_templates_that_fail_say_so_in_one_line(source: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limits stop them too, after seconds and hundreds of megabytes.
    monkeypatch.setattr(sandbox, "MAX_STEPS", 100_000)
    monkeypatch.setattr(sandbox, "MAX_CHARACTERS", 1_000_000)
    with pytest.raises(TemplateError, match=words) as caught:
        ChatTemplate(source, []).render([])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tools", [["f"], [{"type": "function"}], [{"function": {"name": 5}}], [{"function": "f"}]])
def test_tools_that_are_refused(tools: list[Any]) -> None:
    with pytest.raises(TemplateError, match=r"tools\[0\] is not an object with a function name"):
        render([{"role": "user", "content": "q"}], tools=tools)


def test_a_prompt_says_whether_the_answer_starts_in_the_reasoning() -> None:
    messages = [{"role": "user", "content": "<think>"}]
    assert render(messages).opens_reasoning
    assert not render(messages, enable_thinking=False).opens_reasoning
    assert not render(messages, add_generation_prompt=False).opens_reasoning
    assert not ChatTemplate("{{ messages[0].content }}", ["<think>"]).render(messages).opens_reasoning


def test_a_token_of_one_character_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="single character"):
        ChatTemplate("", ["#"])


PLAIN = {"role": "user", "content": " q "}
PICTURE = {"type": "image", "image": "x"}
CALLS = [
    {"type": "function", "function": {"name": "f", "arguments": {"a": "x\ny", "b": [1], "c": None, "d": {"é": True}}}}
]
RELEASED = [
    [PLAIN],
    [{"role": "system", "content": " s "}, PLAIN],
    [{"role": "system", "content": " "}, PLAIN],
    [{"role": "system", "content": [{"type": "text", "text": "s"}]}, PLAIN],
    [{"role": "user", "content": [PICTURE, {"type": "text", "text": "and"}, {"type": "video", "video": "x"}, PICTURE]}],
    [PLAIN, {"role": "assistant", "content": "<think>\nold\n</think>\n\n  a"}, PLAIN],
    [PLAIN, {"role": "assistant", "content": "old</think>\n\n  a "}],
    [PLAIN, {"role": "assistant", "content": "a", "reasoning_content": " why\n"}],
    [PLAIN, {"role": "assistant", "content": None, "tool_calls": CALLS * 2}, {"role": "tool", "content": " r "}],
    [PLAIN, {"role": "assistant", "content": "a", "tool_calls": CALLS}, *[{"role": "tool", "content": "r"}] * 2, PLAIN],
    [PLAIN, {"role": "assistant", "content": "a", "tool_calls": [CALLS[0]["function"], {"name": "g"}]}],
    [PLAIN, {"role": "assistant"}, {"role": "tool", "content": [{"type": "text", "text": "r"}]}],
    [],
    [{"role": "assistant", "content": "a"}],
    [PLAIN, {"role": "wizard", "content": "a"}],
]


@pytest.mark.peer
@pytest.mark.parametrize("messages", RELEASED)
@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("vision_ids", [True, False])
def test_every_branch_of_the_released_template(
    tokenizer: Tokenizer, library: LibraryTokenizer, messages: Any, tools: Any, thinking: bool, vision_ids: bool
) -> None:
    from jinja2 import TemplateError as JinjaError

    path = Path(os.environ["QWILL_LLAMA_CPP"]) / "models" / "templates" / "Qwen3.5-4B.jinja"
    source = path.read_text(encoding="utf-8")
    options = {"add_generation_prompt": thinking, "enable_thinking": thinking, "add_vision_id": vision_ids}
    template = _compiled(source, tokenizer)
    try:
        expected = oracle(source, messages, tools, **options)
    except JinjaError as error:
        with pytest.raises(TemplateError, match=str(error)):
            template.render(messages, tools, **options)
    else:
        rendered = template.render(messages, tools, **options)
        assert rendered.text == expected
        assert tokenizer.encode_template(rendered) == library.encode(expected, add_special_tokens=False).ids


@pytest.mark.peer
@given(messages=conversations(WORDS), thinking=st.booleans())
@settings(deadline=None, max_examples=100)
def test_random_conversations_in_the_released_template(
    tokenizer: Tokenizer, library: LibraryTokenizer, messages: list[dict[str, Any]], thinking: bool
) -> None:
    path = Path(os.environ["QWILL_LLAMA_CPP"]) / "models" / "templates" / "Qwen3.5-4B.jinja"
    source = path.read_text(encoding="utf-8")
    expected = oracle(source, messages, [TOOL], add_generation_prompt=True, enable_thinking=thinking)
    rendered = _compiled(source, tokenizer).render(messages, [TOOL], enable_thinking=thinking)
    assert rendered.text == expected
    assert tokenizer.encode_template(rendered) == library.encode(expected, add_special_tokens=False).ids


# As released templates do, which look for the question behind which reasoning stays.
ASKING = (
    "{%- if not messages | selectattr('role', 'equalto', 'user') | list -%}"
    "{{ raise_exception('No user query') }}{%- endif -%}"
)
CALL = {"name": "f", "arguments": {}}
SUMMARY = [
    {"role": "system", "content": "Be short."},
    {"role": "assistant", "content": "question0", "reasoning_content": "Hm.", "tool_calls": [CALL]},
    {"role": "tool", "content": "5 <|im_end|>"},
]  # fmt: skip


@pytest.mark.parametrize("messages", [SUMMARY, SUMMARY[1:], SUMMARY[:1], SUMMARY[:2]])
def test_conversations_without_a_question_are_rendered(messages: list[Any]) -> None:
    """The same as by a template that does not insist on one."""
    tokens = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    expected = ChatTemplate(DEFAULT_TEMPLATE, tokens).render(messages, [TOOL])
    rendered = ChatTemplate(ASKING + DEFAULT_TEMPLATE, tokens).render(messages, [TOOL])
    assert rendered.text == expected.text
    assert len(rendered.marked.split("<|im_end|>")) == len(expected.marked.split("<|im_end|>"))


def test_other_refusals_are_told_as_they_are() -> None:
    template = ChatTemplate("{{ raise_exception('No ' ~ messages | length) }}", [])
    with pytest.raises(TemplateError, match="refused the conversation: No 1"):
        template.render([{"role": "assistant", "content": "x"}])
    strange = ChatTemplate(ASKING + "{{ messages[0].content | upper }}", [])  # writes no turns
    with pytest.raises(TemplateError, match="No user query"):
        strange.render([{"role": "assistant", "content": "x"}])


@pytest.mark.parametrize("given", ['{"a": ', "[1]", "5", "text", '"{}"'])
def test_arguments_that_are_no_object_are_shown_as_they_came(given: str) -> None:
    call = {"function": {"name": "f", "arguments": given}}
    rendered = render([{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}])
    assert f"<function=f>\n<parameter=arguments>\n{given}\n</parameter>\n</function>" in rendered.text
