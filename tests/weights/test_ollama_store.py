"""`ollama:NAME`: what Ollama has on the disk, by its manifests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from canonical import by_name
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import save_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ollama_checkpoints import save_ollama
from ollama_stores import put_model

from qwill.cli import main
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import CheckpointError, ModelNotFound, QwillError, UnsupportedModel
from qwill.weights.hub import ollama_store
from qwill.weights.hub.cache import resolve_model
from qwill.weights.hub.ollama_store import read_manifest
from qwill.weights.load import open_checkpoint


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("source"), tiny_config(vision=True), mtp=True)


@pytest.fixture(scope="module")
def pair(source: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A model and its vision file."""
    folder = tmp_path_factory.mktemp("pair")
    save_gguf(folder / "m.gguf", source, mmproj=folder / "v.gguf", metadata={"general.sampling.top_k": 5})
    return (folder / "m.gguf").read_bytes(), (folder / "v.gguf").read_bytes()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's own is looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    monkeypatch.setattr(ollama_store, "SYSTEM_STORE", tmp_path / "system")
    return tmp_path / "store"


def test_a_model_with_its_vision_file_and_parameters(
    store: Path, pair: tuple[bytes, bytes], source: TinyCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    parameters = {"temperature": 0.5, "top_p": 0.75, "repeat_penalty": 1.25, "num_ctx": 4096, "stop": ["x"]}
    layers = [
        ("model", pair[0]), ("projector", pair[1]), ("template", b"{{ .Prompt }}"), ("license", b"free"),
        ("params", json.dumps(parameters).encode()), ("system", b"Be kind."),
    ]  # fmt: skip
    put_model(store, "qwen3.5:4b", layers)
    checkpoint = open_checkpoint(resolve_model("ollama:qwen3.5:4b"))
    found = by_name(checkpoint.tensors)["visual.pos_embed.weight"].float32()
    np.testing.assert_array_equal(found, source.state["model.visual.pos_embed.weight"].numpy())
    sampling = SamplingParams().resolve(checkpoint.generation_config)
    assert (sampling.temperature, sampling.top_p, sampling.repetition_penalty, sampling.top_k) == (0.5, 0.75, 1.25, 5)
    assert "ollama:qwen3.5:4b: of its parameters are not used: num_ctx, stop" in caplog.text
    assert "ollama:qwen3.5:4b: its own system prompt is not used" in caplog.text


def test_parameters_that_make_no_sense(store: Path, pair: tuple[bytes, bytes]) -> None:
    put_model(store, "m:latest", [("model", pair[0]), ("params", b'{"temperature": "hot"}')])
    checkpoint = open_checkpoint(resolve_model("ollama:m"))
    with pytest.raises(CheckpointError, match="temperature must be"):
        SamplingParams().resolve(checkpoint.generation_config)


def test_a_temperature_of_zero(store: Path, pair: tuple[bytes, bytes]) -> None:
    put_model(store, "m:latest", [("model", pair[0]), ("params", b'{"temperature": 0}')])
    checkpoint = open_checkpoint(resolve_model("ollama:m"))
    assert SamplingParams().resolve(checkpoint.generation_config).temperature == 0


def test_a_file_of_ollamas_own_converter(store: Path, source: TinyCheckpoint, tmp_path: Path) -> None:
    save_ollama(tmp_path / "m", source)
    put_model(store, "qwen3.5:0.8b", [("model", (tmp_path / "m").read_bytes())])
    checkpoint = open_checkpoint(resolve_model("ollama:qwen3.5:0.8b"))
    assert {"mtp.fc.weight", "visual.patch_embed.proj.weight"} <= by_name(checkpoint.tensors).keys()


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("qwen3.5:latest", "ollama:qwen3.5"),
        ("qwen3.5:4b-q8_0", "ollama:QWEN3.5:4B-Q8_0"),
        ("qwen3.5:4b", "Ollama:library/qwen3.5:4b"),
        ("qwen3.5:4b", "ollama:registry.ollama.ai/library/qwen3.5:4b"),
        ("registry.ollama.ai/someone/mine:v1", "ollama:someone/mine:v1"),
        ("hf.co/unsloth/Qwen3.5-9B-GGUF:Q4_K_M", "ollama:hf.co/unsloth/Qwen3.5-9B-GGUF:Q4_K_M"),
        ("hf.co/unsloth/Qwen3.5-9B-GGUF:Q4_K_M", "ollama:huggingface.co/unsloth/qwen3.5-9b-gguf:q4_k_m"),
        ("huggingface.co/o/m:Q8_0", "ollama:https://hf.co/o/m:Q8_0"),
        ("qwen3.5:4b", " 'ollama: qwen3.5:4b,' "),
        ("qwen3.5:4b", "ollama://qwen3.5:4b"),
        ("qwen3.5:4b", "ollama:https://ollama.com/library/qwen3.5:4b"),
    ],
)
@pytest.mark.parametrize("place", ["store", "home/.ollama/models", "system"])
def test_names_and_places(place: str, stored: str, asked: str, store: Path, tmp_path: Path) -> None:
    path = put_model(tmp_path / place, stored, [("model", b"GGUF")])
    assert resolve_model(asked) == path
    assert read_manifest(path).model.read_bytes() == b"GGUF"


