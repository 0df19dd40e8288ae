"""aider: its edit format, in the chat dialect by LiteLLM."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from scripted import Message, text_of

from clients.conftest import Scripted, serving
from clients.drives import questions as q
from clients.programs import Place, block, python, variables
from clients.script import COUNTED

CONTEXT = 16_384
TWICE = "Make it greet twice."
BEFORE = 'print("hello")\n'
AFTER = 'print("hello")\nprint("hello again")\n'
EDIT = f"greet.py\n```python\n<<<<<<< SEARCH\n{BEFORE}=======\n{AFTER}>>>>>>> REPLACE\n```\n"
QUIET = (
    "--yes-always", "--no-stream", "--no-show-model-warnings", "--no-detect-urls", "--no-gitignore",
    "--no-show-release-notes", "--edit-format", "diff",
)  # fmt: skip


def script(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
    question = text_of(messages[-1])
    if TWICE in question:
        return f"It greets twice now.\n\n{EDIT}" if _says_how(messages[0]) else "Greet twice"
    if q.COUNT in question:
        return COUNTED
    return q.GREETING if q.GREET in question else "Greet twice"


def _says_how(message: Message) -> bool:
    """Whether it describes the edit format, which the request for a commit's message does not."""
    return "<<<<<<< SEARCH" in text_of(message)


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with serving(script, CONTEXT, ("qwen3.5",)) as started:
        yield started


@pytest.fixture
def project(place: Place) -> Place:
    """A repository with a program that greets."""
    (place.home / ".aider.model.metadata.json").write_text(block("aider", "", 1))
    (place.work / "greet.py").write_text(BEFORE)
    (place.home / ".gitconfig").write_text("[user]\nname = test\nemail = test@example.org\n")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "A greeting"]):
        subprocess.run(["git", *words], cwd=place.work, env=place.environment(), check=True)
    return place


def command(place: Place, server: Scripted, *words: str) -> tuple[list[str], dict[str, str]]:
    """The page's own, and its environment."""
    shown = block("aider", server.url)
    options = shown.splitlines()[-1].replace("~", str(place.home)).split()
    assert options.pop(0) == "aider"
    return [python("aider"), "-m", "aider", *options, *QUIET, *words], variables(shown)


def aider(place: Place, server: Scripted, *words: str, ends_well: bool = True) -> str:
    server.recorder.clear()
    run, environment = command(place, server, *words)
    return place.run(*run, environment=environment, ends_well=ends_well).stdout


def test_text(project: Place, server: Scripted) -> None:
    assert q.GREETING in aider(project, server, "--message", f"/ask {q.GREET}")
    assert {exchange.status for exchange in server.exchanges} == {200}


def test_edit_is_applied_and_committed(project: Place, server: Scripted) -> None:
    aider(project, server, "--message", TWICE, "greet.py")
    assert (project.work / "greet.py").read_text() == AFTER
    log = ["git", "log", "--format=%s"]
    said = subprocess.run(log, cwd=project.work, env=project.environment(), capture_output=True, text=True, check=True)
    assert said.stdout.lower().splitlines()[0].endswith("greet twice")
    assert {exchange.status for exchange in server.exchanges} == {200}


def test_streamed(project: Place, server: Scripted) -> None:
    assert q.GREETING in aider(project, server, "--stream", "--message", f"/ask {q.GREET}")
    assert server.exchanges[-1].body["stream"] is True


def test_overflow_is_told(project: Place, server: Scripted) -> None:
    """It compacts nothing by itself; it says that the context is full, and what to do."""
    (project.work / "long.txt").write_text(q.FAR)
    said = aider(project, server, "--message", TWICE, "long.txt", ends_well=False)
    assert "has hit a token limit" in said
    assert [exchange.status for exchange in server.exchanges] == [400]


def test_picture_is_shown(project: Place, server: Scripted) -> None:
    (project.work / "circle.png").write_bytes(q.PICTURE.read_bytes())
    assert q.GREETING in aider(project, server, "--message", f"/ask {q.GREET}", "circle.png")
    assert [exchange.status for exchange in server.exchanges] == [200]
    parts = [part for message in server.exchanges[0].body["messages"] for part in message["content"]]
    assert "image_url" in [part["type"] for part in parts if isinstance(part, dict)]


def test_stopped_in_an_answer(project: Place, server: Scripted) -> None:
    run, environment = command(project, server, "--stream", "--message", f"/ask {q.COUNT}")
    server.breaks_off(project, *run, environment=environment)
