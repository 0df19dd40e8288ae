"""opencode: its own tools, in the chat dialect by the AI SDK."""

import json
from collections.abc import Iterator

import pytest
from scripted import call

from clients import agents
from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import Place, block, program

# A first prompt of opencode has 16,000 tokens of the model's vocabulary.
CONTEXT = 24_000
HANDS = agents.Hands(
    write=lambda file, text: call("write", filePath=file, content=text),
    shell=lambda command: call("bash", command=command, description="Runs it"),
    read=lambda file: call("read", filePath=file),
    look=lambda file: call("read", filePath=file),
)
QUIET = dict.fromkeys(
    ("OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_LSP_DOWNLOAD"), "1"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.within(tmp_path_factory.mktemp("opencode"))


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Scripted]:
    with serving(agents.agent(HANDS, place.work), CONTEXT, ("qwen3.5",)) as started:
        (place.work / "opencode.json").write_text(block("opencode", started.url))
        yield started


def opencode(place: Place, server: Scripted, *words: str, ends_well: bool = True) -> str:
    """The last text of the run."""
    server.recorder.clear()
    words = (program("opencode"), "run", "--format", "json", *words)
    done = place.run(*words, environment=QUIET, ends_well=ends_well)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event["part"]["text"] for event in events if event["type"] == "text"][-1].strip()


def test_text(place: Place, server: Scripted) -> None:
    assert opencode(place, server, q.GREET) == q.GREETING


def test_tools_over_three_turns(place: Place, server: Scripted) -> None:
    assert opencode(place, server, agents.WORK) == agents.WORKED
    assert (place.work / "greeting.txt").read_text() == agents.GREETED
    assert {exchange.status for exchange in server.exchanges} == {200}


def test_picture(place: Place, server: Scripted) -> None:
    (place.work / "circle.png").write_bytes(q.PICTURE.read_bytes())
    assert opencode(place, server, agents.LOOK) == agents.LOOKED


def test_overflow_is_compacted(place: Place, server: Scripted) -> None:
    """The program believes in a window that is larger than the server's, and learns of it by an error, after which it
    goes on, though it ends with 1."""
    assert opencode(place, server, agents.READ_ALL, ends_well=False) == agents.CONTINUED
    assert (place.work / "done.txt").read_text() == agents.HERONS
    assert 400 in {exchange.status for exchange in server.exchanges}


def test_stopped_in_an_answer(place: Place, server: Scripted) -> None:
    server.breaks_off(place, program("opencode"), "run", q.COUNT, environment=QUIET)
