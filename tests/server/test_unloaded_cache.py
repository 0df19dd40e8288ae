"""What a model has read of conversations is there again when it comes back."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from qwill.llm import LLM
from qwill.server.cache_folder import cache_folder, most_bytes
from qwill.server.models import Served
from server.asking import send
from server.running import OPTIONS, Running, running, until

LONG = "Please remember this: " + "one two three four " * 30


def ask(server: Running, text: str = LONG, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 20, **more}
    answer = send("POST", f"{server.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def cached(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def unload(server: Running, name: str = "demo") -> None:
    told = send("POST", f"{server.url}/api/generate", json={"model": name, "keep_alive": 0})
    assert told.json()["done_reason"] == "unload"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def kept(folder: Path, **more: Any) -> dict[str, Any]:
    return {**OPTIONS, "disk_cache": folder, "disk_cache_at_once": False, **more}


@pytest.mark.parametrize("drafts", [0, True])
def test_a_conversation_goes_on_after_the_model_was_gone(tmp_path: Path, drafts: bool | int) -> None:
    with running(served=[Served("demo", "demo", kept(tmp_path, speculative=drafts))]) as server:
        first = ask(server)
        assert cached(first) == 0
        again = ask(server)
        assert files(tmp_path) == []  # nothing is written while the model is there
        for _ in range(2):
            unload(server)
            assert server.worker is None
            assert files(tmp_path)
            back = ask(server)
            assert cached(back) == cached(again) > 100
            assert back["choices"] == first["choices"]
        longer = ask(server, LONG + " And five?")
        unload(server)
        assert cached(ask(server, LONG + " And five?")) > cached(longer)
        before = files(tmp_path)
    assert files(tmp_path) == before  # the end of the server writes nothing


def test_models_that_make_room_for_each_other(tmp_path: Path) -> None:
    served = [Served(name, "demo", kept(tmp_path, max_context=context)) for name, context in (("a", 1024), ("b", 512))]
    with running(served=served, budget=30_000_000) as server:
        for name in ("a", "b"):
            assert cached(ask(server, name + LONG, model=name, max_tokens=5)) < 10
        for name in ("a", "b", "a"):
            assert cached(ask(server, name + LONG, model=name, max_tokens=5)) > 100
            assert [one.name for one in server.application.models.all if one.worker is not None] == [name]


def test_idle_models(tmp_path: Path) -> None:
    with running(served=[Served("demo", "demo", kept(tmp_path))], idle_seconds=0.1) as server:
        ask(server)
        until(lambda: server.worker is None)
        assert cached(ask(server)) > 100


def test_without_a_folder_nothing_is_kept() -> None:
    with running() as server:
        ask(server)
        unload(server)
        assert cached(ask(server)) == 0


def test_the_budget_holds_and_the_newest_is_kept(tmp_path: Path) -> None:
    with running(served=[Served("demo", "demo", kept(tmp_path))]) as server:
        for word in ("red", "blue"):
            ask(server, f"{word} " * 100)
        unload(server)
        whole = sum(path.stat().st_size for path in files(tmp_path))
    folder = tmp_path / "less"
    with running(served=[Served("demo", "demo", kept(folder, disk_cache_bytes=whole * 2 // 3))]) as server:
        for word in ("red", "blue"):
            ask(server, f"{word} " * 100)
        unload(server)
        assert 0 < sum(path.stat().st_size for path in files(folder)) <= whole * 2 // 3
        assert cached(ask(server, "blue " * 100)) > 90
        assert cached(ask(server, "red " * 100)) < 90


def test_damaged_files_cost_nothing_but_time(tmp_path: Path) -> None:
    with running(served=[Served("demo", "demo", kept(tmp_path))]) as server:
        first = ask(server)
        unload(server)
        for path in files(tmp_path):
            path.write_bytes(path.read_bytes()[:-10])
        back = ask(server)
        assert (cached(back), back["choices"]) == (0, first["choices"])


def test_by_hand(tmp_path: Path) -> None:
    """As the Python API has it."""
    options: dict[str, Any] = {"max_context": 512, "disk_cache": tmp_path, "disk_cache_at_once": False}
    question = [{"role": "user", "content": "word " * 60}]
    llm = LLM("demo", **options)
    first = llm.chat(question)
    llm.close()
    assert files(tmp_path) == []
    llm.keep()
    llm.close()
    assert LLM("demo", **options).chat(question).usage["cached_tokens"] > 50
    assert first.usage["cached_tokens"] == 0
    assert LLM("demo", **options, kv="f32").chat(question).usage["cached_tokens"] == 0  # other options, other numbers


def test_the_folder_is_removed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with cache_folder() as folder, cache_folder() as another:
        assert folder != another
        assert folder.parent == another.parent == tmp_path / "qwill"
        assert os.name == "nt" or folder.stat().st_mode & 0o077 == 0
        (folder / "model").mkdir()
        (folder / "model" / "page-1.npz").write_bytes(b"x")
        assert 0 < most_bytes(folder, 10**18) < 10**18
        assert most_bytes(folder, 1000) == 1000
        assert another.is_dir()
    assert list((tmp_path / "qwill").iterdir()) == []


def test_what_a_killed_server_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = (
        "import os, time\nfrom qwill.server.cache_folder import cache_folder\nwith cache_folder() as folder:\n"
        "    (folder / 'file').write_bytes(b'x')\n    print(folder, flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    with cache_folder():
        assert (left / "file").exists()  # its process lives
    process.kill()
    process.communicate()
    assert (left / "file").exists()
    with cache_folder() as folder:
        assert not left.exists()
        assert sorted(path.name for path in (tmp_path / "qwill").iterdir()) == sorted(
            [folder.name, f"{folder.name}.lock"]
        )


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with cache_folder() as folder:
        assert folder.parent == tmp_path


def test_no_thread_is_left(tmp_path: Path) -> None:
    with running(served=[Served("demo", "demo", kept(tmp_path))]) as server:
        before = set(threading.enumerate())
        unload(server)
        for _ in range(3):
            ask(server)
            unload(server)
        left = set(threading.enumerate()) - before
        assert [one.name for one in left if one.name.startswith(("qwill-engine", "qwill-disk"))] == []
    assert os.listdir(tmp_path)
