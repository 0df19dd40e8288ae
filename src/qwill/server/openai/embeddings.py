"""/v1/embeddings: vectors of texts or token ids."""

import base64
from typing import Any, Literal

import numpy as np
from fastapi import Request
from pydantic import field_validator
from starlette.responses import Response

from qwill.server.asks import Ask, Embedding
from qwill.server.openai.answers import EmbeddingAnswer
from qwill.server.routes import routes, service
from qwill.server.schemas import Strict, answered
from qwill.server.vectors import checked, embedded, listed, noted, prompt_tokens

router = routes()


class EmbeddingRequest(Strict):
    """A text, token ids, or a list of either."""

    IGNORED = frozenset({"user"})
    model: str | None = None
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: Any = None

    @field_validator("input", mode="before")
    @classmethod
    def _check_input(cls, value: Any) -> Any:
        """One complaint, where pydantic would have one for each type."""
        if isinstance(value, str) or (isinstance(value, list) and (_are(str, value) or _are_ids(value))):
            return value
        if isinstance(value, list) and all(_are_ids(one) for one in value):
            return value
        raise ValueError("must be a text, a list of texts, token ids or a list of lists of token ids")


@router.post("/v1/embeddings", responses=answered(EmbeddingAnswer), tags=["OpenAI"])
async def embeddings(request: Request, body: EmbeddingRequest) -> Response:
    """A vector of length 1 for each input, the mean of its last hidden states; these models were not trained for it."""
    given: Any = (
        [body.input] if isinstance(body.input, str) or isinstance(next(iter(body.input), None), int) else body.input
    )
    ask = Ask(body.model, prompts=checked(given), embedding=Embedding(body.dimensions), ignored=body.ignored())
    asked = await embedded(request, ask)
    tokens = prompt_tokens(asked)
    data = (
        {"object": "embedding", "index": index, "embedding": _coded(answer.embedding, body.encoding_format)}
        for index, answer in enumerate(asked.job.answers)
    )
    usage = {"prompt_tokens": tokens, "total_tokens": tokens} | (service(request).watch.cost(asked) or {})
    told = {"object": "list", "model": asked.model, "usage": usage}
    return noted(await listed(told, "data", data), asked.ignored)


def _are(kind: type, values: list[Any]) -> bool:
    return all(type(value) is kind for value in values)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and _are(int, value)


def _coded(vector: np.ndarray, form: str | None) -> list[float] | str:
    """vector [dimensions] f32: as numbers, or as its bytes in base64."""
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
