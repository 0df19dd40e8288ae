"""Names of models: aliases, repositories, paths, and what lies in the hub's cache."""

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name
from hypothesis import given
from hypothesis import strategies as st

from qwill.errors import CheckpointError, ModelNotFound
from qwill.weights import hub
from qwill.weights.hub import RELEASES, HubModel, choose_files, family_member, find_snapshot, hub_model, resolve_model

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
    ("name", "repository", "quant"),
    [
        ("qwen3.5:397b", "Qwen/Qwen3.5-397B-A17B", None),
        ("qwen3.5:0.8b", "Qwen/Qwen3.5-0.8B", None),
        ("qwen3.5:0.8b-q4_k_m", "unsloth/Qwen3.5-0.8B-GGUF", "Q4_K_M"),
        ("QWEN3.5:35B-A3B-UD-q4_k_xl", "unsloth/Qwen3.5-35B-A3B-GGUF", "UD-Q4_K_XL"),
        ("qwen3.5:122b-mxfp4_moe", "unsloth/Qwen3.5-122B-A10B-GGUF", "MXFP4_MOE"),
        ("qwen3.5:35b-fp8", "Qwen/Qwen3.5-35B-A3B-FP8", None),
        ("qwen3.5:9b-bf16", "Qwen/Qwen3.5-9B", None),
        ("unsloth/Qwen3.5-397B-A17B-GGUF:MXFP4_MOE", "unsloth/Qwen3.5-397B-A17B-GGUF", "MXFP4_MOE"),
        ("some-one/my.model_1", "some-one/my.model_1", None),
    ],
)
def test_what_names_stand_for(name: str, repository: str, quant: str | None) -> None:
    assert hub_model(name) == HubModel(name, repository, quant)


def test_every_member_has_its_alias() -> None:
    from qwill.fit.family import members

    assert [hub_model(alias).repository for alias in hub.aliases()] == [f"Qwen/{name}" for name in members()]


@pytest.mark.parametrize("size", RELEASES)
def test_a_member_by_alias_and_by_its_released_name(size: str) -> None:
    release = RELEASES[size]
    assert family_member(f"qwen3.5:{size}") == (release, "")
    assert family_member(f"Qwen3.5:{size.upper()}-ud-q4_k_xl") == (release, "UD-Q4_K_XL")
    assert family_member(release) == family_member(release.lower()) == (release, "")
    for other in (f"Qwen/{release}", release + "-", f"qwen3.5:{size}x", ""):
        with pytest.raises(ModelNotFound, match="no such member"):
            family_member(other)


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


@given(st.text(max_size=40) | st.from_regex(r"qwen3\.5:[0-9.a-z_-]{0,20}", fullmatch=True))
def test_no_name_brings_another_error(name: str) -> None:
    try:
        model = hub_model(name)
    except ModelNotFound:
        return
    assert model.repository.count("/") == 1


def test_an_existing_path_comes_before_the_hub(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work" / "some" / "thing"
    folder.mkdir(parents=True)
    put(cache, "some/thing", "config.json", "model.safetensors")
    assert resolve_model("some/thing") == Path("some/thing")
    monkeypatch.setenv("HOME", str(tmp_path / "work"))
    assert resolve_model("~/some/thing") == folder


def test_the_demonstration_model_is_the_embedded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "demo").mkdir()
    monkeypatch.setattr(hub, "__file__", str(tmp_path / "weights" / "hub.py"))
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


RELEASED_FILES = [
    ".gitattributes", "LICENSE", "README.md", "chat_template.jinja", "config.json", "generation_config.json",
    "merges.txt", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    "model.safetensors.index.json", "preprocessor_config.json", "tokenizer.json", "figures/bench.png",
    "original/consolidated.safetensors", "onnx/config.json",
]  # fmt: skip
GGUF_FILES = [
    "BF16/M-BF16-00001-of-00002.gguf", "BF16/M-BF16-00002-of-00002.gguf", "M-IQ4_NL.gguf", "M-Q4_K_M.gguf",
    "M-Q4_K_S.gguf", "M-Q8_0.gguf", "M-UD-Q4_K_XL.gguf", "README.md", "config.json", "imatrix_unsloth.gguf_file",
    "imatrix.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf",
]  # fmt: skip


def test_of_a_released_repository_what_qwill_reads_is_chosen() -> None:
    assert choose_files(HubModel("n", "o/m"), RELEASED_FILES) == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "chat_template.jinja", "config.json",
        "generation_config.json", "model.safetensors.index.json", "preprocessor_config.json", "tokenizer.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "weights"),
    [
        (None, ["M-Q4_K_M.gguf"]),
        ("Q4_K_M", ["M-Q4_K_M.gguf"]),
        ("Q4_K_XL", ["M-UD-Q4_K_XL.gguf"]),
        ("UD-Q4_K_XL", ["M-UD-Q4_K_XL.gguf"]),
        ("IQ4_NL", ["M-IQ4_NL.gguf"]),
        ("BF16", GGUF_FILES[:2]),
    ],
)
def test_of_a_gguf_repository_one_quantization_and_the_vision_file(quant: str | None, weights: list[str]) -> None:
    assert choose_files(HubModel("n", "o/m", quant), reversed(GGUF_FILES)) == [*weights, "mmproj-BF16.gguf"]


def test_a_quantization_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(ModelNotFound, match=r"no Q3_K_S; it has .*IQ4_NL, Q4_K_M, Q4_K_S, Q8_0, UD-Q4_K_XL"):
        choose_files(HubModel("n", "o/m", "Q3_K_S"), GGUF_FILES)
    with pytest.raises(ModelNotFound, match="no GGUF file of type Q8_0"):
        choose_files(HubModel("n", "o/m", "Q8_0"), RELEASED_FILES)
    with pytest.raises(ModelNotFound, match="no safetensors or GGUF file"):
        choose_files(HubModel("n", "o/m"), ["README.md"])
