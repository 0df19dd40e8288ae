"""What a request asks for in words of no dialect, and the request while it is answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwill.engine.sampling_params import SamplingParams
from qwill.guide import ToolChoice
from qwill.prompt import PromptOptions
from qwill.server.keys import Key
from qwill.server.models import Served
from qwill.server.tools import Known
from qwill.server.worker import Job


@dataclass(frozen=True)
class Embedding:
    """How prompts become vectors: with how many dimensions, and whether of too long ones the beginning will do."""

    dimensions: int | None = None
    truncate: bool = False


@dataclass(frozen=True)
class Ask:
    """What a request asks for, whatever its dialect.

    Either `messages`, in the OpenAI form, or `prompts`, texts or token ids that are continued, or with `embedding` only
    read. Each gets `choices` answers, in that order. `thinking` None leaves it to the model. `ignored` names what came
    and means nothing here. `told_as`: tools that the client knows otherwise, by the names that the model calls them by.
    `keep_seconds`: how long the model is kept when nobody asks it any more; None leaves that to others. `lora`: scales
    of adapters by their numbers, in place of the adapter that `model` names.
    """

    model: str | None
    messages: Sequence[Mapping[str, Any]] | None = None
    prompts: Sequence[str | Sequence[int]] = ()
    params: SamplingParams = field(default_factory=SamplingParams)
    tools: Sequence[Mapping[str, Any]] | None = None
    tool_choice: ToolChoice = "auto"
    told_as: Mapping[str, Known] = field(default_factory=dict)
    most_calls: int | None = None
    thinking: bool | None = None
    options: PromptOptions = field(default_factory=PromptOptions)
    choices: int = 1
    streamed: bool = False
    priority: int = 0
    ignored: Sequence[str] = ()
    keep_seconds: float | None = None
    embedding: Embedding | None = None
    lora: Mapping[int, float] | None = None

    @property
    def thinks(self) -> bool:
        """Whether the model is to reason first; its template may have another view."""
        return self.thinking is not False

    @property
    def count(self) -> int:
        """Answers in all."""
        return self.choices * (1 if self.messages is not None else len(self.prompts))

    def at_once(self, most: int) -> int:
        """How many of them a model that answers at most so many at a time has at once. Where there are many prompts,
        one place is left to others."""
        return min(self.count, max(self.choices, most - 1))


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

    @property
    def model(self) -> str:
        """The name of the model, or of the adapter that was asked for in its place."""
        return self.served.adapter(self.ask.model) or self.served.name

    def named(self, id: str) -> str:
        """Notes by which name the client knows the answers, and returns it."""
        self.id = id
        return id

    @property
    def ignored(self) -> list[str]:
        """Names of what came and means nothing here, and of what was asked for and cannot be held to."""
        return [*self.ask.ignored, *(name for answer in self.job.answers for name in answer.left_out)]
