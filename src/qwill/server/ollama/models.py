"""What Ollama's API tells of models, and what it would do with their files."""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request
from starlette.responses import Response

from qwill.engine.sampling_params import DEFAULTS
from qwill.errors import QwillError
from qwill.server.descriptions import Description, describe
from qwill.server.errors import Refusal
from qwill.server.http import JSON, telling
from qwill.server.models import Models, Served
from qwill.server.names import TAG
from qwill.server.ollama.answers import PS_ANSWERS, REFUSED, SHOW_ANSWERS, TAGS_ANSWERS, VERSION_ANSWERS
from qwill.server.ollama.schemas import OllamaShowRequest
from qwill.server.routes import routes, service

log = logging.getLogger("qwill.server")
router = routes()
API_VERSION = "0.14.0"  # of Ollama, whose API this is; clients decide by it what they may ask
NEVER = "9999-12-31T23:59:59Z"  # clients want a time
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


@router.get("/api/version", responses=VERSION_ANSWERS, tags=["Ollama"])
async def version() -> Response:
    """The version of Ollama whose API this is."""
    return JSON({"version": API_VERSION})


@router.get("/api/tags", responses=TAGS_ANSWERS, tags=["Ollama"])
async def tags(request: Request) -> Response:
    """The models that can be asked, by all names that were given to them."""
    return JSON({"models": [await _listed(name, served) for name, served in service(request).models.names.listed]})


@router.get("/api/ps", responses=PS_ANSWERS, tags=["Ollama"])
async def loaded(request: Request) -> Response:
    """The models that are in memory."""
    entries = []
    models = service(request).models
    for served in models.all:
        worker = served.worker
        if worker is not None:
            more = {"expires_at": _leaves(models, served), "size_vram": 0, "context_length": worker.llm.max_context}
            entries.append(await _listed(served.name, served) | more)
    return JSON({"models": entries})


def _leaves(models: Models, served: Served) -> str:
    """When a model is unloaded if nobody asks it."""
    idle = models.keeps(served)
    if idle is None:
        return NEVER
    left = idle if served.leases else idle - (time.monotonic() - served.last_used)
    return _time(datetime.now(UTC) + timedelta(seconds=max(left, 0.0)))


@router.post("/api/show", responses=SHOW_ANSWERS, tags=["Ollama"])
async def show(request: Request, body: OllamaShowRequest) -> Response:
    """What a model is and can do."""
    served = service(request).models.find(body.model or body.name)
    described = await describe(served)
    response = JSON(
        {
            "modified_at": _time(described.modified),
            "template": described.template,
            "parameters": _parameters(described),
            "details": _details(described),
            "model_info": _info(served.name, described),
            "capabilities": ["completion", "tools", "thinking", *(["vision"] if described.sees else [])],
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


async def _listed(name: str, served: Served) -> dict[str, Any]:
    name = name if ":" in name else name + TAG
    entry: dict[str, Any] = {"name": name, "model": name}
    try:
        described = await describe(served)
    except QwillError as error:  # its files are gone or torn, which is no reason to leave out the others
        log.warning("model %s cannot be described: %s", served.name, error)
        return entry
    return entry | {
        "modified_at": _time(described.modified),
        "size": described.bytes,
        "digest": described.digest,
        "details": _details(described),
    }


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _details(described: Description) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": FORMATS.get(described.format, described.format),
        "family": described.architecture,
        "families": [described.architecture],
        "parameter_size": _human_count(described.parameters),
        "quantization_level": described.quantization,
    }


def _info(name: str, described: Description) -> dict[str, Any]:
    """Keys as in GGUF files. The context is the server's, since clients fill what they are told."""
    architecture, config, text = described.architecture, described.config, described.config.text
    own: dict[str, Any] = {
        "context_length": described.context,
        "embedding_length": text.hidden_size,
        "block_count": text.layers,
        "attention.head_count": text.attention_heads,
        "attention.head_count_kv": text.kv_heads,
    }
    if text.moe is not None:
        own |= {"expert_count": text.moe.experts, "expert_used_count": text.moe.top_k}
    if config.vision is not None:
        own |= {"vision.block_count": config.vision.depth, "vision.embedding_length": config.vision.hidden_size}
    general = {
        "general.architecture": architecture, "general.basename": name, "general.parameter_count": described.parameters,
    }  # fmt: skip
    return general | {f"{architecture}.{key}": value for key, value in own.items()}


def _parameters(described: Description) -> str:
    """What holds for requests that say nothing, an option on each line."""
    values = {OPTION_NAMES.get(name, name): getattr(described.sampling, name) for name in DEFAULTS}
    values |= {"num_ctx": described.context}
    return "\n".join(f"{name:<30} {value}" for name, value in values.items())


def _human_count(count: int) -> str:
    return f"{count / 1e9:.1f}B" if count >= 10**9 else f"{count / 1e6:.1f}M"
