"""`llm`, the program of the command line, in the chat dialect."""

import json
from collections.abc import Iterator

import pytest

from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import Place, block, python
from clients.script import script

CONTEXT = 32_768
FUNCTIONS = """
def weather(city: str) -> int:
    "Degrees in a city."
    return {"Paris": 18, "Rome": 24}[city]

def subtract(a: int, b: int) -> int:
    "a - b."
    return a - b
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with serving(script, CONTEXT, ("qwen3.5",)) as started:
        yield started


@pytest.fixture
def configured(place: Place, server: Scripted) -> Place:
    folder = place.home / ".config" / "io.datasette.llm"
    folder.mkdir(parents=True)
    (folder / "extra-openai-models.yaml").write_text(block("llm", server.url))
    server.recorder.clear()
    return place


def command(*words: str) -> list[str]:
    return [python("libraries"), "-m", "llm", "prompt", "--model", "qwen3.5", *words]


def llm(place: Place, *words: str) -> str:
    return place.run(*command(*words)).stdout.strip()


def test_text(configured: Place, server: Scripted) -> None:
    assert llm(configured, q.GREET) == q.GREETING
    assert llm(configured, "--no-stream", q.GREET) == q.GREETING
    assert [exchange.body.get("stream", False) for exchange in server.exchanges] == [True, False]


def test_tools_over_three_turns(configured: Place, server: Scripted) -> None:
    assert llm(configured, "--functions", FUNCTIONS, "--chain-limit", "6", q.COMPARE) == q.COMPARED
    calls = [call for message in server.exchanges[-1].body["messages"] for call in message.get("tool_calls", [])]
    called = [[call["function"]["name"], json.loads(call["function"]["arguments"])] for call in calls]
    assert called == q.CALLED


def test_structure(configured: Place) -> None:
    assert json.loads(llm(configured, "--schema", json.dumps(q.PERSON), q.ABOUT_ANNA)) == q.ANNA


def test_picture(configured: Place) -> None:
    assert llm(configured, "--attachment", str(q.PICTURE), q.SEEN) in (
        "Circle.",
        "A red circle.",
    )  # it asks before it shows


def test_conversation_goes_on(configured: Place, server: Scripted) -> None:
    llm(configured, q.GREET)
    assert llm(configured, "--continue", q.GREET) == q.GREETING
    assert [message["role"] for message in server.exchanges[-1].body["messages"]] == ["user", "assistant", "user"]


def test_overflow_is_told(configured: Place) -> None:
    (configured.work / "long.txt").write_text(q.FAR)
    done = configured.run(*command("--fragment", "long.txt", q.GREET), ends_well=False)
    assert done.returncode == 1
    assert "prompt is too long" in done.stderr


def test_stopped_in_an_answer(configured: Place, server: Scripted) -> None:
    server.breaks_off(configured, *command(q.COUNT))
