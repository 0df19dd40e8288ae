"""Agents that call tools through a server: how many of them end right.

    PYTHONPATH=. python benchmarks/agents.py URL [--runs 200] [--turns 5] [--seed N]

Each run is one of the demonstration model's chains of calls that nobody has trained it on, with at least so many calls
one after the other. The official OpenAI client streams each answer, the tools answer what they were asked for (or that
they know nothing of it), and the loop goes on until an answer calls no tool. A run is right when every call was the
right one and the last answer is. Needs a server of the demonstration model: `qwill serve --port 8080`.
"""

import argparse
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from training.evaluation.tasks import held_out_examples
from training.examples import Example

MOST_TURNS = 12
UNKNOWN = "nothing is known of that"


def examples(count: int, least: int, seed: int) -> list[Example]:
    """Chains with at least `least` calls."""
    drawn = held_out_examples("tools: chain", seed, 20 * count)
    long = [example for example in drawn if sum("tool_calls" in message for message in example.messages) >= least]
    return long[:count]


def script(example: Example) -> tuple[list[dict[str, Any]], list[tuple[str, dict[str, Any], str]]]:
    """The messages before the first call, and each call's function, arguments and result."""
    first = next(index for index, message in enumerate(example.messages) if "tool_calls" in message)
    steps = []
    for call, result in zip(example.messages[first::2], example.messages[first + 1 :: 2], strict=True):
        (function,) = (one["function"] for one in call["tool_calls"])
        steps.append((function["name"], function["arguments"], result["content"]))
    return example.messages[:first], steps


def answer(client: openai.OpenAI, messages: list[Any], example: Example) -> dict[str, Any]:
    """The next message of the assistant, put together from its stream."""
    stream: Any = client.chat.completions.create(
        model="", messages=messages, tools=example.tools, temperature=0, stream=True, max_tokens=300,
        extra_body={"enable_thinking": example.thinking},
    )  # fmt: skip
    message: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": ""}
    calls: list[dict[str, Any]] = []
    for chunk in stream:
        delta = chunk.choices[0].delta
        message["content"] += delta.content or ""
        message["reasoning_content"] += getattr(delta, "reasoning_content", None) or ""
        for call in delta.tool_calls or []:
            if call.index == len(calls):
                calls.append({"id": call.id, "type": "function", "function": {"name": "", "arguments": ""}})
            calls[call.index]["function"]["name"] += call.function.name or ""
            calls[call.index]["function"]["arguments"] += call.function.arguments or ""
    return message | ({"tool_calls": calls} if calls else {})


def run(client: openai.OpenAI, example: Example) -> str:
    """Empty when the run ended right, else what went wrong."""
    messages, steps = script(example)
    known = {(name, json.dumps(arguments, sort_keys=True)): result for name, arguments, result in steps}
    called = []
    for _ in range(MOST_TURNS):
        said = answer(client, messages, example)
        messages = [*messages, said]
        if "tool_calls" not in said:
            break
        for call in said["tool_calls"]:
            key = call["function"]["name"], json.dumps(json.loads(call["function"]["arguments"]), sort_keys=True)
            called.append(key)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": known.get(key, UNKNOWN)})
    if called != [(name, json.dumps(arguments, sort_keys=True)) for name, arguments, _ in steps]:
        return f"called {called}, not {steps}"
    return "" if said["content"].strip() == example.answer else f"said {said['content']!r}, not {example.answer!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the server, such as http://127.0.0.1:8080")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5, help="calls of a run, at least")
    parser.add_argument("--at-a-time", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    client = openai.OpenAI(base_url=f"{arguments.url}/v1", api_key="none", timeout=600)
    drawn = examples(arguments.runs, arguments.turns, arguments.seed)
    with ThreadPoolExecutor(arguments.at_a_time) as pool:
        outcomes = list(pool.map(lambda example: run(client, example), drawn))
    for wrong in filter(None, outcomes):
        print(wrong)
    right = outcomes.count("")
    print(f"seed {arguments.seed}: {right} of {len(drawn)} runs of at least {arguments.turns} calls ended right")
    if right < 0.99 * len(drawn):
        sys.exit(1)


if __name__ == "__main__":
    main()
