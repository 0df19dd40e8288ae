"""What Ollama's API tells of models, and what it would do with their files."""

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import Request
from starlette.responses import Response

from qwill import options
from qwill.engine.sampling_params import DEFAULTS, SamplingParams
from qwill.errors import QwillError
from qwill.model.config import ModelConfig, model_config
from qwill.model.parameters import parameter_count
from qwill.server.errors import Refusal
from qwill.server.http import JSON, telling
from qwill.server.models import Served
from qwill.server.ollama.answers import PS_ANSWERS, REFUSED, SHOW_ANSWERS, TAGS_ANSWERS, VERSION_ANSWERS
from qwill.server.ollama.schemas import OllamaShowRequest
from qwill.server.routes import routes, service
from qwill.text.chat_template import DEFAULT_TEMPLATE
from qwill.weights.gguf_config import MODEL_TYPES
from qwill.weights.hub import resolve_model
from qwill.weights.load import Checkpoint, memory_needed, open_checkpoint

log = logging.getLogger("qwill.server")
router = routes()
API_VERSION = "0.14.0"  # of Ollama, whose API this is; clients decide by it what they may ask
TAG = ":latest"  # Ollama's names have one
NEVER = "9999-12-31T23:59:59Z"  # clients want a time
ARCHITECTURES = {released: name for name, released in MODEL_TYPES.items()}
FORMATS = {"hf": "safetensors"}
OPTION_NAMES = {"repetition_penalty": "repeat_penalty"}  # where Ollama has another one

# What needs the machine that the models lie on.
MENDS = {
    "/api/pull": "models are not fetched over HTTP; on the server's machine: qwill pull MODEL, then qwill serve MODEL",
    "/api/push": "models are not published from here; get one with: qwill pull MODEL",
    "/api/create": "models are not made over HTTP; get one with qwill pull MODEL and start: qwill serve NAME=MODEL",
    "/api/blobs/{digest}": "files are not taken over HTTP; get a model with: qwill pull MODEL",
    "/api/copy": "names are given when the server starts: qwill serve NAME=MODEL",
    "/api/delete": "models are not deleted over HTTP; start the server without it: qwill serve OTHER",
}


@dataclass(frozen=True)
class Description:
    """What a model's files and options say. `bytes` are those of the weights."""

    bytes: int
    digest: str
    modified: str
    details: dict[str, Any]
    info: dict[str, Any]
    capabilities: list[str]
    parameters: str
    template: str


_described: WeakKeyDictionary[Served, Description] = WeakKeyDictionary()


@router.head("/api/version", include_in_schema=False)
@router.get("/api/version", responses=VERSION_ANSWERS, tags=["Ollama"])
async def version() -> Response:
    """The version of Ollama whose API this is."""
    return JSON({"version": API_VERSION})


@router.head("/api/tags", include_in_schema=False)
@router.get("/api/tags", responses=TAGS_ANSWERS, tags=["Ollama"])
async def tags(request: Request) -> Response:
    """The models that can be asked."""
    return JSON({"models": [await _listed(served) for served in service(request).models.all]})


@router.get("/api/ps", responses=PS_ANSWERS, tags=["Ollama"])
async def loaded(request: Request) -> Response:
    """The models that are in memory."""
    entries = []
    for served in service(request).models.all:
        if served.worker is not None:
            context = served.worker.llm.max_context
            more = {"expires_at": _leaves(request, served), "size_vram": 0, "context_length": context}
            entries.append(await _listed(served) | more)
    return JSON({"models": entries})


def _leaves(request: Request, served: Served) -> str:
    """When a model is unloaded if nobody asks it."""
    idle = service(request).models.idle_seconds
    if idle is None:
        return NEVER
    left = idle if served.leases else idle - (time.monotonic() - served.last_used)
    return (datetime.now(UTC) + timedelta(seconds=max(left, 0.0))).isoformat()


@router.post("/api/show", responses=SHOW_ANSWERS, tags=["Ollama"])
async def show(request: Request, body: OllamaShowRequest) -> Response:
    """What a model is and can do."""
    described = await _describe(service(request).models.find(body.model or body.name))
    response = JSON(
        {
            "modified_at": described.modified,
            "template": described.template,
            "parameters": described.parameters,
            "details": described.details,
            "model_info": described.info,
            "capabilities": described.capabilities,
        }
    )
    return telling(response, body.ignored())


async def refuse(request: Request) -> Response:
    """Not done over HTTP; the answer says what to do instead."""
    raise Refusal(400, MENDS[request.scope["route"].path])