def test_what_is_not_there_is_named_with_what_is(store: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"ollama:qwen3\.5:4b: Ollama has no models here \(.*store.*OLLAMA_MODELS"):
        resolve_model("ollama:qwen3.5:4b")
    for name in ("alpha:1b", "qwen3.5:9b", "registry.ollama.ai/me/own:v2"):
        put_model(store, name, [("model", b"GGUF")])
    with pytest.raises(ModelNotFound, match=r"no such model; it has qwen3\.5:9b, alpha:1b, me/own:v2$"):
        resolve_model("ollama:qwen3.5:4b")
    for number in range(9):
        put_model(store, f"beta:{number}b", [("model", b"GGUF")])
    with pytest.raises(ModelNotFound, match=r"beta:5b, …$"):
        resolve_model("ollama:")


def test_a_store_that_cannot_be_read_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / "manifests").mkdir(parents=True)

    def refused(folder: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(ModelNotFound, match=r"store cannot be read \(Permission denied\)"):
        resolve_model("ollama:qwen3.5")


def test_blobs_that_are_missing_or_torn(store: Path, pair: tuple[bytes, bytes]) -> None:
    put_model(store, "qwen3.5:4b", [("model", pair[0])])
    blob = read_manifest(resolve_model("ollama:qwen3.5:4b")).model
    blob.write_bytes(pair[0][:-1])
    with pytest.raises(CheckpointError, match=r"has \d+ bytes instead of \d+; get it again with: ollama pull qwen3"):
        open_checkpoint(resolve_model("ollama:qwen3.5:4b"))
    blob.unlink()
    with pytest.raises(CheckpointError, match=r"is missing; get it again with: ollama pull qwen3\.5:4b"):
        open_checkpoint(resolve_model("ollama:qwen3.5:4b"))


def test_other_forms(store: Path, pair: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture) -> None:
    put_model(store, "a:b", [("tensor", b"1"), ("tensor", b"2")])
    with pytest.raises(UnsupportedModel, match="ollama:a:b: is in the form of Ollama's MLX engine; take a tag"):
        open_checkpoint(resolve_model("ollama:a:b"))
    put_model(store, "a:c", [("model", pair[0]), ("model", pair[1])])
    with pytest.raises(UnsupportedModel, match="lists 2 models"):
        open_checkpoint(resolve_model("ollama:a:c"))
    put_model(store, "a:d", [("model", pair[0]), ("adapter", b"GGUF")])
    open_checkpoint(resolve_model("ollama:a:d"))
    assert "ollama:a:d: its adapter is not applied; give it with --lora /" in caplog.text


def test_the_command_line(store: Path, pair: tuple[bytes, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    path = put_model(store, "qwen3.5:4b", [("model", pair[0]), ("projector", pair[1])])
    blobs = read_manifest(path)
    for name in ("ollama:qwen3.5:4b", str(path), str(path.relative_to(Path.cwd()))):
        assert main(["inspect", name, "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["vision"]["file"] == str(blobs.vision)
        assert set(shown["files"]) == {str(blobs.model), str(blobs.vision)}
    assert main(["quantize", "ollama:qwen3.5:4b", "out.gguf", "--type", "Q8_0"]) == 0
    assert by_name(open_checkpoint(Path("out.gguf")).tensors)["mtp.fc.weight"].type.name == "Q8_0"


def test_a_blob_given_itself_has_its_vision_file(
    store: Path, pair: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    put_model(store, "a:b", [("model", b"another")])
    path = put_model(store, "qwen3.5:4b", [("model", pair[0]), ("projector", pair[1])])
    blob = read_manifest(path).model
    assert "visual.pos_embed.weight" in open_checkpoint(blob).tensors
    path.write_text("{")
    assert "visual.pos_embed.weight" not in open_checkpoint(blob).tensors
    assert "is not looked for" in caplog.text


def test_nothing_is_pulled(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ollama:qwen3.5:4b", "'Ollama: qwen3.5:4b'"):
        assert main(["pull", name]) == 2
        assert "read where they lie; get it with: ollama pull qwen3.5:4b\n" in capsys.readouterr().err


@pytest.fixture(scope="module")
def whole(pair: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_model(tmp_path_factory.mktemp("fuzz"), "a:b", [("model", pair[0]), ("params", b'{"top_k": 7}')])


def opened(path: Path, content: bytes) -> str:
    """The message of the one kind of error that a damaged manifest may raise."""
    sound = path.read_bytes()
    try:
        path.write_bytes(content)
        open_checkpoint(path)
    except QwillError as error:
        return str(error)
    finally:
        path.write_bytes(sound)
    return ""


def test_every_truncation_is_an_error(whole: Path) -> None:
    content = whole.read_bytes()
    for length in range(0, len(content), 5):
        assert str(whole) in opened(whole, content[:length])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mediaType", "digest", "size"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layers=json_values, first=st.none() | json_values)
def test_any_manifest_is_read_or_refused(layers: Any, first: Any, whole: Path) -> None:
    manifest = json.loads(whole.read_bytes())
    manifest["layers"] = layers if first is None else [*manifest["layers"][:1], first]
    assert "\n" not in opened(whole, json.dumps(manifest).encode())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_any_bytes_are_refused(content: bytes, whole: Path) -> None:
    assert opened(whole, content)
