"""Claude Code: its own tools, in the Anthropic dialect."""

import json
from collections.abc import Iterator

import pytest
from scripted import call

from clients import agents
from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import Place, block, program, variables

# A first prompt of Claude Code has 25,000 tokens of the model's vocabulary.
CONTEXT = 40_000
HANDS = agents.Hands(
    write=lambda file, text: call("Write", file_path=file, content=text),
    shell=lambda command: call("Bash", command=command, description="Runs it"),
    read=lambda file: call("Read", file_path=file),
    look=lambda file: call("Read", file_path=file),
)
ALLOWED = "Write,Read,Bash"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.within(tmp_path_factory.mktemp("claude"))


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Scripted]:
    with serving(agents.agent(HANDS, place.work), CONTEXT, ("qwen3.5",)) as started:
        yield started


def claude(place: Place, server: Scripted, *words: str) -> str:
    server.recorder.clear()
    environment = variables(block("Claude Code", server.url))
    done = place.run(program("claude"), "-p", *words, "--allowedTools", ALLOWED, environment=environment)
    return done.stdout.strip()


def test_text(place: Place, server: Scripted) -> None:
    assert claude(place, server, q.GREET) == q.GREETING
    assert {exchange.status for exchange in server.asked("/v1/messages")} == {200}


def test_tools_over_three_turns(place: Place, server: Scripted) -> None:
    assert claude(place, server, agents.WORK) == agents.WORKED
    assert (place.work / "greeting.txt").read_text() == agents.GREETED
    assert [exchange.status for exchange in server.asked("/v1/messages")] == [200] * 4


def test_next_session_begins_in_the_cache(place: Place, server: Scripted) -> None:
    claude(place, server, q.GREET)
    claude(place, server, q.GREET)
    assert server.asked("/v1/messages")[0].cached > 0.95


def test_structure(place: Place, server: Scripted) -> None:
    """The program offers a tool for it, which is called with the answer."""
    said = claude(place, server, q.LOOK_UP_ANNA, "--json-schema", json.dumps(q.PERSON), "--output-format", "json")
    assert json.loads(said)["structured_output"] == q.ANNA


def test_picture(place: Place, server: Scripted) -> None:
    (place.work / "circle.png").write_bytes(q.PICTURE.read_bytes())
    assert claude(place, server, agents.LOOK) == agents.LOOKED


def test_overflow_is_compacted(place: Place, server: Scripted) -> None:
    """The program believes in a window that is larger than the server's, and learns of it by an error."""
    assert claude(place, server, agents.READ_ALL) == agents.CONTINUED
    assert (place.work / "done.txt").read_text() == agents.HERONS
    refused = [exchange for exchange in server.asked("/v1/messages") if exchange.status != 200]
    assert refused
    for exchange in refused:
        assert exchange.status == 400
        assert json.loads(exchange.answer)["error"]["message"].startswith("prompt is too long: ")


def test_stopped_in_an_answer(place: Place, server: Scripted) -> None:
    server.breaks_off(place, program("claude"), "-p", q.COUNT, environment=variables(block("Claude Code", server.url)))
