"""From what a request asks for to answers under way, the same for all dialects."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from qwill import adapters
from qwill.answer import Answer
from qwill.engine.sampling_params import SamplingParams
from qwill.server.asks import Ask, Asked, Caller
from qwill.server.errors import Refusal
from qwill.server.models import Models
from qwill.server.settings import Settings
from qwill.server.sources import Sources
from qwill.server.warm import WARMING
from qwill.server.watch import Watch
from qwill.server.worker import Worker

T = TypeVar("T")
PREPARING = 4  # prompts that are made at a time
SHORT = 1000  # characters of a prompt that is made where it is asked for


class Service:
    """The models of a server and what requests to them are counted by."""

    def __init__(self, settings: Settings, models: Models, watch: Watch) -> None:
        self.settings = settings
        self.models = models
        self.watch = watch
        self._sources = Sources(settings)
        self._preparing = ThreadPoolExecutor(PREPARING, "qwill-prompt")
        self.under_way: set[Asked] = set()

    async def begin(self, ask: Ask, caller: Caller) -> Asked:
        """Prepares and queues the answers. Raises Refusal or a QwillError, before anything is computed."""
        self._check(ask)
        if caller.key is WARMING:
            ask = replace(ask, params=replace(ask.params, max_tokens=1, min_tokens=0), choices=1)
        started = time.perf_counter()
        served, worker = await self.models.lease(ask.model, ask.keep_seconds)
        try:
            at_once = ask.at_once(worker.llm.max_sequences)
            worker.check_room(at_once)
            answers = await self._make(partial(_answers, served.adapter(ask.model)), worker, ask)
            job = worker.submit(answers, ask.streamed, at_once)
        except BaseException:
            self.models.release(served)
            raise
        asked = Asked(ask, caller, served, job, started)
        self.watch.begun(asked)
        self.under_way.add(asked)
        job.on_end(lambda: self._ended(asked))
        return asked

    async def prompt_tokens(self, ask: Ask) -> tuple[list[int], Worker]:
        """The token ids of a conversation's prompt, and whose they are. It need not fit into the context."""
        served, worker = await self.models.lease(ask.model)
        try:
            return await self._make(_prompt_tokens, worker, ask), worker
        finally:
            self.models.release(served)

    async def _make(self, make: Callable[[Worker, Ask], T], worker: Worker, ask: Ask) -> T:
        """What is made of a prompt. Media are fetched here, and prompts made on other threads unless they are short."""
        if ask.messages is not None:
            messages = await self._sources.resolve(ask.messages)
            options = replace(ask.options, seconds=self.settings.limits.media_seconds)
            ask = replace(ask, messages=messages, options=options)
        if _is_short(ask):
            return make(worker, ask)
        return await asyncio.get_running_loop().run_in_executor(self._preparing, make, worker, ask)

    async def close(self) -> None:
        """Unloads the models and writes the last counts."""
        await self.models.close()
        self._preparing.shutdown(wait=False)
        self.watch.close()

    def _check(self, ask: Ask) -> None:
        limits = self.settings.limits
        if not 1 <= ask.choices <= limits.choices:
            raise Refusal(400, f"n must be from 1 to {limits.choices}, not {ask.choices}", param="n")
        if ask.embedding is not None and ask.count > limits.embeddings:
            raise Refusal(400, f"a request may have {limits.embeddings} inputs, not {ask.count}", param="input")
        if ask.embedding is None and ask.count > limits.texts:
            raise Refusal(
                400, f"a request may have {limits.texts} answers to its prompts in all, not {ask.count}", param="prompt"
            )
        if len(ask.params.stop) > limits.texts:
            raise Refusal(400, f"there may be {limits.texts} stop strings, not {len(ask.params.stop)}", param="stop")

    def _ended(self, asked: Asked) -> None:
        self.under_way.discard(asked)
        self.models.release(asked.served)
        self.watch.ended(asked)


def _is_short(ask: Ask) -> bool:
    """Whether to make the prompt takes no longer than to have another thread do it, which is half a millisecond."""
    if ask.tools or ask.params.structure is not None or ask.choices > 1 or len(ask.prompts) > 1:
        return False
    texts: list[Any] = [*(message.get("content", "") for message in ask.messages or ()), *ask.prompts]
    return all(isinstance(text, str) for text in texts) and sum(map(len, texts)) <= SHORT


def _answers(adapter: str | None, worker: Worker, ask: Ask) -> list[Answer]:
    """Answers to each prompt, with an adapter if it is given, and with seeds of their own where the request has one and
    asks for several.
    """
    answers = []
    for prompt in [None] if ask.messages is not None else ask.prompts:
        for choice in range(ask.choices):
            params = ask.params
            if choice and params.seed is not None:
                params = replace(params, seed=(params.seed + choice) % 2**63)
            answers.append(_answer(worker, ask, prompt, params, adapter if ask.lora is None else ask.lora))
    return answers


def _prompt_tokens(worker: Worker, ask: Ask) -> list[int]:
    assert ask.messages is not None
    return worker.llm.prompt_tokens(ask.messages, tools=ask.tools, thinking=ask.thinks, options=ask.options)


def _answer(
    worker: Worker, ask: Ask, prompt: str | Sequence[int] | None, params: SamplingParams, lora: adapters.Asked
) -> Answer:
    if prompt is not None and ask.embedding is not None:
        answer = worker.llm.embedding(prompt, ask.embedding.dimensions, truncate=ask.embedding.truncate, lora=lora)
    elif prompt is not None:
        answer = worker.llm.answer(prompt, params, lora=lora)
    else:
        assert ask.messages is not None
        answer = worker.llm.reply(
            ask.messages, params, tools=ask.tools, tool_choice=ask.tool_choice,
            thinking=ask.thinks, options=ask.options, most_calls=ask.most_calls, lora=lora,
        )  # fmt: skip
    answer.request.priority = ask.priority
    return answer
