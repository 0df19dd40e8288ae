"""Libraries in Python and the AI SDK: the same seven questions by every dialect that a library can speak."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import CACHE, NODE, Place, drive
from clients.script import script

CONTEXT = 32_768
# Library: dialect or provider, and how the library tells that the prompt is too long.
LIBRARIES = {
    "litellm": {
        **dict.fromkeys(("openai", "anthropic"), "ContextWindowExceededError"),
        "ollama": "BadRequestError",  # of an Ollama server it knows no other
    },
    "openai_agents": dict.fromkeys(("responses", "chat"), "BadRequestError"),
    "pydantic_ai": dict.fromkeys(("chat", "responses", "anthropic", "ollama"), "ModelContextWindowExceededError"),
    "langchain": {
        "chat": "OpenAIContextOverflowError", "responses": "OpenAIContextOverflowError",
        "anthropic": "AnthropicContextOverflowError", "ollama": "ResponseError",
    },
    "ai_sdk": {
        **dict.fromkeys(("openai", "openai-compatible", "anthropic", "openrouter"), "AI_APICallError"),
        "ollama": "OllamaError",
    },
}  # fmt: skip
KINDS = [(library, kind) for library, kinds in LIBRARIES.items() for kind in kinds]
# pydantic-ai knows of no structure in the Anthropic dialect for models that it does not know.
NOT_OFFERED = {("pydantic_ai", "anthropic"): ("structure", "structure with tools")}


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with serving(script, CONTEXT) as started:
        yield started


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def told(
    request: pytest.FixtureRequest, server: Scripted, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, dict[str, Any]]:
    """The library, the kind, and what its drive told."""
    library, kind = request.param
    place = Place.within(tmp_path_factory.mktemp(library))
    server.recorder.clear()
    told = drive_ai_sdk(place, server.url, kind) if library == "ai_sdk" else drive(place, library, server.url, kind)
    server.running.until_idle()
    return library, kind, told


def drive_ai_sdk(place: Place, url: str, kind: str) -> dict[str, Any]:
    source = Path(q.__file__).with_name("ai_sdk_drive.mjs")
    beside_its_packages = CACHE / "node" / source.name
    beside_its_packages.write_text(source.read_text())
    questions = {name: getattr(q, name) for name in dir(q) if isinstance(getattr(q, name), str | dict)}
    questions["PICTURE"] = q.picture()
    asked = json.dumps({name: value for name, value in questions.items() if name.isupper()})
    done = place.run(str(NODE / "node"), str(beside_its_packages), url, kind, asked)
    return json.loads(done.stdout.splitlines()[-1])


def test_text(told: tuple[str, str, dict[str, Any]]) -> None:
    assert told[2]["text"] == {"whole": q.GREETING, "streamed": q.GREETING}


def test_tools_over_three_turns(told: tuple[str, str, dict[str, Any]]) -> None:
    assert told[2]["tools"] == {"called": q.CALLED, "final": q.COMPARED}


def test_structure(told: tuple[str, str, dict[str, Any]]) -> None:
    library, kind, cases = told
    if "structure" in NOT_OFFERED.get((library, kind), ()):
        assert cases["structure"]["raised"] == "UserError"
    else:
        assert cases["structure"] == q.ANNA
    assert cases.get("structure by tool", q.ANNA) == q.ANNA


def test_structure_after_a_call(told: tuple[str, str, dict[str, Any]]) -> None:
    library, kind, cases = told
    if library == "litellm":
        assert "structure with tools" not in cases  # it has no loop of its own
    elif "structure with tools" in NOT_OFFERED.get((library, kind), ()):
        assert cases["structure with tools"]["raised"] == "UserError"
    else:
        assert cases["structure with tools"] == q.ANNA


def test_picture(told: tuple[str, str, dict[str, Any]]) -> None:
    assert told[2]["picture"] == "A red circle."


def test_overflow(told: tuple[str, str, dict[str, Any]]) -> None:
    library, kind, cases = told
    assert cases["overflow"]["raised"] == LIBRARIES[library][kind]
    assert "prompt is too long" in cases["overflow"]["words"]


def test_cancelled_stream(told: tuple[str, str, dict[str, Any]], server: Scripted) -> None:
    assert told[2]["cancelled"] is True
    counting = [exchange for exchange in server.exchanges if q.COUNT in json.dumps(exchange.body)]
    assert [exchange.left for exchange in counting] == [True]


def test_nothing_but_the_overflow_is_refused(told: tuple[str, str, dict[str, Any]], server: Scripted) -> None:
    refused = [exchange for exchange in server.exchanges if exchange.status != 200]
    assert all(q.FAR in json.dumps(exchange.body) for exchange in refused)
    assert refused
