"""Efforts of reasoning in all dialects: told to templates that know them, else a bound on the reasoning."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qwill.effort import EFFORTS
from qwill.engine.sampling_params import SamplingParams
from qwill.llm import LLM
from qwill.prompt import PromptOptions
from qwill.text.chat_template import DEFAULT_TEMPLATE
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint
from server.asking import send
from server.dialects import CHAT, DIALECTS, MESSAGES, OLLAMA, RESPONSES, ask_of, body_of, prompt_of
from server.running import OPTIONS, Running, running

# As templates of Qwen 3.8 have it: the wish at the head of the first system message, reasoning kept unless told not to.
KNOWING = (
    "{%- set effort = reasoning_effort if reasoning_effort is defined else 'xhigh' -%}"
    "{%- set keeps = preserve_thinking if preserve_thinking is defined else true -%}"
    "{{- '<|im_start|>system\\nEffort: ' ~ effort ~ ', keeps: ' ~ keeps ~ '<|im_end|>\\n' -}}"
) + DEFAULT_TEMPLATE
SPELLED = {"low": "low", "medium": "medium", "high": "xhigh", "xhigh": "xhigh", "max": "xhigh"}
BUDGETS = {"low": 1024, "medium": 8192, "high": None, "xhigh": None, "max": None}
HEADER = "x-qwill-ignored"


def knowing(checkpoint: Checkpoint, **options: Any) -> LLM:
    return LLM(replace(checkpoint, chat_template=KNOWING), **options)


@pytest.fixture(scope="module")
def modern() -> Iterator[Running]:
    """A server whose model's template knows efforts."""
    with running(load=knowing) as started:
        yield started


def asking(path: str, effort: str) -> dict[str, Any]:
    fields: dict[str, dict[str, Any]] = {
        CHAT: {"reasoning_effort": effort},
        RESPONSES: {"reasoning": {"effort": effort}},
        MESSAGES: {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}},
        OLLAMA: {"think": effort},
    }
    return body_of(path, ["Hi!"], **fields[path])


def budget(server: Running, path: str, body: dict[str, Any]) -> int | None:
    """The bound on the reasoning of the answer that a body asks for."""
    ask = ask_of(path, body)
    assert ask.messages is not None
    answer = server.worker.llm.reply(ask.messages, ask.params, thinking=ask.thinks, options=ask.options)
    return answer.request.params.max_thinking_tokens


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("effort", SPELLED)
def test_templates_that_know_efforts_are_told(modern: Running, path: str, effort: str) -> None:
    body = asking(path, effort)
    assert f"Effort: {SPELLED[effort]}, keeps: True" in prompt_of(modern, path, body)
    assert budget(modern, path, body) is None
    for streamed in (False, True):
        answer = send("POST", modern.url + path, json=body | {"stream": streamed})
        assert (answer.status_code, answer.headers.get(HEADER)) == (200, None)


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("effort", BUDGETS)
def test_others_get_a_bound(server: Running, path: str, effort: str) -> None:
    body = asking(path, effort)
    assert budget(server, path, body) == BUDGETS[effort]
    assert prompt_of(server, path, body) == prompt_of(server, path, asking(path, "high"))
    assert send("POST", server.url + path, json=body).status_code == 200


@pytest.mark.parametrize("path", [CHAT, RESPONSES, OLLAMA])
@pytest.mark.parametrize("effort", ["none", "minimal"])
@pytest.mark.parametrize("knows", [False, True])
def test_no_effort_is_no_reasoning(server: Running, modern: Running, path: str, effort: str, knows: bool) -> None:
    prompt = prompt_of(modern if knows else server, path, asking(path, effort))
    assert prompt.rstrip().endswith("</think>")
    assert effort not in prompt


@pytest.mark.parametrize("path", DIALECTS)
def test_no_wish_leaves_it_to_the_template(modern: Running, path: str) -> None:
    assert "Effort: xhigh, keeps: True" in prompt_of(modern, path, body_of(path, ["Hi!"]))


@pytest.mark.parametrize("more", [{"preserve_thinking": False}, {"chat_template_kwargs": {"preserve_thinking": False}}])
def test_whether_reasoning_stays(modern: Running, server: Running, more: dict[str, Any]) -> None:
    body = body_of(CHAT, ["Hi!"], **more)
    assert "keeps: False" in prompt_of(modern, CHAT, body)
    ignored = "preserve_thinking" if "preserve_thinking" in more else None
    assert send("POST", server.url + CHAT, json=body).headers.get(HEADER) == ignored


def test_a_stated_variable_and_a_stated_bound_come_first(modern: Running, server: Running) -> None:
    body = body_of(CHAT, ["Hi!"], reasoning_effort="low", chat_template_kwargs={"reasoning_effort": "medium"})
    assert "Effort: medium" in prompt_of(modern, CHAT, body)
    assert budget(server, CHAT, body_of(CHAT, ["Hi!"], reasoning_effort="low", thinking_budget=7)) == 7
    off = body_of(CHAT, ["Hi!"], reasoning_effort="low", enable_thinking=False)
    assert "Effort: xhigh" in prompt_of(modern, CHAT, off)  # nothing is to be reasoned


@pytest.mark.parametrize(("given", "thinks", "most"), [
    ({"type": "enabled", "budget_tokens": 5}, True, 5), ({"type": "disabled"}, False, None), (True, True, None),
    (False, False, None), ({"type": "auto"}, None, None), ({"type": "adaptive"}, True, None),
])  # fmt: skip
def test_the_switch_of_other_services(given: Any, thinks: bool | None, most: int | None) -> None:
    ask = ask_of(CHAT, body_of(CHAT, ["Hi!"], thinking=given))
    assert (ask.thinking, ask.params.max_thinking_tokens) == (thinks, most)


@pytest.mark.parametrize("path", DIALECTS)
def test_words_that_are_no_efforts(server: Running, path: str) -> None:
    answer = send("POST", server.url + path, json=asking(path, "enormous"))
    assert answer.status_code == 400
    assert all(word in answer.text for word in ("low", "medium", "max"))


def test_the_python_api() -> None:
    llm = knowing(open_checkpoint(resolve_model("demo")), **OPTIONS)
    question = [{"role": "user", "content": "Hi!"}]
    for effort in EFFORTS:
        ids = llm.prompt_tokens(question, options=PromptOptions(effort=effort))
        assert llm.tokenizer is not None
        prompt = llm.tokenizer.decode(ids, skip_special=False)
        assert f"Effort: {SPELLED.get(effort, 'xhigh')}" in prompt
        assert prompt.endswith("</think>\n\n") == (effort not in SPELLED)
    with pytest.raises(ValueError, match="effort must be none, minimal, low, medium, high, xhigh or max, not 'much'"):
        llm.chat(question, SamplingParams(max_tokens=1), effort="much")
    assert llm.chat(question, SamplingParams(max_tokens=3, temperature=0), effort="none").reasoning == ""
