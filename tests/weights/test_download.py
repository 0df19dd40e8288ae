"""Downloads from a small hub on this machine, through the real client."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, Hub, sha256
from huggingface_hub import constants

from qwill.errors import ModelNotFound, QwillError, UserError
from qwill.weights.hub import resumable
from qwill.weights.hub.cache import repository_folder, resolve_model
from qwill.weights.hub.download import check_space, download, plan_download
from qwill.weights.naming.models import hub_model

pytest_plugins = ("hub_fixture",)

FOLDER = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(100_000),
    "tokenizer.json": b"[]",
    "README.md": b"not needed",
}
GGUF = {"m-Q8_0.gguf": b"eight" * 100, "m-Q4_K_M.gguf": b"four" * 100, "mmproj-F16.gguf": b"eyes", "config.json": b"{}"}


@pytest.fixture
def hub(hub_here: Hub) -> Hub:
    hub_here.repositories = {"o/folder": dict(FOLDER), "o/m-GGUF": dict(GGUF)}
    return hub_here


def test_a_folder_is_fetched_and_then_found(hub: Hub) -> None:
    plan = plan_download(hub_model("o/folder"))
    assert plan.total_bytes == plan.missing_bytes == 100_004
    check_space(plan)
    path = download(plan, progress=False)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == {
        name: data for name, data in FOLDER.items() if name != "README.md"
    }
    assert resolve_model("o/folder") == path
    hub.requests.clear()
    again = plan_download(hub_model("o/folder"))
    assert (again.total_bytes, again.missing_bytes) == (100_004, 0)
    download(again, progress=False)
    assert not [request for request in hub.requests if request.startswith("GET /o/")]


def test_of_a_gguf_repository_one_file_and_the_vision_file_are_fetched(hub: Hub) -> None:
    plan = plan_download(hub_model("o/m-GGUF:q8_0"))
    path = download(plan, progress=False)
    assert path.name == "m-Q8_0.gguf"
    assert path.read_bytes() == GGUF["m-Q8_0.gguf"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["m-Q8_0.gguf", "mmproj-F16.gguf"]
    assert resolve_model("o/m-GGUF:Q8_0") == path
    with pytest.raises(ModelNotFound, match="qwill pull o/m-GGUF:Q4_K_M"):
        resolve_model("o/m-GGUF:Q4_K_M")


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)  # what the client writes at a time, otherwise 10 MB
    hub.cut_after = 40_000
    path = download(plan_download(hub_model("o/folder")), progress=False)
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]
    assert hub.ranges == ["model.safetensors 40000"]


def test_a_disk_that_is_too_full_is_said_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    plan = plan_download(hub_model("o/folder"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(200_000, 99_997, 100_003))
    with pytest.raises(QwillError, match=r"o/folder needs 0\.0 GB more"):
        check_space(plan)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(200_000, 99_996, 100_004))
    check_space(plan)


def test_a_download_that_was_ended_goes_on_where_it_stopped(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    hub.cut_after, hub.fail_after_cut = 40_000, 503
    plan = plan_download(hub_model("o/folder"))
    with pytest.raises(
        QwillError, match=r"answered 503, .*; what was loaded is kept, go on with: qwill pull o/folder$"
    ):
        download(plan, progress=False)
    with pytest.raises(ModelNotFound, match="not on this machine yet"):
        resolve_model("o/folder")
    hub.failing_files = None
    hub.ranges.clear()
    again = plan_download(hub_model("o/folder"))
    assert (again.total_bytes, again.missing_bytes) == (100_004, 60_004)
    path = download(again, progress=False)
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]
    assert hub.ranges == ["model.safetensors 40000"]
    assert not list(repository_folder("o/folder").rglob("*.incomplete"))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_meanwhile(hub: Hub, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    write = resumable._Target.write

    def full(target: Any, data: bytes) -> int:
        if target.tell() >= 30_000:
            raise OSError(error, os.strerror(error))
        return write(target, data)

    monkeypatch.setattr(resumable._Target, "write", full)
    with pytest.raises(QwillError, match=r"o/folder: the disk of .* is full; make room, .*; what was loaded is kept"):
        download(plan_download(hub_model("o/folder")), progress=False)
    monkeypatch.setattr(resumable._Target, "write", write)
    path = download(plan_download(hub_model("o/folder")), progress=False)
    assert hub.ranges == ["model.safetensors 30000"]
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]


def test_ctrl_c_ends_all_files_and_keeps_what_is_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    write = resumable._Target.write

    def pressed(target: Any, data: bytes) -> int:
        if target.tell() >= 5_000:
            raise KeyboardInterrupt
        return write(target, data)

    monkeypatch.setattr(resumable._Target, "write", pressed)
    with pytest.raises(KeyboardInterrupt):
        download(plan_download(hub_model("o/folder")), progress=False)
    assert plan_download(hub_model("o/folder")).missing_bytes == 95_004


@pytest.mark.parametrize("held", [FOLDER["model.safetensors"][:5_000][::-1], bytes(200_000)])
def test_what_is_damaged_of_an_earlier_try_is_loaded_anew(
    hub: Hub, held: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    part = repository_folder("o/folder") / "blobs" / f"{sha256(FOLDER['model.safetensors'])}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(held)
    path = download(plan_download(hub_model("o/folder")), progress=False)
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]
    assert ("is loaded anew" in caplog.text) == (len(held) < 100_000)


def test_a_hub_without_ranges_sends_the_whole_file_again(hub: Hub) -> None:
    part = repository_folder("o/folder") / "blobs" / f"{sha256(FOLDER['model.safetensors'])}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(FOLDER["model.safetensors"][:5_000])
    hub.no_ranges = True
    path = download(plan_download(hub_model("o/folder")), progress=False)
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]


def test_a_file_that_ends_too_early(hub: Hub) -> None:
    hub.short_by = 10
    with pytest.raises(
        QwillError, match=r"o/folder: the download ended too early; what was loaded is kept, go on with"
    ):
        download(plan_download(hub_model("o/folder")), progress=False)
    hub.short_by = 0
    path = download(plan_download(hub_model("o/folder")), progress=False)
    assert (path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]
    assert hub.ranges[-1] == "model.safetensors 99990"


def test_other_bytes_than_were_announced(hub: Hub) -> None:
    plan = plan_download(hub_model("o/folder"))
    hub.repositories["o/folder"]["model.safetensors"] = os.urandom(100_000)
    with pytest.raises(QwillError, match="the hub sent other bytes than it announced"):
        download(plan, progress=False)
    assert not list(repository_folder("o/folder").rglob("*.incomplete"))


def test_files_that_lie_elsewhere(hub: Hub) -> None:
    hub.redirect = True
    path = download(plan_download(hub_model("o/m-GGUF:Q8_0")), progress=False)
    assert path.read_bytes() == GGUF["m-Q8_0.gguf"]
    assert [request for request in hub.requests if request.startswith("GET /cdn/o/m-GGUF/")]


def test_all_files_are_of_the_commit_that_was_planned(hub: Hub) -> None:
    plan = plan_download(hub_model("o/folder"))
    hub.revisions[COMMIT] = dict(FOLDER)
    hub.repositories["o/folder"] = {name: data + b" " for name, data in FOLDER.items()}
    hub.commit = "f" * 40
    path = download(plan, progress=False)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == {
        name: data for name, data in FOLDER.items() if name != "README.md"
    }
    newer = download(plan_download(hub_model("o/folder")), progress=False)
    assert newer != path
    assert (newer / "config.json").read_bytes() == b"{} "
    assert resolve_model("o/folder") == newer
    assert resolve_model(f"o/folder@{COMMIT}") == path


def test_a_commit_that_is_gone_meanwhile(hub: Hub) -> None:
    plan = plan_download(hub_model("o/folder"))
    hub.commit = "f" * 40
    with pytest.raises(QwillError, match="o/folder changed while it was loaded; go on with: qwill pull o/folder"):
        download(plan, progress=False)


def test_revisions(hub: Hub) -> None:
    hub.revisions["v2"] = {name: data[:-1] for name, data in FOLDER.items()}
    path = download(plan_download(hub_model("o/folder@v2")), progress=False)
    assert (path / "model.safetensors").stat().st_size == 99_999
    assert resolve_model("o/folder@v2") == path
    with pytest.raises(ModelNotFound, match="o/folder@v3: o/folder has no revision v3"):
        plan_download(hub_model("o/folder@v3"))
    with pytest.raises(ModelNotFound, match=r"get it with: qwill pull o/folder@v3$"):
        resolve_model("o/folder@v3")


def test_a_file_named_by_a_link(hub: Hub) -> None:
    link = "https://huggingface.co/o/m-GGUF/resolve/main/m-Q8_0.gguf?download=true"
    with pytest.raises(
        ModelNotFound, match=r"and there is no such file; get it with: qwill pull o/m-GGUF/m-Q8_0\.gguf$"
    ):
        resolve_model(link)
    path = download(plan_download(hub_model(link)), progress=False)
    for name in (link, "o/m-GGUF/m-Q8_0.gguf", "hf.co/o/m-GGUF:Q8_0", " o/m-GGUF "):
        assert resolve_model(name) == path


def test_a_cache_without_links(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", refused)
    path = download(plan_download(hub_model("o/m-GGUF:Q8_0")), progress=False)
    assert not path.is_symlink()
    assert path.read_bytes() == GGUF["m-Q8_0.gguf"]
    assert plan_download(hub_model("o/m-GGUF:Q8_0")).missing_bytes == 0


def test_a_cache_that_cannot_be_written(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"o/folder: .*file.*: Not a directory"):
        download(plan_download(hub_model("o/folder")), progress=False)
