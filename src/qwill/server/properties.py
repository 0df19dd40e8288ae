"""How the server is set up and what it works on, as vLLM and llama.cpp tell it: /version, /props, /slots; and the text
that a conversation becomes, /apply-template.
"""

import asyncio
from typing import Any

from fastapi import Request
from pydantic import BaseModel, RootModel
from starlette.responses import Response

from qwill import __version__
from qwill.engine.request import Request as Running
from qwill.engine.sampling_params import SamplingParams
from qwill.server.descriptions import Description, describe
from qwill.server.errors import Refusal
from qwill.server.http import JSON, telling
from qwill.server.models import Served
from qwill.server.openai.asking import chat_ask
from qwill.server.openai.chat_schemas import ChatRequest
from qwill.server.routes import routes, service
from qwill.server.schemas import answered

router = routes()
NO_TASK = -1
AS_MANY_AS_FIT = ANY_SEED = -1


class ServerVersion(BaseModel):
    """The version of qwill."""

    version: str


class SlotParameters(BaseModel):
    """How an answer is sampled. `n_predict` and `max_tokens` are its most tokens, -1 for as many as fit."""

    n_predict: int
    max_tokens: int
    seed: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    presence_penalty: float
    frequency_penalty: float
    ignore_eos: bool
    stream: bool


class SlotProgress(BaseModel):
    """How far an answer has come, in tokens."""

    has_next_token: bool
    n_remain: int
    n_decoded: int


class Slot(BaseModel):
    """A place for one answer. `n_ctx`: tokens of the context, which a prompt and its answer share."""

    id: int
    id_task: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    params: SlotParameters
    next_token: SlotProgress
    n_prompt_tokens: int
    n_prompt_tokens_processed: int
    n_prompt_tokens_cache: int


class Slots(RootModel[list[Slot]]):
    """All places of a model."""


class SeenModalities(BaseModel):
    """What the model takes beside text."""

    vision: bool
    video: bool
    audio: bool


class Properties(BaseModel):
    """A model and how it is served."""

    default_generation_settings: Slot
    total_slots: int
    model_alias: str
    model_path: str
    n_ctx: int
    n_ctx_train: int
    chat_template: str
    modalities: SeenModalities
    build_info: str
    is_sleeping: bool


class TemplatedPrompt(BaseModel):
    """The text of a prompt."""

    prompt: str


@router.get("/version", tags=["operation"], responses=answered(ServerVersion))
async def version() -> Response:
    """The version of qwill."""
    return JSON({"version": __version__})


@router.get("/props", tags=["operation"], responses=answered(Properties))
async def properties(request: Request, model: str | None = None) -> Response:
    """A model, the first one unless `model` names another, and how it is served. It need not be loaded."""
    served = service(request).models.find(model)
    described = await describe(served)
    return JSON(
        {
            "default_generation_settings": _slot(0, described, None),
            "total_slots": described.slots,
            "model_alias": served.name,
            "model_path": str(described.path),
            "n_ctx": described.context,
            "n_ctx_train": described.config.text.max_position_embeddings,
            "chat_template": described.template,
            "modalities": {"vision": described.sees, "video": described.sees, "audio": False},
            "build_info": f"qwill-{__version__}",
            "is_sleeping": served.worker is None,
        }
    )


@router.get("/slots", tags=["operation"], responses=answered(Slots))
async def slots(request: Request, model: str | None = None, fail_on_no_slot: bool = False) -> Response:
    """What each place for an answer does. With `fail_on_no_slot` 503 where none is free. Texts are not told."""
    served = service(request).models.find(model)
    described = await describe(served)
    busy = {running.slot: running for running in _running(served)}
    told = [_slot(number, described, busy.get(number)) for number in range(described.slots)]
    if fail_on_no_slot and all(slot["is_processing"] for slot in told):
        raise Refusal(503, "all slots are in use; send this again later", "server_error", headers={"Retry-After": "1"})
    return JSON(told)


@router.post("/apply-template", tags=["tokens"], responses=answered(TemplatedPrompt))
async def apply_template(request: Request, body: ChatRequest) -> Response:
    """The text that a chat request's conversation and tools become, as the model reads it; nothing is answered."""
    ask = chat_ask(body)
    ids, worker = await service(request).prompt_tokens(ask)
    tokenizer = worker.llm.tokenizer
    assert tokenizer is not None  # without one there are no prompts of conversations
    return telling(JSON({"prompt": await asyncio.to_thread(tokenizer.decode, ids, skip_special=False)}), ask.ignored)


def _running(served: Served) -> list[Running]:
    """Read while the engine's thread goes on: what is under way at some moment of a step."""
    return list(served.worker.llm.engine.scheduler.running) if served.worker is not None else []


def _slot(number: int, described: Description, running: Running | None) -> dict[str, Any]:
    prompt = len(running.prompt.token_ids) if running is not None else 0
    written = len(running.output_ids) if running is not None else 0
    most = running.max_tokens if running is not None else None
    params = running.params if running is not None else described.sampling
    return {
        "id": number,
        "id_task": running.arrival if running is not None else NO_TASK,
        "n_ctx": described.context,
        "speculative": described.drafts,
        "is_processing": running is not None,
        "params": _parameters(params, most, running is not None and running.streamed),
        "next_token": {
            "has_next_token": running is not None,
            "n_remain": AS_MANY_AS_FIT if most is None else max(most - written, 0),
            "n_decoded": written,
        },
        "n_prompt_tokens": prompt,
        "n_prompt_tokens_processed": min(running.computed, prompt) if running is not None else 0,
        "n_prompt_tokens_cache": running.cached if running is not None else 0,
    }


def _parameters(params: SamplingParams, most: int | None, streamed: bool) -> dict[str, Any]:
    tokens = AS_MANY_AS_FIT if most is None else most
    return {
        "n_predict": tokens, "max_tokens": tokens, "seed": ANY_SEED if params.seed is None else params.seed,
        "temperature": params.temperature, "top_k": params.top_k, "top_p": params.top_p, "min_p": params.min_p,
        "repeat_penalty": params.repetition_penalty, "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty, "ignore_eos": params.ignore_eos, "stream": streamed,
    }  # fmt: skip