for path in MENDS:
    router.add_api_route(
        path, refuse, methods=["DELETE" if path == "/api/delete" else "POST"], responses=REFUSED, tags=["Ollama"]
    )


async def _listed(served: Served) -> dict[str, Any]:
    name = served.name if ":" in served.name else served.name + TAG
    entry: dict[str, Any] = {"name": name, "model": name}
    try:
        described = await _describe(served)
    except QwillError as error:  # its files are gone or torn, which is no reason to leave out the others
        log.warning("model %s cannot be described: %s", served.name, error)
        return entry
    return entry | {
        "modified_at": described.modified,
        "size": described.bytes,
        "digest": described.digest,
        "details": described.details,
    }


async def _describe(served: Served) -> Description:
    """What is known of a model, whether or not it is loaded. Raises ModelNotFound, CheckpointError."""
    if served not in _described:
        checkpoint = served.worker.llm.checkpoint if served.worker is not None else None
        _described[served] = await asyncio.to_thread(_description, served, checkpoint)
    return _described[served]


def _description(served: Served, checkpoint: Checkpoint | None) -> Description:
    checkpoint = checkpoint or open_checkpoint(resolve_model(served.source))
    config = model_config(checkpoint.config, served.options.get("yarn"))
    max_context = options.context(served.options.get("max_context"), config)
    architecture = ARCHITECTURES[checkpoint.config["model_type"].removesuffix("_text")]
    count = parameter_count(config)
    parameters = count.text + count.vision + (count.mtp if "mtp.fc.weight" in checkpoint.tensors else 0)
    return Description(
        bytes=memory_needed(checkpoint),
        digest=_digest(checkpoint),
        modified=datetime.fromtimestamp(checkpoint.path.stat().st_mtime, UTC).isoformat().replace("+00:00", "Z"),
        details={
            "parent_model": "",
            "format": FORMATS.get(checkpoint.format, checkpoint.format),
            "family": architecture,
            "families": [architecture],
            "parameter_size": _human_count(parameters),
            "quantization_level": _main_type(checkpoint),
        },
        info=_info(architecture, config, parameters, max_context),
        capabilities=["completion", "tools", "thinking", *(["vision"] if config.vision is not None else [])],
        parameters=_parameters(checkpoint, max_context),
        template=checkpoint.chat_template or DEFAULT_TEMPLATE,
    )


def _info(architecture: str, config: ModelConfig, parameters: int, max_context: int) -> dict[str, Any]:
    """Keys as in GGUF files. The context is the server's, since clients fill what they are told."""
    text = config.text
    own: dict[str, Any] = {
        "context_length": max_context,
        "embedding_length": text.hidden_size,
        "block_count": text.layers,
        "attention.head_count": text.attention_heads,
        "attention.head_count_kv": text.kv_heads,
    }
    if text.moe is not None:
        own |= {"expert_count": text.moe.experts, "expert_used_count": text.moe.top_k}
    if config.vision is not None:
        own |= {"vision.block_count": config.vision.depth, "vision.embedding_length": config.vision.hidden_size}
    general = {"general.architecture": architecture, "general.parameter_count": parameters}
    return general | {f"{architecture}.{key}": value for key, value in own.items()}


def _parameters(checkpoint: Checkpoint, max_context: int) -> str:
    """What holds for requests that say nothing, an option on each line."""
    params = SamplingParams().resolve(checkpoint.generation_config)
    values = {OPTION_NAMES.get(name, name): getattr(params, name) for name in DEFAULTS} | {"num_ctx": max_context}
    return "\n".join(f"{name:<30} {value}" for name, value in values.items())


def _digest(checkpoint: Checkpoint) -> str:
    """Another one for other files. Their names, shapes and time stand for them: reading them all would take minutes."""
    state = checkpoint.path.stat()
    tensors = [(tensor.name, tensor.shape, tensor.type.name, tensor.source) for tensor in checkpoint.tensors]
    told = [str(checkpoint.path), state.st_size, state.st_mtime_ns, checkpoint.config, sorted(tensors)]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _main_type(checkpoint: Checkpoint) -> str:
    """The type that most of the weights have."""
    sizes: Counter[str] = Counter()
    for tensor in checkpoint.tensors:
        sizes[tensor.type.name] += tensor.nbytes
    return sizes.most_common(1)[0][0]


def _human_count(count: int) -> str:
    return f"{count / 1e9:.1f}B" if count >= 10**9 else f"{count / 1e6:.1f}M"
