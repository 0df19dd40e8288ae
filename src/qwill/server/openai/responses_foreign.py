"""Items of /v1/responses that are of no kind known here: calls of tools that other servers run, summaries, and
whatever clients keep. What a model should know of them is shown to it as calls with their outputs; the rest means
nothing here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Item = Mapping[str, Any]
CALLS = {"local_shell_call": "action", "shell_call": "action", "apply_patch_call": "operation"}
SUMMARIES = frozenset({"compaction", "compaction_summary", "context_compaction"})
TEXTS = ("stdout", "stderr", "logs", "text")  # of which outputs consist


def with_shown(items: Iterable[Item], known: Iterable[str]) -> list[Item]:
    """A conversation with what stands for such items in their places. `known`: the types that need none.

    Calls get ids of their own: those that they come with bind nobody here. An output without its call is left out.
    """
    kinds = frozenset(known)
    result: list[Item] = []
    begun: dict[Any, str] = {}  # calls that have no output yet, by the ids that they came with
    for number, item in enumerate(items):
        kind = item["type"]
        if kind in kinds:
            result.append(item)
            continue
        identity, own = str(item.get("call_id") or item.get("id")), f"#{number}"
        if kind in SUMMARIES:
            summary = _texts(item.get("summary") or item.get("content") or item.get("text"))
            result += [{"type": "message", "role": "user", "content": summary}] if summary else []
        elif kind in CALLS:
            begun[identity] = own
            result.append(_call(own, kind.removesuffix("_call"), item.get(CALLS[kind])))
        elif kind.removesuffix("_output") in CALLS and identity in begun:
            result.append(_output(begun.pop(identity), item.get("output") or item.get("status")))
        elif kind == "mcp_call":
            name = "__".join(_texts(item.get(part)) or "mcp" for part in ("server_label", "name"))
            result += [_call(own, name, item.get("arguments")), _output(own, item.get("output") or item.get("error"))]
        elif kind == "code_interpreter_call":
            result += [_call(own, "code_interpreter", {"code": item.get("code")}), _output(own, item.get("outputs"))]
    return result


def _call(identity: str, name: str, given: Any) -> Item:
    """A call with these arguments, which may be an object, its JSON, or anything else."""
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        arguments = given
    if not isinstance(arguments, Mapping):
        arguments = {"input": arguments}
    said = {key: value for key, value in arguments.items() if value not in (None, {}, []) and key != "type"}
    return {
        "type": "function_call", "call_id": identity, "name": name, "arguments": json.dumps(said, ensure_ascii=False),
    }  # fmt: skip


def _output(identity: str, given: Any) -> Item:
    return {"type": "function_call_output", "call_id": identity, "output": _texts(given)}


def _texts(given: Any) -> str:
    """All texts of an output or a summary."""
    if isinstance(given, str):
        return given
    parts = given if isinstance(given, Sequence) else [given]
    said: list[str] = []
    for part in parts:
        if isinstance(part, Mapping):
            said += [part[name] for name in TEXTS if isinstance(part.get(name), str) and part[name]]
            outcome = part.get("outcome")
            if isinstance(outcome, Mapping) and outcome.get("exit_code"):
                said.append(f"exit code {outcome['exit_code']}")
            if isinstance(part.get("message"), str):
                said.append(part["message"])
        elif isinstance(part, str):
            said.append(part)
    return "\n".join(said)
