"""The blocks of docs/clients.md for libraries run as they stand, and answer right by every way that they show."""

from collections.abc import Iterator

import pytest

from clients.conftest import Scripted, serving
from clients.programs import CACHE, NODE, Place, block, python

PYTHON = {"LiteLLM": 3, "LangChain": 4, "pydantic-ai": 3, "openai-agents": 1}  # library: ways to ask


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with serving(lambda messages, tools: "17 + 25 = 42", 4096, ("qwen3.5",)) as started:
        yield started


@pytest.mark.parametrize("library", PYTHON)
def test_python(place: Place, server: Scripted, library: str) -> None:
    said = place.run(python("libraries"), "-c", block(library, server.url)).stdout
    assert said.splitlines().count("17 + 25 = 42") == PYTHON[library]  # LiteLLM says more than it was asked


def test_ai_sdk(place: Place, server: Scripted) -> None:
    script = CACHE / "node" / "page.mjs"  # beside its packages
    script.write_text(block("AI SDK", server.url))
    assert place.run(str(NODE / "node"), str(script)).stdout == "17 + 25 = 42\n" * 5
