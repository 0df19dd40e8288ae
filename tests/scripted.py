"""A model that says what a script tells it. Prompts are rendered and read, tokens drawn, parsed and told as ever: only
the choice among tokens is taken from the model, so what an agent sees of it is the real server."""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from qwill.answer import Answer
from qwill.engine.rules import Rules
from qwill.llm import LLM
from qwill.weights.checkpoint import Checkpoint

END_OF_TURN = "<|im_end|>"
LONGEST = 262_144  # tokens that the model may be asked to read; it was trained for fewer, which a script does not mind
Message = Mapping[str, Any]
# What is said next in a conversation, from its messages and tools as `LLM.reply` gets them; None is up to the model.
Script = Callable[[Sequence[Message], Sequence[Mapping[str, Any]]], str | None]


class ScriptedLLM(LLM):
    """Answers to conversations are the script's, after a closed reasoning where the template opens one."""

    def __init__(self, checkpoint: Checkpoint, *, script: Script, **options: Any) -> None:
        text = checkpoint.config["text_config"] | {"max_position_embeddings": LONGEST}
        super().__init__(replace(checkpoint, config=checkpoint.config | {"text_config": text}), **options)
        self._script = script

    def reply(self, messages: Sequence[Message], *arguments: Any, **more: Any) -> Answer:
        answer = super().reply(messages, *arguments, **more)
        said = self._script(messages, more.get("tools") or [])
        if said is not None:
            assert answer.router is not None
            assert self.tokenizer is not None
            thought = "To be done.\n</think>\n\n" if answer.router.reasoning else ""
            tokens = self.tokenizer.encode(thought + said + END_OF_TURN, allow_special=True)
            sampler = answer.request.sampler
            sampler.rules = ScriptedRules(tokens, sampler.rules or Rules(), sampler.vocab_size)
        return answer


class ScriptedRules(Rules):
    """Forces the tokens of a script as far as the request's own rules allow them. What they forbid ends the script and
    is left to the model, so that a structure that rules out what the script says is seen in the answer."""

    def __init__(self, tokens: Sequence[int], rules: Rules, vocab_size: int) -> None:
        self._left = deque(tokens)
        self._rules = rules
        self._any = np.zeros(vocab_size, np.float32)

    @property
    def finish_reason(self) -> str | None:  # type: ignore[override]
        return self._rules.finish_reason

    @property
    def forced(self) -> int | None:
        if self._rules.forced is not None or not self._left:
            return self._rules.forced
        if self._rules.restrict(self._any)[self._left[0]] < 0:
            self._left.clear()
            return None
        return self._left[0]

    def restrict(self, logits: np.ndarray) -> np.ndarray:
        return self._rules.restrict(logits)

    def foresee(self, logits: np.ndarray, drafts: Sequence[int]) -> np.ndarray:
        return self._rules.foresee(logits, drafts)

    def commit(self, token: int) -> None:
        self._rules.commit(token)
        if self._left and self._left[0] == token:
            self._left.popleft()


def loads(script: Script) -> Callable[..., LLM]:
    """What `Models` takes as `load`."""
    return partial(ScriptedLLM, script=script)


def call(name: str, /, **arguments: Any) -> str:
    """A call as the model writes it."""
    parameters = [
        f"<parameter={key}>\n{value if isinstance(value, str) else json.dumps(value)}\n</parameter>\n"
        for key, value in arguments.items()
    ]
    return f"<tool_call>\n<function={name}>\n{''.join(parameters)}</function>\n</tool_call>"


def text_of(message: Message) -> str:
    """The text of a message's content."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def results(messages: Sequence[Message]) -> list[str]:
    """What the tools have answered since the user's last question."""
    found: list[str] = []
    for message in messages:
        if message.get("role") == "user":
            found = []
        elif message.get("role") == "tool":
            found.append(text_of(message))
    return found
