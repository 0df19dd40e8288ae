"""First requests of client programs: which fields they send and how those are nested, as tests/clients sees them, with
words, names and numbers of our own, drawn anew for each request."""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NOUNS = ("river", "lamp", "stone", "cloud", "garden", "bridge", "window", "paper", "letter", "boat", "train", "bread")
VERBS = ("find", "show", "count", "move", "open", "close", "list", "sort", "read", "write", "send", "keep")
KINDS = ("string", "integer", "number", "boolean")
DRAFT = "http://json-schema.org/draft-07/schema#"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@dataclass(frozen=True)
class FirstRequest:
    """`ignored`: what the answer's header names of it."""

    program: str
    path: str
    body: dict[str, Any]
    ignored: frozenset[str] = field(default_factory=frozenset)


class Words:
    """Texts, names and schemas that mean nothing."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, most: int = 12) -> str:
        count = self.random.randint(3, most)
        return " ".join(self.random.choice(self.random.choice((NOUNS, VERBS))) for _ in range(count)) + "."

    def id(self, length: int = 32) -> str:
        return "".join(self.random.choices(string.hexdigits.lower()[:16], k=length))

    def names(self, count: int) -> list[str]:
        pairs = [f"{verb}_{noun}" for verb in VERBS for noun in NOUNS]
        return self.random.sample(pairs, count)

    def schema(self, **more: Any) -> dict[str, Any]:
        """Of an object, as functions have it."""
        keys = self.random.sample(NOUNS, self.random.randint(1, 3))
        properties = {key: {"type": self.random.choice(KINDS), "description": self.text(4)} for key in keys}
        if self.random.random() < 0.5:
            properties["kind"] = {"type": "string", "enum": list(self.random.sample(VERBS, 2))}
        if self.random.random() < 0.3:
            properties["parts"] = {"type": "array", "items": {"type": "string"}}
        return {"type": "object", "properties": properties, "required": keys[:1], **more}

    def functions(self, count: int, **more: Any) -> list[dict[str, Any]]:
        """In the form of chat completions."""
        return [
            {
                "type": "function",
                "function": {"name": name, "description": self.text(), "parameters": self.schema(**more)},
            }
            for name in self.names(count)
        ]

    def flat_functions(self, count: int, strict: bool = False) -> list[dict[str, Any]]:
        """In the form of responses."""
        return [
            {"type": "function", "name": name, "description": self.text(), "strict": strict,
             "parameters": self.schema(additionalProperties=False)}
            for name in self.names(count)
        ]  # fmt: skip

    def anthropic_tools(self, count: int) -> list[dict[str, Any]]:
        return [
            {"name": name, "description": self.text(),
             "input_schema": self.schema(additionalProperties=False, **{"$schema": DRAFT})}
            for name in self.names(count)
        ]  # fmt: skip


def person(strict: bool = True) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    return {"name": "person", "schema": schema, "strict": strict}


def chat(words: Words, *roles: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": words.text()} for role in roles]


def codex(words: Words) -> FirstRequest:
    """Instructions as developer messages; functions, one namespace of them, and a search that others run."""
    message = {"type": "message", "role": "developer"}
    group = {"type": "namespace", "name": words.names(1)[0], "description": words.text()}
    body = {
        "model": "demo", "stream": True, "max_output_tokens": 1,
        "input": [
            {**message, "id": f"msg_{words.id()}", "content": [{"type": "input_text", "text": words.text(40)}]},
            {**message, "id": f"msg_{words.id()}", "content": [{"type": "input_text", "text": words.text()}] * 2},
            {**message, "id": f"msg_{words.id()}", "role": "user",
             "content": [{"type": "input_text", "text": words.text()}]},
        ],
        "tools": [
            *words.flat_functions(3),
            {**group, "tools": words.flat_functions(2)},
            {"type": "web_search", "external_web_access": words.random.random() < 0.5},
        ],
        "tool_choice": "auto", "parallel_tool_calls": True, "reasoning": {"summary": "auto"}, "store": False,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": words.id(),
        "client_metadata": {"session_id": words.id(), "turn_id": words.id(), "x-metadata": "{}"},
    }  # fmt: skip
    ignored = {"client_metadata", "prompt_cache_key", "tools.web_search"}
    return FirstRequest("Codex", "/v1/responses", body, frozenset(ignored))


def codex_structure(words: Words) -> FirstRequest:
    asked = codex(words)
    form = {"type": "json_schema", **person()}
    return FirstRequest("Codex --output-schema", asked.path, {**asked.body, "text": {"format": form}}, asked.ignored)


def codex_servers(words: Words) -> FirstRequest:
    """With tools of MCP servers, a tool whose input is a text, and an effort."""
    asked = codex(words)
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}
    free = {"type": "custom", "name": "edit_text", "description": words.text(), "format": grammar}
    server = {"type": "namespace", "name": "mcp__notes", "description": "", "tools": words.flat_functions(2)}
    body = {**asked.body, "tools": [*asked.body["tools"], free, server], "text": {"verbosity": "low"}}
    body["reasoning"] = {"effort": "medium", "summary": "auto"}
    ignored = asked.ignored | {"text.verbosity", "tools.format"}
    return FirstRequest("Codex with MCP", asked.path, body, ignored)


def claude_code(words: Words) -> FirstRequest:
    """Its instructions come in parts that are to be cached, some of them as a system message behind the question."""
    cached = {"cache_control": {"type": "ephemeral"}}
    text = {"type": "text"}
    placeholder = {"name": "later", "description": words.text(), "input_schema": {"type": "object", "properties": {}}}
    body = {
        "model": "demo", "stream": True, "max_tokens": 1,
        "messages": [
            {"role": "user", "content": [{**text, "text": words.text()}, {**text, "text": words.text()}]},
            {"role": "system", "content": [{**text, "text": words.text(40), **cached}]},
        ],
        "system": [
            {**text, "text": f"x-anthropic-billing-header: version={words.id(6)};"},
            {**text, "text": words.text(), **cached},
            {**text, "text": words.text(40), **cached},
        ],
        "tools": [*words.anthropic_tools(4), {**placeholder, "defer_loading": True}],
        "metadata": {"user_id": words.id(64)},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": words.random.choice(["low", "medium", "high"])},
    }  # fmt: skip
    ignored = {"cache_control", "context_management", "defer_loading", "metadata", "x-anthropic-billing-header"}
    return FirstRequest("Claude Code", "/v1/messages", body, frozenset(ignored))


def opencode(words: Words) -> FirstRequest:
    body = {
        "model": "demo", "max_tokens": 1, "messages": chat(words, "system", "user"),
        "tools": words.functions(5, additionalProperties=False, **{"$schema": DRAFT}),
        "tool_choice": "auto", "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    return FirstRequest("opencode", "/v1/chat/completions", body)


def opencode_title(words: Words) -> FirstRequest:
    body = {
        "model": "demo", "max_tokens": 1, "messages": chat(words, "system", "user", "user"), "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    return FirstRequest("opencode's title", "/v1/chat/completions", body)


def qwen_code(words: Words) -> FirstRequest:
    parts = [{"type": "text", "text": words.text()} for _ in range(3)]
    body = {
        "model": "demo", "max_tokens": 1, "messages": [*chat(words, "system"), {"role": "user", "content": parts}],
        "stream": True, "stream_options": {"include_usage": True}, "tools": words.functions(6),
    }  # fmt: skip
    return FirstRequest("qwen-code", "/v1/chat/completions", body)


def aider(words: Words) -> FirstRequest:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    body = {"model": "demo", "messages": chat(words, *roles), "temperature": 0, "stream": True, "max_tokens": 1}
    return FirstRequest("aider", "/v1/chat/completions", body)


PROGRAMS: tuple[Callable[[Words], FirstRequest], ...] = (
    codex, codex_structure, codex_servers, claude_code, opencode, opencode_title, qwen_code, aider,
)  # fmt: skip
