"""What a name stands for on this machine: paths, the demonstration model, what lies in the hub's cache."""

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from qwill.errors import CheckpointError, ModelNotFound
from qwill.weights.hub import cache as hub
from qwill.weights.hub.cache import find_snapshot, resolve_model

pytestmark = pytest.mark.needs("links")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a working folder without anything that a name could mean."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache: Path, repository: str, *files: str) -> Path:
    """Lays files into the cache as the hub's client does."""
    folder = cache / repo_folder_name(repo_id=repository, repo_type="model")
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "blobs").mkdir(exist_ok=True)
    snapshot = folder / "snapshots" / COMMIT
    for number, file in enumerate(files):
        path = snapshot / file
        path.parent.mkdir(parents=True, exist_ok=True)
        blob = folder / "blobs" / f"{number}{abs(hash(file))}"
        blob.write_text("{}")
        path.symlink_to(blob)
    return snapshot


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("qwen3.5:3b", r"qwen3\.5:3b: no such member.*qwen3\.5:397b.*qwen3\.5:0\.8b"),
        ("qwen3.5", r"no such member"),
        ("qwen3.5:0.8b-", r"no such member"),
        ("qwen3.5:0.8b-fp8", r"not released in FP8.*q8_0"),
        ("llama", r"llama: no such file, folder or model"),
        ("./missing", r"\./missing: no such file or folder"),
        ("models/missing.gguf", r"models/missing\.gguf: no such file or folder"),
        ("a/b/c", r"a/b/c: no such file or folder"),
        ("qwen3.5:0.8b-q4_k_m", r"qwill pull qwen3\.5:0\.8b-q4_k_m$"),
        ("some/thing:Q8_0", r"qwill pull some/thing:Q8_0$"),
        ("x" * 5000, r"no such file, folder or model"),
        ("a\0b", r"no such file, folder or model"),
    ],
)
def test_what_is_not_there_is_said_with_the_mend(cache: Path, name: str, says: str) -> None:
    with pytest.raises(ModelNotFound, match=says) as caught:
        resolve_model(name)
    assert "\n" not in str(caught.value)


def test_an_existing_path_comes_before_the_hub(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work" / "some" / "thing"
    folder.mkdir(parents=True)
    put(cache, "some/thing", "config.json", "model.safetensors")
    assert resolve_model("some/thing") == Path("some/thing")
    monkeypatch.setenv("HOME", str(tmp_path / "work"))
    assert resolve_model("~/some/thing") == folder


def test_the_demonstration_model_is_the_embedded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.setattr(hub, "__file__", str(tmp_path / "weights" / "hub" / "cache.py"))
    with pytest.raises(ModelNotFound, match="install qwill again"):
        resolve_model()
    file = tmp_path / "demo" / "demo.gguf"
    file.touch()
    assert resolve_model() == resolve_model("") == resolve_model("demo") == file


def test_the_cache_is_where_the_hubs_client_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.cache_folder() == Path(constants.HF_HUB_CACHE)
    monkeypatch.setenv("HF_HUB_CACHE", "/a")
    monkeypatch.setenv("HF_HOME", "/b")
    assert hub.cache_folder() == Path("/a")
    monkeypatch.delenv("HF_HUB_CACHE")
    assert hub.cache_folder() == Path("/b/hub")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert hub.cache_folder() == Path("/c/huggingface/hub")


def test_the_snapshot_is_the_one_the_hubs_client_finds(cache: Path) -> None:
    snapshot = put(cache, "some/thing", "config.json")
    found = huggingface_hub.try_to_load_from_cache("some/thing", "config.json", cache_dir=cache)
    assert found == str(snapshot / "config.json")
    assert find_snapshot("some/thing") == snapshot
    assert find_snapshot("some/other") is None


def test_a_downloaded_folder_is_opened_as_such(cache: Path) -> None:
    snapshot = put(cache, "Qwen/Qwen3.5-0.8B", "config.json", "model.safetensors", "tokenizer.json")
    assert resolve_model("qwen3.5:0.8b") == resolve_model("Qwen/Qwen3.5-0.8B") == snapshot


def test_a_folder_with_a_shard_missing_is_pulled_again(cache: Path) -> None:
    names = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    snapshot = put(cache, "o/m", "config.json", names[0], "model.safetensors.index.json")
    index = snapshot / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1]}}))
    with pytest.raises(ModelNotFound, match=r"only partly downloaded.*qwill pull o/m"):
        resolve_model("o/m")
    put(cache, "o/m", names[1])
    assert resolve_model("o/m") == snapshot
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="no index"):
        resolve_model("o/m")


def test_without_its_config_a_folder_is_not_whole(cache: Path) -> None:
    put(cache, "o/m", "model.safetensors")
    with pytest.raises(ModelNotFound, match="qwill pull o/m"):
        resolve_model("o/m")


def test_a_downloaded_gguf_is_found_by_its_quantization(cache: Path) -> None:
    snapshot = put(cache, "o/m-GGUF", "m-Q8_0.gguf", "m-UD-Q4_K_XL.gguf", "mmproj-F16.gguf")
    assert resolve_model("o/m-GGUF:Q8_0") == snapshot / "m-Q8_0.gguf"
    assert resolve_model("o/m-GGUF:q4_k_xl") == snapshot / "m-UD-Q4_K_XL.gguf"
    # none named, the preferred of those that are here
    assert resolve_model("o/m-GGUF") == snapshot / "m-UD-Q4_K_XL.gguf"
    with pytest.raises(ModelNotFound, match="qwill pull o/m-GGUF:Q2_K"):
        resolve_model("o/m-GGUF:Q2_K")


def test_a_split_gguf_needs_all_its_parts(cache: Path) -> None:
    parts = [f"Q4_K_M/m-Q4_K_M-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    snapshot = put(cache, "o/m-GGUF", *parts[:2])
    with pytest.raises(ModelNotFound, match="partly downloaded"):
        resolve_model("o/m-GGUF:Q4_K_M")
    put(cache, "o/m-GGUF", parts[2])
    assert resolve_model("o/m-GGUF:Q4_K_M") == snapshot / parts[0]
