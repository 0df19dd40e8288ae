"""What a model's files and options say of it, whether or not it is loaded."""

import asyncio
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from weakref import WeakKeyDictionary

from qwill import options
from qwill.engine.sampling_params import SamplingParams
from qwill.model.config import ModelConfig, model_config
from qwill.model.parameters import parameter_count
from qwill.server.models import Served
from qwill.text.chat_template import DEFAULT_TEMPLATE
from qwill.weights.checkpoint import Checkpoint, memory_needed
from qwill.weights.gguf.config import MODEL_TYPES
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint

ARCHITECTURES = {released: name for name, released in MODEL_TYPES.items()}
DRAFT_HEAD = "mtp.fc.weight"


@dataclass(frozen=True)
class Description:
    """What all dialects tell in their own words.

    - path: the folder or file; format: hf or gguf; bytes: of the weights; digest: another one for other files
    - architecture: as GGUF files call it; parameters: how many; quantization: the type that most of the weights have
    - context: tokens of a conversation, as this server has it; slots: answers at a time; drafts: whether it guesses
    - sampling: what holds for requests that say nothing; template: of conversations
    """

    path: Path
    format: str
    bytes: int
    digest: str
    modified: datetime
    architecture: str
    parameters: int
    quantization: str
    config: ModelConfig
    context: int
    slots: int
    drafts: bool
    sampling: SamplingParams
    template: str

    @property
    def sees(self) -> bool:
        """Whether the model takes pictures and videos."""
        return self.config.vision is not None


_described: "WeakKeyDictionary[Served, asyncio.Future[Description]]" = WeakKeyDictionary()


async def describe(served: Served) -> Description:
    """What is known of a model, read once, on another thread. Raises CheckpointError and other QwillErrors."""
    known = _described.get(served)
    if known is None or (known.done() and known.exception() is not None):
        checkpoint = served.worker.llm.checkpoint if served.worker is not None else None
        known = _described[served] = asyncio.ensure_future(asyncio.to_thread(_description, served, checkpoint))
    return await asyncio.shield(known)


def _description(served: Served, checkpoint: Checkpoint | None) -> Description:
    checkpoint = checkpoint or open_checkpoint(resolve_model(served.source))
    config = model_config(checkpoint.config, served.options.get("yarn"))
    has_head = DRAFT_HEAD in checkpoint.tensors
    count = parameter_count(config)
    return Description(
        path=checkpoint.path,
        format=checkpoint.format,
        bytes=memory_needed(checkpoint),
        digest=_digest(checkpoint),
        modified=datetime.fromtimestamp(checkpoint.path.stat().st_mtime, UTC),
        architecture=ARCHITECTURES[checkpoint.config["model_type"].removesuffix("_text")],
        parameters=count.text + count.vision + (count.mtp if has_head else 0),
        quantization=_main_type(checkpoint),
        config=config,
        context=options.context(served.options.get("max_context"), config),
        slots=served.options.get("max_sequences", options.DEFAULT_SEQUENCES),
        drafts=has_head and options.drafts(served.options.get("speculative", False)) != 0,
        sampling=SamplingParams().resolve(checkpoint.generation_config),
        template=checkpoint.chat_template or DEFAULT_TEMPLATE,
    )


def _digest(checkpoint: Checkpoint) -> str:
    """Names, shapes and time of the files stand for them: reading them all would take minutes."""
    state = checkpoint.path.stat()
    tensors = [(tensor.name, tensor.shape, tensor.type.name, tensor.source) for tensor in checkpoint.tensors]
    told = [str(checkpoint.path), state.st_size, state.st_mtime_ns, checkpoint.config, sorted(tensors)]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _main_type(checkpoint: Checkpoint) -> str:
    sizes: Counter[str] = Counter()
    for tensor in checkpoint.tensors:
        sizes[tensor.type.name] += tensor.nbytes
    return sizes.most_common(1)[0][0]
