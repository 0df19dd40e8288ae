"""Downloads from a small hub on this machine, through the real client."""

import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serve
from huggingface_hub import constants

from qwill.errors import ModelNotFound, QwillError, UserError
from qwill.weights.download import check_space, download, plan_download
from qwill.weights.hub import resolve_model
from qwill.weights.model_names import HubModel, hub_model

FOLDER = {
    "config.json": b"{}",
    "model.safetensors": os.urandom(100_000),
    "tokenizer.json": b"[]",
    "README.md": b"not needed",
}
GGUF = {"m-Q8_0.gguf": b"eight" * 100, "m-Q4_K_M.gguf": b"four" * 100, "mmproj-F16.gguf": b"eyes", "config.json": b"{}"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        hub.repositories = {"o/folder": dict(FOLDER), "o/m-GGUF": dict(GGUF)}
        yield hub


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


def test_a_repository_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(ModelNotFound, match="the hub has no repository o/nothing"):
        plan_download(hub_model("o/nothing"))
    with pytest.raises(ModelNotFound, match="the hub has no repository"):
        plan_download(HubModel("a--b/c", "a--b/c"))  # a name that the hub does not allow


def test_a_quantization_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(ModelNotFound, match=r"no Q2_K; it has Q4_K_M, Q8_0"):
        plan_download(hub_model("o/m-GGUF:Q2_K"))


def test_a_gated_repository(hub: Hub) -> None:
    hub.gated.add("o/folder")
    plan = plan_download(hub_model("o/folder"))
    with pytest.raises(UserError, match=r"is gated: accept its terms at https://huggingface\.co/o/folder"):
        download(plan, progress=False)


def test_a_hub_that_fails(hub: Hub) -> None:
    hub.failing = 418
    with pytest.raises(QwillError, match="the hub answered 418"):
        plan_download(hub_model("o/folder"))


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(QwillError, match="cannot be reached"):
        plan_download(hub_model("o/folder"))


def test_offline_mode(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        plan_download(hub_model("o/folder"))


def test_a_disk_that_is_too_full_is_said_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    plan = plan_download(hub_model("o/folder"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(200_000, 99_997, 100_003))
    with pytest.raises(QwillError, match=r"o/folder needs 0\.0 GB more"):
        check_space(plan)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(200_000, 99_996, 100_004))
    check_space(plan)
