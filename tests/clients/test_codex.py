"""Codex: its own tools, by the responses API."""

import json
from collections.abc import Iterator

import pytest
from scripted import call

from clients import agents
from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import Place, block, program

# A first prompt of Codex has 22,000 tokens of the model's vocabulary.
CONTEXT = 40_000
PATCH = "apply_patch <<'END'\n*** Begin Patch\n*** Add File: {name}\n{lines}\n*** End Patch\nEND"


def patch(file: str, text: str) -> str:
    lines = "\n".join(f"+{line}" for line in text.splitlines())
    return call("exec_command", cmd=PATCH.format(name=file.rpartition("/")[2], lines=lines))


COMMAND = (program("codex"), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
HANDS = agents.Hands(
    write=patch,
    shell=lambda command: call("exec_command", cmd=command),
    read=lambda file: call("exec_command", cmd=f"cat {file}"),
    look=lambda file: call("view_image", path=file),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.within(tmp_path_factory.mktemp("codex"))
    (place.home / ".codex").mkdir()
    return place


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Scripted]:
    with serving(agents.agent(HANDS, place.work), CONTEXT, ("qwen3.5",)) as started:
        (place.home / ".codex" / "config.toml").write_text(block("Codex", started.url))
        yield started


def codex(place: Place, server: Scripted, *words: str) -> str:
    server.recorder.clear()
    return place.run(*COMMAND, *words).stdout.strip()


def test_text(place: Place, server: Scripted) -> None:
    assert codex(place, server, q.GREET) == q.GREETING


def test_tools_over_three_turns(place: Place, server: Scripted) -> None:
    assert codex(place, server, agents.WORK) == agents.WORKED
    assert (place.work / "greeting.txt").read_text() == agents.GREETED
    assert [exchange.status for exchange in server.asked("/v1/responses")] == [200] * 4


def test_next_session_begins_in_the_cache(place: Place, server: Scripted) -> None:
    codex(place, server, q.GREET)
    codex(place, server, q.GREET)
    assert server.asked("/v1/responses")[0].cached > 0.95


def test_structure(place: Place, server: Scripted) -> None:
    (place.work / "person.json").write_text(json.dumps(q.PERSON))
    assert json.loads(codex(place, server, q.LOOK_UP_ANNA, "--output-schema", "person.json")) == q.ANNA


def test_picture(place: Place, server: Scripted) -> None:
    (place.work / "circle.png").write_bytes(q.PICTURE.read_bytes())
    assert codex(place, server, agents.LOOK) == agents.LOOKED


def test_window_is_compacted(place: Place, server: Scripted) -> None:
    """The program counts what the server told that it used, and compacts before its window is full."""
    assert codex(place, server, agents.READ_ALL, "--config", "model_context_window=34000") == agents.CONTINUED
    assert (place.work / "done.txt").read_text() == agents.HERONS
    assert {exchange.status for exchange in server.asked("/v1/responses")} == {200}


def test_stopped_in_an_answer(place: Place, server: Scripted) -> None:
    server.breaks_off(place, *COMMAND, q.COUNT)
