"""What all dialects share: from what a request asks for to answers under way, and what is counted of them."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from qwill.answer import Answer
from qwill.engine.sampling_params import SamplingParams
from qwill.guide import ToolChoice
from qwill.prompt import PromptOptions
from qwill.server.errors import Refusal
from qwill.server.keys import Key
from qwill.server.models import Models, Served
from qwill.server.settings import Settings
from qwill.server.sources import Sources
from qwill.server.warm import WARMING
from qwill.server.watch import Watch
from qwill.server.worker import Job, Worker

T = TypeVar("T")
PREPARING = 4  # prompts that are made at a time
SHORT = 1000  # characters of a prompt that is made where it is asked for


@dataclass(frozen=True)
class Ask:
    """What a request asks for, whatever its dialect.

    Either `messages`, in the OpenAI form, or `prompts`, texts or token ids that are continued. Each gets `choices`
    answers, in that order. `thinking` None leaves it to the model. `keep_seconds`: how long the model is to be kept
    when nobody asks it any more; None leaves that to others.
    """

    model: str | None
    messages: Sequence[Mapping[str, Any]] | None = None
    prompts: Sequence[str | Sequence[int]] = ()
    params: SamplingParams = field(default_factory=SamplingParams)
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: ToolChoice = "auto"
    most_calls: int | None = None
    thinking: bool | None = None
    options: PromptOptions = field(default_factory=PromptOptions)
    choices: int = 1
    streamed: bool = False
    priority: int = 0
    keep_seconds: float | None = None

    @property
    def thinks(self) -> bool:
        """Whether the model is to reason first; its template may have another view."""
        return self.thinking is not False

    @property
    def count(self) -> int:
        """Answers in all."""
        return self.choices * (1 if self.messages is not None else len(self.prompts))


@dataclass(frozen=True)
class Caller:
    """Who asks: a key, and the id of the request."""

    key: Key
    request_id: str


@dataclass(eq=False)
class Asked:
    """A request that is being answered. Whoever got it must iterate its job to the end, or cancel it."""

    ask: Ask
    caller: Caller
    served: Served
    job: Job
    started: float
    id: str = ""

    def named(self, id: str) -> str:
        """Notes by which name the client knows the answers, and returns it."""
        self.id = id
        return id


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
            ask = replace(ask, params=replace(ask.params, max_tokens=1), choices=1)
        started = time.perf_counter()
        served, worker = await self.models.lease(ask.model, ask.keep_seconds)
        try:
            worker.check_room(ask.count)
            answers = await self._make(_answers, worker, ask)
            job = worker.submit(answers, ask.streamed)
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
        if len(ask.prompts) > limits.texts:
            raise Refusal(400, f"a request may have {limits.texts} prompts, not {len(ask.prompts)}", param="prompt")
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


def _answers(worker: Worker, ask: Ask) -> list[Answer]:
    """Answers to each prompt, with seeds of their own where the request has one and asks for several."""
    answers = []
    for prompt in [None] if ask.messages is not None else ask.prompts:
        for choice in range(ask.choices):
            params = ask.params
            if choice and params.seed is not None:
                params = replace(params, seed=(params.seed + choice) % 2**63)
            answers.append(_answer(worker, ask, prompt, params))
    return answers


def _prompt_tokens(worker: Worker, ask: Ask) -> list[int]:
    assert ask.messages is not None
    return worker.llm.prompt_tokens(ask.messages, tools=ask.tools, thinking=ask.thinks, options=ask.options)


def _answer(worker: Worker, ask: Ask, prompt: str | Sequence[int] | None, params: SamplingParams) -> Answer:
    if prompt is not None:
        answer = worker.llm.answer(prompt, params)
    else:
        assert ask.messages is not None
        answer = worker.llm.reply(
            ask.messages, params, tools=ask.tools, tool_choice=ask.tool_choice,
            thinking=ask.thinks, options=ask.options, most_calls=ask.most_calls,
        )  # fmt: skip
    answer.request.priority = ask.priority
    return answer
