"""pi, Continue and Cline, by their programs of the command line: their own tools, in the chat dialect."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from scripted import call

from clients import agents
from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import Place, block, program

# Their first prompts have 4,000 to 12,000 tokens of the model's vocabulary.
CONTEXT = 22_000
QUIET = {"PI_OFFLINE": "1", "PI_TELEMETRY": "0", "CONTINUE_TELEMETRY_ENABLED": "0", "CLINE_TELEMETRY_DISABLED": "1"}


@dataclass(frozen=True)
class Program:
    """`words` begin its command. `file`: where the block of the page goes, in the home. `settings`: other files.
    `compacts`: it makes room after the server's error; others tell it."""

    hands: agents.Hands
    words: tuple[str, ...]
    file: str | None = None
    before: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    compacts: bool = False


AGENTS = {
    "pi": Program(
        agents.Hands(
            write=lambda file, text: call("write", path=file, content=text),
            shell=lambda command: call("bash", command=command),
            read=lambda file: call("read", path=file),
            look=lambda file: call("read", path=file),
        ),
        ("pi", "--provider", "qwill", "--model", "qwen3.5", "-p"),
        ".pi/agent/models.json",
        # By its own settings it keeps the last 20,000 tokens, by its own count, which is nearly all of this test's.
        settings={".pi/agent/settings.json": json.dumps({"compaction": {"keepRecentTokens": 1000}})},
        compacts=True,
    ),
    "Continue": Program(
        agents.Hands(
            write=lambda file, text: call("Write", filepath=file, content=text),
            shell=lambda command: call("Bash", command=command),
            read=lambda file: call("Read", filepath=file),
        ),
        ("cn", "--config", "~/.continue/config.yaml", "--auto", "-p"),
        ".continue/config.yaml",
    ),
    "Cline": Program(
        agents.Hands(
            write=lambda file, text: call("editor", path=file, new_text=text),
            shell=lambda command: call("run_commands", commands=[command]),
            read=lambda file: call("read_files", files=[{"path": file}]),
        ),
        ("cline", "-P", "openai", "-m", "qwen3.5"),
        before=("cline", "auth", "-p", "openai", "-k", "none", "-m", "qwen3.5", "-b"),
    ),
}


@dataclass(frozen=True)
class Agent:
    """A program that is set up for a server."""

    place: Place
    server: Scripted
    program: Program

    def ask(self, question: str, ends_well: bool = True) -> str:
        """All that it says."""
        self.server.recorder.clear()
        done = self.place.run(*self.command(question), environment=QUIET, ends_well=ends_well)
        return done.stdout + done.stderr

    def command(self, question: str) -> list[str]:
        name, *words = [word.replace("~", str(self.place.home)) for word in self.program.words]
        return [program(name), *words, question]


@pytest.fixture(scope="module", params=AGENTS)
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    chosen = AGENTS[request.param]
    place = Place.within(tmp_path_factory.mktemp("agent"))
    with serving(agents.agent(chosen.hands, place.work), CONTEXT, ("qwen3.5",)) as server:
        files = dict(chosen.settings)
        if chosen.file is not None:
            files[chosen.file] = block(request.param, server.url)
        for name, text in files.items():
            (place.home / name).parent.mkdir(parents=True, exist_ok=True)
            (place.home / name).write_text(text)
        if chosen.before:
            name, *words = chosen.before
            assert " ".join([*chosen.before, f"{server.url}/v1"]) in block(request.param, server.url)
            place.run(program(name), *words, f"{server.url}/v1", environment=QUIET)
        yield Agent(place, server, chosen)
        place.end_all()


def test_text(agent: Agent) -> None:
    assert q.GREETING in agent.ask(q.GREET)


def test_tools_over_three_turns(agent: Agent) -> None:
    assert agents.WORKED in agent.ask(agents.WORK)
    assert (agent.place.work / "greeting.txt").read_text() == agents.GREETED
    assert {exchange.status for exchange in agent.server.exchanges} == {200}


def test_overflow(agent: Agent) -> None:
    """The programs believe in a window that is larger than the server's, and learn of it by an error."""
    said = agent.ask(agents.READ_ALL, ends_well=agent.program.compacts)
    assert 400 in {exchange.status for exchange in agent.server.exchanges}
    if agent.program.compacts:
        assert agents.CONTINUED in said
        assert (agent.place.work / "done.txt").read_text() == agents.HERONS
    else:
        assert "prompt is too long: " in said


def test_picture(agent: Agent) -> None:
    """Of these programs pi alone has a tool that shows the model one."""
    (agent.place.work / "circle.png").write_bytes(q.PICTURE.read_bytes())
    seen = agents.LOOKED if agent.program.hands.look is not None else "I see 0 picture."
    assert seen in agent.ask(agents.LOOK)


def test_stopped_in_an_answer(agent: Agent) -> None:
    agent.server.breaks_off(agent.place, *agent.command(q.COUNT), environment=QUIET)
