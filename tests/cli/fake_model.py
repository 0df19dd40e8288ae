"""The command line with a stand-in for the model, which says what it was asked: `python fake_model.py run -p hi`.

It answers word by word: first, when thinking, its reasoning, then the text of the last message; "forever" is answered
until it is interrupted, "slow" after half a minute.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qwill.llm
from qwill.answer import Completion, StreamDelta
from qwill.errors import PromptTooLong


class FakeLLM:
    """What the command line needs of `LLM`."""

    def __init__(self, model: str = "demo", *, progress: Any = None, **options: Any) -> None:
        self.model, self.options = model, options
        self.config = SimpleNamespace(vision=object())
        self.asked: list[list[dict[str, Any]]] = []

    def chat(
        self, messages: list[dict[str, Any]], params: Any, *, thinking: bool, stream: bool = False, fps: Any = None
    ) -> Any:
        self.asked.append(list(messages))
        deltas = self._stream(messages, thinking)
        if stream:
            return deltas
        return list(deltas)[-1].completion

    def save_session(self, path: str, messages: list[dict[str, Any]], **_options: Any) -> int:
        Path(path).write_text(json.dumps(messages))
        return 7

    def load_session(self, path: str) -> list[dict[str, Any]]:
        return json.loads(Path(path).read_text())

    def _stream(self, messages: list[dict[str, Any]], thinking: bool) -> Iterator[StreamDelta]:
        content = messages[-1]["content"]
        media = [] if isinstance(content, str) else [part["type"] for part in content if part["type"] != "text"]
        text = content if isinstance(content, str) else content[-1]["text"]
        if text == "slow":
            print("(pondering)", file=sys.stderr, flush=True)
            time.sleep(30)
        if text == "too long":
            raise PromptTooLong("the prompt has 9 tokens and the context holds 8; shorten it")
        turns = "+".join(message["role"][0] for message in messages)
        reasoning = f"thinking about {text}" if thinking else ""
        if reasoning:
            yield StreamDelta("reasoning", reasoning)
        answer = ""
        words = iter(lambda: "on ", "") if text == "forever" else [f"{word} " for word in [turns, *media, text]]
        for word in words:
            answer += word
            yield StreamDelta("content", word)
            if text == "forever":
                time.sleep(0.01)
        yield StreamDelta("finish", completion=completion(answer, reasoning))


def completion(text: str, reasoning: str = "", finish_reason: str = "stop", **more: Any) -> Completion:
    """A finished answer with plausible figures."""
    fields: Mapping[str, Any] = {
        "tool_calls": [],
        "token_ids": [1, 2, 3],
        "logprobs": None,
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
        "timings": {
            "first_token_seconds": 0.5,
            "prefill_tokens_per_second": 10.0,
            "decode_tokens_per_second": 12.34,
        },
    }
    return Completion(text=text, reasoning=reasoning, finish_reason=finish_reason, **{**fields, **more})


if __name__ == "__main__":
    from qwill.cli import main

    qwill.llm.LLM = FakeLLM  # type: ignore[assignment,misc]
    sys.exit(main())
