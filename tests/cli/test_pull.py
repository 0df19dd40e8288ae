"""`qwill pull`: what it says. The downloads themselves are tested with the weights."""

from pathlib import Path

import pytest
from conftest import Run, run_process

from qwill.cli import pull
from qwill.errors import QwillError
from qwill.weights.hub.download import Download
from qwill.weights.hub.resumable import RemoteFile
from qwill.weights.naming.models import HubModel


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Download]:
    """A hub with one model; the list tells what was fetched."""
    fetched: list[Download] = []

    def fetch(plan: Download, progress: bool) -> Path:
        assert not progress  # stderr is no terminal here
        fetched.append(plan)
        return Path("/cache/m.gguf")

    def plan(model: HubModel) -> Download:
        return Download(model, "c0ffee", (RemoteFile("m.gguf", 520_517_120), RemoteFile("mmproj.gguf", 12_000_000)))

    monkeypatch.setattr(pull, "plan_download", plan)
    monkeypatch.setattr(pull, "download", fetch)
    monkeypatch.setattr("qwill.weights.hub.look.look", lambda plan: plan)
    monkeypatch.setattr(pull, "check_space", lambda _plan: None)
    return fetched


def test_it_says_how_much_and_what_to_type_next(run: Run, hub: list[Download]) -> None:
    result = run("pull", "qwen3.5:0.8b-q4_k_m")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "unsloth/Qwen3.5-0.8B-GGUF: 2 files, 532.52 MB, 532.52 MB of it to download\n"
        "/cache/m.gguf\n"
        "ready; try: qwill run qwen3.5:0.8b-q4_k_m\n"
    )
    assert len(hub) == 1


def test_a_full_disk_stops_it_before_the_download(
    run: Run, hub: list[Download], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_plan: Download) -> None:
        raise QwillError("no room")

    monkeypatch.setattr(pull, "check_space", full)
    result = run("pull", "o/m")
    assert (result.code, result.err, hub) == (1, "qwill: no room\n", [])


@pytest.mark.parametrize(
    ("name", "says"),
    [("demo", "came with qwill"), ("qwen3.5:5b", "qwen3.5:0.8b"), ("thing", "no such file, folder or model")],
)
def test_what_cannot_be_pulled(run: Run, hub: list[Download], name: str, says: str) -> None:
    assert says in run("pull", name).mistake()
    assert hub == []


def test_what_is_here_is_not_pulled(run: Run, hub: list[Download], tmp_path: Path) -> None:
    assert f"qwill run {tmp_path}" in run("pull", tmp_path).mistake()


def test_without_a_network_it_fails_in_one_line(tmp_path: Path) -> None:
    """In a process of its own, with the real client; nobody listens on the discard port."""
    result = run_process("pull", "o/m", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("qwill: o/m: the hub cannot be reached; ")
    assert result.err.count("\n") == 1
