"""A mistake in tools, choices and items is told with the field where it stands, by the client's own names alone."""

from typing import Any

import pytest

from server.asking import send
from server.dialects import CHAT, MESSAGES, OLLAMA, RESPONSES
from server.running import Running

COMPLETIONS = "/v1/completions"
FUNCTION = {"type": "function", "function": {"name": "f"}}
FLAT = {"type": "function", "name": "f"}
WORDS = "give none, auto, required, or an object whose type is function, custom or allowed_tools"
MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    (CHAT, {"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name", "Field required"),
    (CHAT, {"tools": [{"type": "function", "function": {"function": {"name": "f"}}}]}, "tools.0.function.name",
     "Field required"),
    (CHAT, {"tools": [FUNCTION, FLAT]}, "tools.1.function", "Field required"),
    (CHAT, {"tools": [{"type": "custom", "name": "f"}]}, "tools.0.custom", "Field required"),
    (CHAT, {"tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [{"type": "function", "function": {}}]}}},
     "tool_choice.allowed_tools.tools.0.function.name", "Field required"),
    (CHAT, {"thinking": {"type": "on"}}, "thinking.type", "Input should be 'enabled', 'disabled',"),
    (CHAT, {"thinking": {"type": "enabled", "budget_tokens": -2}}, "thinking.budget_tokens", "Input should be"),
    (CHAT, {"thinking": []}, "thinking", "Input should be a valid boolean"),
    (CHAT, {"functions": [{"name": "f"}]}, "functions", "functions are given as tools here; send tools"),
    (CHAT, {"function_call": "auto"}, "function_call", "functions are given as tools here; send tool_choice"),
    (RESPONSES, {"tools": [FUNCTION]}, "tools.0.name", "Field required"),
    (RESPONSES, {"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools.0.name", "Field required"),
    (RESPONSES, {"tools": [{"type": "namespace", "name": "n", "tools": [FUNCTION]}]}, "tools.0.tools.0.name",
     "Field required"),
    (RESPONSES, {"tool_choice": FUNCTION}, "tool_choice.name", "Field required"),
    (RESPONSES, {"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id", "Field required"),
    (RESPONSES, {"input": [{"type": "function_call", "function_call": {}, "call_id": "a"}]}, "input.0.name",
     "Field required"),
    (RESPONSES, {"input": [{"type": "reasoning", "reasoning": {"summary": 5}, "summary": 5}]}, "input.0.summary",
     "Input should be a valid list"),
    *((path, {"tools": [tool], "tool_choice": {"type": word}}, "tool_choice", WORDS)
      for path, tool in ((CHAT, FUNCTION), (RESPONSES, FLAT)) for word in ("auto", "none", "any", "required", "tool")),
    *((COMPLETIONS, {"prompt": prompt}, "prompt",
       "give a text, a list of texts, token ids or a list of lists of token ids")
      for prompt in (None, 5, [], {}, [{}])),
    (COMPLETIONS, {"prompt": ["a", 5]}, "prompt.1", "Input should be a valid string"),
    (COMPLETIONS, {"prompt": [1, "a"]}, "prompt.1", "Input should be a valid integer"),
    (COMPLETIONS, {"prompt": [[1], [2, None]]}, "prompt.1.1", "Input should be a valid integer"),
    (COMPLETIONS, {"prompt": [[]]}, "prompt.0", "List should have at least 1 item"),
    (MESSAGES, {"tools": [{"custom": {"name": 5}, "name": "f"}]}, "tools.0.input_schema", "Field required"),
    (OLLAMA, {"tools": [{"function": {"function": {"name": "f"}}}]}, "tools.0.function.name", "Field required"),
]  # fmt: skip


VALUES: list[tuple[str, dict[str, Any], str, str]] = [
    (CHAT, {"max_completion_tokens": 0, "max_tokens": 5}, "max_completion_tokens", "must be a whole number"),
    (CHAT, {"max_tokens": 0}, "max_tokens", "must be a whole number"),
    (RESPONSES, {"max_output_tokens": 0}, "max_output_tokens", "must be a whole number"),
    (CHAT, {"repeat_penalty": 0}, "repeat_penalty", "must be from 0.01 to 100"),
    (CHAT, {"repetition_penalty": 0, "repeat_penalty": 1}, "repetition_penalty", "must be from 0.01 to 100"),
    (CHAT, {"thinking_budget": -2}, "thinking_budget", "must be a whole number"),
    (RESPONSES, {"thinking_budget": -2}, "thinking_budget", "must be a whole number"),
    (CHAT, {"guided_json": "{"}, "guided_json", "must be a JSON object"),
    (CHAT, {"structured_outputs": {"json": "{"}}, "structured_outputs", "must be a JSON object"),
    (COMPLETIONS, {"prompt": "x", "guided_regex": ""}, "guided_regex", "must be a text of at least one character"),
    *((path, {"temperature": -1} | ({"prompt": "x"} if path == COMPLETIONS else {}), "temperature", "must be a number")
      for path in (CHAT, RESPONSES, COMPLETIONS)),
    (CHAT, {"stop": [""]}, "stop", "must be texts"),
    (CHAT, {"seed": 2**65}, "seed", "must be"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "more", "field", "message"), VALUES)
def test_which_value_it_is(server: Running, path: str, more: dict[str, Any], field: str, message: str) -> None:
    turns: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
    turns = {RESPONSES: {"input": "x"}, COMPLETIONS: {}}.get(path, turns)
    answer = send("POST", server.url + path, json=turns | more)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, field)
    assert error["message"].startswith((f"{field} {message}", f"{field}: "))
    assert message in error["message"]


@pytest.mark.parametrize(("path", "more", "place", "message"), MISTAKES)
def test_where_it_stands(server: Running, path: str, more: dict[str, Any], place: str, message: str) -> None:
    turns: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
    turns = {RESPONSES: {"input": "x"}, COMPLETIONS: {}}.get(path, turns)
    answer = send("POST", server.url + path, json={"model": "demo", "max_tokens": 1} | turns | more
                  if path == MESSAGES else turns | more)  # fmt: skip
    assert answer.status_code == 400
    error = answer.json()["error"]
    told = error if isinstance(error, str) else error["message"]
    assert told.startswith(f"{place}: {message}")
    if path not in (MESSAGES, OLLAMA):
        assert error["param"] == place
