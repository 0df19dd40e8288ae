"""Draft heads in files of their own: found beside a model that has none, never opened as the model."""

import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from canonical import by_name, decoded
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from gguf_checkpoints import finish, save_gguf
from ollama_stores import put_model

from qwill import LLM, SamplingParams
from qwill.cli import main
from qwill.errors import CheckpointError, QwillError, UnsupportedModel
from qwill.weights.hub import ollama_store
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint

COUNTS = ("block_count", "nextn_predict_layers")
SHARED = ("token_embd.weight", "output_norm.weight", "output.weight")


def save_pair(folder: Path, source: TinyCheckpoint, model: str, head: str, types: str = "F32") -> None:
    """The text model without its draft head, and the draft head as llama.cpp's converter writes it by itself."""
    whole = folder / "whole.tmp"
    save_gguf(whole, source, types=types)
    keep(whole, folder / model, lambda name: not name.startswith("blk.4."), blocks=4, drafting=0)
    (folder / head).parent.mkdir(exist_ok=True)
    keep(whole, folder / head, lambda name: name.startswith("blk.4.") or name in SHARED, blocks=5, drafting=1)
    whole.unlink()


def keep(
    whole: Path, path: Path, wanted: Callable[[str], bool], blocks: int, drafting: int, extra: Sequence[str] = ()
) -> None:
    """The tensors of a file whose names are wanted; `extra` ones are added."""
    reader = gguf.GGUFReader(whole)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name.endswith((*COUNTS, "general.architecture")):
            continue
        kind = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], kind)
    writer.add_block_count(blocks)
    if drafting:
        writer.add_uint32(f"{architecture}.nextn_predict_layers", drafting)
    for tensor in reader.tensors:
        if wanted(tensor.name):
            quantized = tensor.tensor_type not in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type if quantized else None)
    for name in extra:
        writer.add_tensor(name, np.ones((288, 64), np.float32))
    finish(writer)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("source"), tiny_config(), mtp=True)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("other"), tiny_config(), mtp=True, seed=3)


def head_of(checkpoint_path: Path) -> np.ndarray | None:
    tensors = by_name(open_checkpoint(checkpoint_path).tensors)
    return decoded(tensors["mtp.fc.weight"]) if "mtp.fc.weight" in tensors else None


def fc_of(source: TinyCheckpoint) -> np.ndarray:
    values: np.ndarray = source.state["mtp.fc.weight"].float().numpy()
    return values


@pytest.mark.parametrize("moe", [False, True], ids=["dense", "moe"])
def test_the_same_as_in_one_file(moe: bool, tmp_path: Path) -> None:
    source = save_hf(tmp_path / "hf", tiny_config(moe=moe), mtp=True)
    save_pair(tmp_path, source, "m-Q8_0.gguf", "mtp-m.gguf", types="Q8_0")
    (tmp_path / "one").mkdir()
    save_gguf(tmp_path / "one" / "m.gguf", source, types="Q8_0")
    apart, whole = (open_checkpoint(tmp_path / name) for name in ("m-Q8_0.gguf", "one/m.gguf"))
    assert apart.config == whole.config
    found, wanted = by_name(apart.tensors), by_name(whole.tensors)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].type is tensor.type
        assert [part.tobytes() for part in found[name].parts] == [part.tobytes() for part in tensor.parts], name


def test_answers_do_not_depend_on_it(source: TinyCheckpoint, tmp_path: Path) -> None:
    save_pair(tmp_path, source, "m.gguf", "mtp-m.gguf", types="F16")
    params = SamplingParams(temperature=0.8, seed=5, max_tokens=40)
    with_head = LLM(str(tmp_path / "m.gguf"), threads=2, speculative=2)
    answers = with_head.generate(["the and"], params)
    (tmp_path / "mtp-m.gguf").rename(tmp_path / "aside")
    answers += LLM(str(tmp_path / "m.gguf"), threads=2).generate(["the and"], params)
    assert answers[0].token_ids == answers[1].token_ids


