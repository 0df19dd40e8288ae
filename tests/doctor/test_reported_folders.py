"""Folders, called by what places them."""

import os
from pathlib import Path

import pytest
from ollama_stores import put_model

from qwill.doctor import folders as module
from qwill.doctor.folders import folders


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("qwill.weights.hub.ollama_store.SYSTEM_STORE", tmp_path / "no such store")
    return tmp_path


def download(cache: Path, repository: str, size: int) -> None:
    folder = cache / f"models--{repository}"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / "abc").write_bytes(b"x" * size)
    snapshot = folder / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    os.symlink(folder / "blobs" / "abc", snapshot / "model.gguf")


def test_where_nothing_was_ever_used(home: Path) -> None:
    told = folders()
    assert told["hub_cache"]["place"] == "~/.cache/huggingface/hub"
    assert told["ollama"]["place"] == "~/.ollama/models"
    for name in ("hub_cache", "own_cache", "ollama"):
        assert (told[name]["exists"], told[name]["writable"], told[name]["bytes"]) == (False, True, 0)
        assert told[name]["free"] > 0
    assert list(home.iterdir()) == []  # nothing is made


@pytest.mark.needs("links")
def test_models_are_counted_and_links_are_not(home: Path) -> None:
    cache = home / ".cache" / "huggingface" / "hub"
    download(cache, "a--b", 1000)
    download(cache, "a--c", 234)
    (cache / "datasets--d").mkdir()
    told = folders()["hub_cache"]
    assert (told["models"], told["bytes"], told["all_counted"]) == (2, 1234, True)


@pytest.mark.parametrize(
    ("variable", "below", "place"),
    [
        ("HF_HUB_CACHE", "", "$HF_HUB_CACHE"),
        ("HF_HOME", "hub", "$HF_HOME/hub"),
        ("XDG_CACHE_HOME", "huggingface/hub", "$XDG_CACHE_HOME/huggingface/hub"),
    ],
)
@pytest.mark.needs("links")
def test_the_hubs_cache_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str, place: str
) -> None:
    monkeypatch.setenv(variable, str(home / "secret"))
    download(home / "secret" / below, "a--b", 7)
    told = folders()["hub_cache"]
    assert (told["place"], told["models"], told["bytes"]) == (place, 1, 7)


def test_ollamas_store(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = home / "secret"
    put_model(store, "some:tag", [("model", b"GGUF")])
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    told = folders()["ollama"]
    assert (told["place"], told["models"]) == ("$OLLAMA_MODELS", 1)
    assert told["bytes"] >= 4


@pytest.mark.needs("links")
def test_counting_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNT_SECONDS", -1)
    download(home / ".cache" / "huggingface" / "hub", "a--b", 7)
    assert folders()["hub_cache"]["all_counted"] is False


def test_a_home_that_nobody_has(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LOCALAPPDATA"):
        monkeypatch.setenv(name, "~no-such-user-at-all/x")
    told = folders()
    assert not told["hub_cache"]["writable"]
    assert told["hub_cache"]["place"] == "$HF_HUB_CACHE"
    assert told["ollama"]["place"] == "$OLLAMA_MODELS"
    assert told["temporary"]["writable"]


def test_a_file_in_the_place_of_a_folder(home: Path) -> None:
    (home / ".cache").write_text("no folder")
    told = folders()
    assert not told["hub_cache"]["writable"]
    assert not told["own_cache"]["writable"]
