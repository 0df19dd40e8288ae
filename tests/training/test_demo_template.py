"""The demonstration model's chat template: every branch, and the same text as the released template's."""

import os
import random
from pathlib import Path
from typing import Any

import jinja2
import pytest
from training.data import chat_template, template
from training.tasks.toolbox import TOOLS, definition

WEATHER_TOOL, TIME_TOOL = (
    definition(name, TOOLS[kind]) for name, kind in (("get_weather", "weather"), ("get_time", "clock"))
)
USER = {"role": "user", "content": "Hi"}
CALL = {"function": {"name": "get_time", "arguments": {"city": "Oslo", "zones": [1, "a"], "exact": True}}}


def render(messages: list[dict[str, Any]], **arguments: Any) -> str:
    return chat_template().render(messages=messages, **arguments)


def test_tool_calls_and_results():
    messages = [
        USER,
        {"role": "assistant", "content": "Yes.", "reasoning_content": "Look.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "12:00"},
        {"role": "tool", "content": "13:00"},
    ]
    call = (
        "<tool_call>\n<function=get_time>\n<parameter=city>\nOslo\n</parameter>\n"
        '<parameter=zones>\n[1, "a"]\n</parameter>\n<parameter=exact>\nTrue\n</parameter>\n</function>\n</tool_call>'
    )
    assert render(messages, add_generation_prompt=True) == (
        "<|im_start|>user\nHi<|im_end|>\n"
        f"<|im_start|>assistant\n<think>\nLook.\n</think>\n\nYes.\n\n{call}\n{call}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n12:00\n</tool_response>\n<tool_response>\n13:00\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    )


def test_old_reasoning_is_dropped():
    messages = [USER, {"role": "assistant", "content": "<think>\nsecret\n</think>\n\nHello!"}, USER]
    assert "secret" not in render(messages)
    assert "secret" in render(messages[:2])


def test_tools_and_system_share_one_message():
    text = render([{"role": "system", "content": "Be kind."}, USER], tools=[WEATHER_TOOL])
    assert text.count("<|im_start|>system\n") == 1
    assert '"name": "get_weather"' in text
    assert text.index("</tools>") < text.index("Be kind.") < text.index("<|im_start|>user")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "only"}],
        [USER, {"role": "system", "content": "late"}],
        [{"role": "system", "content": [{"type": "image"}]}, USER],
        [{"role": "wizard", "content": "?"}, USER],
        [{"role": "user", "content": [{"type": "sound"}]}],
        [{"role": "user", "content": 5}],
    ],
)
def test_wrong_conversations_are_refused(messages):
    with pytest.raises(jinja2.TemplateError):
        render(messages)


def random_conversation(rng: random.Random) -> list[dict[str, Any]]:
    """Turns of every kind, with stray white space, and a question of the user's among them."""
    texts = ["Hi", " two\nlines \n", "", "<think>\nwhy\n</think>\n\nso", [{"type": "text", "text": "part "}]]
    media = [{"type": "image"}, {"image_url": {"url": "x"}}, {"type": "video"}, {"type": "text", "text": " see"}]
    messages: list[dict[str, Any]] = [{"role": "system", "content": rng.choice(texts)}] if rng.random() < 0.4 else []
    for turn in range(rng.randint(1, 4)):
        parts = [rng.sample(media, rng.randint(1, 4)), *texts]
        messages.append({"role": "user", "content": rng.choice(parts)})
        if turn and rng.random() < 0.5:
            messages[-1]["content"] = "<tool_response>\nold\n</tool_response>"
        if rng.random() < 0.8:
            messages.append({"role": "assistant", "content": rng.choice([*texts, None])})
            if rng.random() < 0.4:
                messages[-1]["reasoning_content"] = rng.choice(["because", "\n ", ""])
            if rng.random() < 0.5:
                messages[-1]["tool_calls"] = [CALL, CALL["function"]][: rng.randint(1, 2)]
                messages += [{"role": "tool", "content": rng.choice(texts)} for _ in range(rng.randint(0, 2))]
    return messages


@pytest.mark.peer
def test_released_template_renders_the_same():
    """Our wording differs in the tools' instructions alone."""
    folder = Path(os.environ["QWILL_LLAMA_CPP"]) / "models" / "templates"
    released = template((folder / "Qwen3.5-4B.jinja").read_text(encoding="utf-8"))
    for seed in range(500):
        rng = random.Random(seed)
        arguments = {
            "messages": random_conversation(rng),
            "tools": rng.choice([None, [], [WEATHER_TOOL], [TIME_TOOL, WEATHER_TOOL]]),
            "add_generation_prompt": rng.random() < 0.7,
            "add_vision_id": rng.random() < 0.3,
        } | rng.choice([{}, {"enable_thinking": False}, {"enable_thinking": True}])
        ours, theirs = chat_template().render(**arguments), released.render(**arguments)
        if arguments["tools"]:
            assert ours.split("</tools>")[0].splitlines()[-2:] == theirs.split("</tools>")[0].splitlines()[-2:]
            ours, theirs = (text.split("<|im_end|>", 1)[1] for text in (ours, theirs))
        assert ours == theirs, seed