@pytest.mark.parametrize(
    ("model", "head"),
    [
        ("m.gguf", "mtp-m.gguf"), ("m.gguf", "MTP-m-Q8_0.GGUF"), ("m.gguf", "MTP/m-Q8_0.gguf"),
        ("m.gguf", "mtp/x.gguf"), ("Q8_0/m.gguf", "mtp-m.gguf"), ("Q8_0/m.gguf", "MTP/m.gguf"),
    ],
)  # fmt: skip
def test_where_it_is_found(model: str, head: str, source: TinyCheckpoint, tmp_path: Path) -> None:
    (tmp_path / model).parent.mkdir(exist_ok=True)
    save_pair(tmp_path, source, model, head)
    found = head_of(tmp_path / model)
    assert found is not None
    np.testing.assert_array_equal(found, fc_of(source))


def test_a_models_own_head_comes_first(source: TinyCheckpoint, other: TinyCheckpoint, tmp_path: Path) -> None:
    save_pair(tmp_path, other, "away.gguf", "mtp-m.gguf")
    save_gguf(tmp_path / "m.gguf", source)
    np.testing.assert_array_equal(head_of(tmp_path / "m.gguf"), fc_of(source))


def test_names_and_types_choose_between_several(
    source: TinyCheckpoint, other: TinyCheckpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_pair(tmp_path, other, "away.gguf", "mtp-Qwen3.6-27B-Q8_0.gguf")
    save_pair(tmp_path, source, "Qwen3.5-27B-Q4_0.gguf", "mtp-Qwen3.5-27B-Q4_K_M.gguf")
    np.testing.assert_array_equal(head_of(tmp_path / "Qwen3.5-27B-Q4_0.gguf"), fc_of(source))
    assert "is of qwen3.6-27b, the model is qwen3.5-27b" in caplog.text
    save_pair(tmp_path, other, "Qwen3.5-27B-Q4_0.gguf", "mtp-Qwen3.5-27B-Q8_0.gguf")
    np.testing.assert_array_equal(head_of(tmp_path / "Qwen3.5-27B-Q4_0.gguf"), fc_of(other))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": 96}, r"has shape \[96.*this model's has \[64"),
        ({"num_hidden_layers": 8}, "is the draft head of a model of 8 layers, this one has 4"),
        ({"intermediate_size": 64}, "has shape"),
        ({"moe": True}, r"mtp\.layers\.0\.mlp\.gate_proj\.weight is missing"),
    ],
)
def test_one_of_another_model_is_a_note(
    changes: dict[str, int], words: str, source: TinyCheckpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = save_hf(tmp_path / "hf", tiny_config(**changes), mtp=True)
    save_gguf(tmp_path / "mtp-x.gguf", foreign)
    save_pair(tmp_path, source, "m.gguf", "away/mtp.gguf")
    assert head_of(tmp_path / "m.gguf") is None
    assert "a draft head is left aside" in caplog.text
    assert re.search(words, caplog.text)


def test_a_damaged_one_is_a_note(source: TinyCheckpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_pair(tmp_path, source, "m.gguf", "mtp-m.gguf")
    whole = (tmp_path / "mtp-m.gguf").read_bytes()
    for length in (0, 2, 500, len(whole) - 1):
        caplog.clear()
        (tmp_path / "mtp-m.gguf").write_bytes(whole[:length])
        assert head_of(tmp_path / "m.gguf") is None
        assert "a draft head is left aside" in caplog.text


def test_embeddings_and_outputs_of_its_own_are_not_read(source: TinyCheckpoint, tmp_path: Path) -> None:
    save_pair(tmp_path, source, "m.gguf", "mtp-m.gguf")
    own = ("blk.4.nextn.embed_tokens.weight", "blk.4.nextn.shared_head_head.weight")
    keep(tmp_path / "mtp-m.gguf", tmp_path / "more", lambda _name: True, blocks=5, drafting=1, extra=own)
    (tmp_path / "more").replace(tmp_path / "mtp-m.gguf")
    np.testing.assert_array_equal(head_of(tmp_path / "m.gguf"), fc_of(source))
    keep(
        tmp_path / "mtp-m.gguf", tmp_path / "x", lambda _n: True, blocks=5, drafting=1, extra=("blk.4.strange.weight",)
    )
    (tmp_path / "x").replace(tmp_path / "mtp-m.gguf")
    assert head_of(tmp_path / "m.gguf") is None


def test_a_missing_norm_is_the_final_one(source: TinyCheckpoint, tmp_path: Path) -> None:
    save_pair(tmp_path, source, "m.gguf", "mtp-m.gguf")
    keep(tmp_path / "mtp-m.gguf", tmp_path / "x", lambda name: "shared_head_norm" not in name, blocks=5, drafting=1)
    (tmp_path / "x").replace(tmp_path / "mtp-m.gguf")
    tensors = by_name(open_checkpoint(tmp_path / "m.gguf").tensors)
    np.testing.assert_array_equal(tensors["mtp.norm.weight"].float32(), tensors["norm.weight"].float32())


@pytest.mark.parametrize("name", ["eagle3-m.gguf", "m-dflash-Q8_0.gguf"])
def test_draft_models_of_other_kinds_are_left_aside(
    name: str, source: TinyCheckpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_pair(tmp_path, source, "m.gguf", "away/mtp.gguf")
    (tmp_path / name).write_bytes(b"GGUF")
    assert head_of(tmp_path / "m.gguf") is None
    assert f"{name}: a draft model of a kind that qwill does not run is left aside" in caplog.text


def test_given_as_the_model(source: TinyCheckpoint, tmp_path: Path) -> None:
    save_pair(tmp_path, source, "m.gguf", "mtp-m.gguf")
    with pytest.raises(UnsupportedModel, match=r"mtp-m\.gguf: is a draft head \(MTP\), no model; give the model's"):
        open_checkpoint(tmp_path / "mtp-m.gguf")


def test_inspect_names_the_file(source: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_pair(tmp_path, source, "m.gguf", "mtp-m.gguf")
    assert main(["inspect", str(tmp_path / "m.gguf"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["draft_head_file"] == str(tmp_path / "mtp-m.gguf")
    assert set(shown["files"]) == {str(tmp_path / "m.gguf"), str(tmp_path / "mtp-m.gguf")}
    assert main(["inspect", str(tmp_path / "m.gguf")]) == 0
    assert "1 layer, in mtp-m.gguf" in capsys.readouterr().out


def test_a_head_in_another_part_is_of_the_model(
    source: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_gguf(tmp_path / "m.gguf", source, shard_tensors=10)
    assert main(["inspect", str(min(tmp_path.glob("m-*.gguf"))), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["draft_head_file"] is None


def test_in_the_store_of_ollama(
    source: TinyCheckpoint, other: TinyCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    monkeypatch.setattr(ollama_store, "SYSTEM_STORE", tmp_path / "system")
    save_pair(tmp_path, source, "m.gguf", "h.gguf")
    model, head = ((tmp_path / name).read_bytes() for name in ("m.gguf", "h.gguf"))
    path = put_model(tmp_path / "store", "qwen3.5:4b", [("model", model), ("draft", head)])
    assert resolve_model("ollama:qwen3.5:4b") == path
    np.testing.assert_array_equal(head_of(path), fc_of(source))
    wrong = put_model(tmp_path / "store", "qwen3.5:2b", [("model", model), ("draft", model)])
    with pytest.raises(CheckpointError, match=r"holds no draft head$"):
        open_checkpoint(wrong)


def test_any_damage_is_a_note_or_no_matter(
    source: TinyCheckpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes of the header are changed at random: whatever becomes of the head, the model is opened."""
    save_pair(tmp_path, source, "m.gguf", "mtp-m.gguf")
    whole = bytearray((tmp_path / "mtp-m.gguf").read_bytes())
    caplog.set_level(logging.CRITICAL)
    rng = np.random.default_rng()
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, 16_000, 3):
            damaged[place] = int(rng.integers(256))
        (tmp_path / "mtp-m.gguf").write_bytes(damaged)
        try:
            open_checkpoint(tmp_path / "m.gguf")
        except QwillError as error:
            raise AssertionError("a file that nobody named") from error
