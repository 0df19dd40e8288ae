"""qwen-code: its own tools, in the chat dialect."""

import json
from collections.abc import Iterator

import pytest
from scripted import call

from clients import agents
from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import Place, block, program, variables

# A first prompt of qwen-code has 42,000 tokens of the model's vocabulary.
CONTEXT = 56_000
HANDS = agents.Hands(
    write=lambda file, text: call("write_file", file_path=file, content=text),
    shell=lambda command: call("run_shell_command", command=command, description="Runs it", is_background=False),
    read=lambda file: call("read_file", file_path=file),
    look=lambda file: call("read_file", file_path=file),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.within(tmp_path_factory.mktemp("qwen"))
    (place.home / ".qwen").mkdir()
    (place.home / ".qwen" / "settings.json").write_text(block("qwen-code", "", 1))
    return place


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Scripted]:
    with serving(agents.agent(HANDS, place.work), CONTEXT, ("qwen3.5",)) as started:
        yield started


def qwen(place: Place, server: Scripted, *words: str) -> str:
    server.recorder.clear()
    environment = variables(block("qwen-code", server.url))
    return place.run(program("qwen"), "--yolo", *words, environment=environment).stdout.strip()


def test_text(place: Place, server: Scripted) -> None:
    assert qwen(place, server, q.GREET) == q.GREETING


def test_tools_over_three_turns(place: Place, server: Scripted) -> None:
    assert qwen(place, server, agents.WORK) == agents.WORKED
    assert (place.work / "greeting.txt").read_text() == agents.GREETED
    assert [exchange.status for exchange in server.exchanges] == [200] * 4


def test_structure(place: Place, server: Scripted) -> None:
    """The program offers a tool for it, which is called with the answer."""
    said = qwen(place, server, q.LOOK_UP_ANNA, "--json-schema", json.dumps(q.PERSON))
    assert json.loads(said.splitlines()[-1]) == q.ANNA


def test_picture(place: Place, server: Scripted) -> None:
    (place.work / "circle.png").write_bytes(q.PICTURE.read_bytes())
    assert qwen(place, server, agents.LOOK) == agents.LOOKED


def test_overflow_is_compacted(place: Place, server: Scripted) -> None:
    """The program believes in a window that is larger than the server's, and learns of it by an error."""
    assert qwen(place, server, agents.READ_ALL) == agents.CONTINUED
    assert (place.work / "done.txt").read_text() == agents.HERONS
    assert 400 in {exchange.status for exchange in server.exchanges}


def test_stopped_in_an_answer(place: Place, server: Scripted) -> None:
    server.breaks_off(place, program("qwen"), "--yolo", q.COUNT, environment=variables(block("qwen-code", server.url)))
