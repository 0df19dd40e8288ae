"""Which files of a folder are read: indexes true and stale, shards without one, and what lies beside them."""

import json
from pathlib import Path

import numpy as np
import packers
import pytest
import torch
from canonical import by_name, decoded, expected
from checkpoints import TinyCheckpoint, edit_json, save_hf, tiny_config, write_shards
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from qwill.cli.inspect import describe
from qwill.errors import CheckpointError, QwillError
from qwill.quant.codecs import decode
from qwill.weights.folders.safetensors import read_folder
from qwill.weights.folders.shards import weight_files
from qwill.weights.load import open_checkpoint

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
Parts = dict[str, dict[str, torch.Tensor]]


@pytest.fixture
def made(tmp_path: Path) -> TinyCheckpoint:
    """With a draft head, and no weights on the disk yet."""
    seed = int(np.random.SeedSequence().generate_state(1)[0] % 2**31)
    print("seed", seed)
    source = save_hf(tmp_path / "hf", tiny_config(), seed=seed, mtp=True)
    (source.folder / SINGLE).unlink()
    return source


def halves(made: TinyCheckpoint, draft_file: str, main: str = SINGLE) -> Parts:
    draft = {name: tensor for name, tensor in made.state.items() if name.startswith("mtp.")}
    return {main: {name: made.state[name] for name in made.state if name not in draft}, draft_file: draft}


def write(folder: Path, parts: Parts, index: bool = True) -> None:
    for file, state in parts.items():
        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, folder / file)
    if index:
        places = {name: file for file, state in parts.items() for name in state}
        edit_json(folder / INDEX, metadata={"total_size": 0}, weight_map=places)


def shards(made: TinyCheckpoint, names: list[str]) -> Parts:
    state = list(made.state.items())
    return {name: dict(state[number :: len(names)]) for number, name in enumerate(names)}


def assert_whole(made: TinyCheckpoint, draft_head: bool = True) -> None:
    found = by_name(open_checkpoint(made.folder).tensors)
    wanted = {name: values for name, values in expected(made).items() if draft_head or not name.startswith("mtp.")}
    assert sorted(found) == sorted(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(decoded(found[name]), values, rtol=1e-6, err_msg=name)


def messages(caplog: pytest.LogCaptureFixture) -> str:
    text = "\n".join(record.getMessage() for record in caplog.records)
    caplog.clear()
    return text


@pytest.mark.parametrize(
    ("main", "draft_file"),
    [
        (SINGLE, "model_mtp.safetensors"),  # llm-compressor
        (SINGLE, "model_extra_tensors.safetensors"),  # AutoRound
        ("model_backbone.safetensors", "model_mtp.safetensors"),  # compressed-tensors 0.20
    ],
)
def test_what_the_index_names_is_read(
    main: str, draft_file: str, made: TinyCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    write(made.folder, halves(made, draft_file, main))
    assert_whole(made)
    assert not caplog.records
    shown = describe(open_checkpoint(made.folder))
    assert sorted(shown["files"]) == sorted(str(made.folder / file) for file in (main, draft_file))
    assert shown["parameters"]["mtp"] > 0


def test_a_draft_head_that_auto_round_packed_without_listing_it(made: TinyCheckpoint) -> None:
    """Its tensors are in the packing of the others; `mtp.fc` is not quantized. Nothing in the configuration says so."""
    torch.manual_seed(1)
    parts = halves(made, "model_extra_tensors.safetensors")
    quantized: Parts = {}
    plain: dict[str, torch.Tensor] = {}
    for file, state in parts.items():
        quantized[file], values = packers.quantize_state(state, packers.gptq())
        plain |= values
    write(made.folder, quantized)
    edit_json(
        made.folder / "config.json",
        quantization_config={
            "quant_method": "auto-round",
            "packing_format": "auto_round:auto_gptq",
            "bits": 4,
            "group_size": 32,
            "sym": True,
            "block_name_to_quantize": "model.layers",
        },
    )
    tensors = by_name(open_checkpoint(made.folder).tensors)
    checked = 0
    for name, values in plain.items():
        if name.startswith("mtp.") and values.ndim == 2:
            found = tensors[name].in_memory()
            np.testing.assert_array_equal(decode(found.type, found.parts[0], found.shape), values.numpy(), name)
            checked += found.type.name != "F32"
    assert checked == 7


def test_a_stale_index_beside_a_whole_file(made: TinyCheckpoint, caplog: pytest.LogCaptureFixture) -> None:
    write_shards(made.folder, made.state, 1)
    index = made.folder / INDEX
    for text, words in (
        (json.dumps({"weight_map": dict.fromkeys(made.state, "model-00001-of-00002.safetensors")}), "not here"),
        ("{", "not valid JSON"),
        ("[]", "no JSON object"),
        (json.dumps({"weight_map": {}}), "no weight_map"),
        (json.dumps({"weight_map": {"a": 3}}), "no weight_map"),
        (json.dumps({"weight_map": {"a": "../x.safetensors"}}), "not a plain file name"),
        (json.dumps({"weight_map": dict.fromkeys(made.state, SINGLE) | {"model.x": SINGLE}}), "model.x is not where"),
    ):
        index.write_text(text)
        assert_whole(made)
        message = messages(caplog)
        assert words in message
        assert message.count("\n") == 0
    save_file({"model.norm.weight": torch.ones(64)}, made.folder / "model-00001-of-00002.safetensors")
    edit_json(index, weight_map=dict.fromkeys(made.state, "model-00001-of-00002.safetensors"))
    assert_whole(made)
    assert f"{SINGLE} is read; the files that {INDEX} names are left out" in messages(caplog)


def test_tensors_in_two_files(made: TinyCheckpoint, caplog: pytest.LogCaptureFixture) -> None:
    """The one that the index names is read; without its word neither is taken for the right one."""
    parts = halves(made, "model_extra_tensors.safetensors")
    norm = "model.norm.weight"
    parts["model_extra_tensors.safetensors"][norm] = torch.full((64,), 7.0)
    write(made.folder, parts)  # the index names the last file
    found = by_name(open_checkpoint(made.folder).tensors)["norm.weight"]
    np.testing.assert_array_equal(found.float32(), np.full(64, 8, np.float32))
    assert f"{norm} is in two files" in messages(caplog)
    places = json.loads((made.folder / INDEX).read_text())["weight_map"]
    edit_json(made.folder / INDEX, weight_map=places | {norm: SINGLE})
    assert_whole(made)
    edit_json(made.folder / INDEX, weight_map={name: file for name, file in places.items() if name != norm})
    with pytest.raises(CheckpointError, match=r"norm\.weight is in model\.safetensors and in model_extra"):
        open_checkpoint(made.folder)


@pytest.mark.parametrize(
    "names",
    [
        [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)],
        [f"model-0000{number}-of-00003.safetensors" for number in (0, 1, 2)],
        ["model-00001-of-00001.safetensors"],
        ["pytorch_model-00001-of-00002.safetensors", "pytorch_model-00002-of-00002.safetensors"],
        [f"model-{number}-of-11.safetensors" for number in range(1, 12)],
        ["pytorch_model.safetensors"],
        ["Qwen3.5-tiny.safetensors"],
    ],
)
def test_shards_whose_index_is_lost(names: list[str], made: TinyCheckpoint, caplog: pytest.LogCaptureFixture) -> None:
    write(made.folder, shards(made, names), index=False)
    assert_whole(made)
    assert (f"has no {INDEX}; all" in messages(caplog)) == (len(names) > 1)
    shown = describe(open_checkpoint(made.folder))
    assert sorted(shown["files"]) == sorted(str(made.folder / file) for file in names)


def test_an_index_that_names_other_shards(made: TinyCheckpoint, caplog: pytest.LogCaptureFixture) -> None:
    write(made.folder, shards(made, [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]), index=False)
    edit_json(made.folder / INDEX, weight_map=dict.fromkeys(made.state, "model-00001-of-00005.safetensors"))
    assert_whole(made)
    assert "names model-00001-of-00005.safetensors, which is not here; the 2 shards that are, are read" in caplog.text


def test_an_index_of_another_name(made: TinyCheckpoint) -> None:
    write(made.folder, shards(made, ["a.safetensors", "b.safetensors"]))
    (made.folder / INDEX).rename(made.folder / "pytorch_model.safetensors.index.json")
    assert_whole(made)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"], "model-00003-of-00003.safetensors"),
        (["model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"], "model-00001-of-00003.safetensors"),
        (["model-00002-of-00002.safetensors", "other.safetensors"], "model-00001-of-00002.safetensors is missing"),
        (["a-1-of-1.safetensors", "b-1-of-1.safetensors"], "several sets of shards"),
        (["a.safetensors", "b.safetensors"], "no model.safetensors.index.json that says"),
        (["model-1-of-0.safetensors"], "a file of the 0 shards"),
    ],
)
def test_shards_that_are_not_all_there(names: list[str], words: str, made: TinyCheckpoint) -> None:
    write(made.folder, shards(made, names), index=False)
    with pytest.raises(CheckpointError, match=words.replace(".", r"\.")):
        open_checkpoint(made.folder)


def test_the_usual_stem_is_preferred(made: TinyCheckpoint, caplog: pytest.LogCaptureFixture) -> None:
    write(made.folder, shards(made, ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]), index=False)
    write(made.folder, {"consolidated-1-of-1.safetensors": {"x": torch.ones(1)}}, index=False)
    assert_whole(made)
    assert "consolidated-1-of-1.safetensors: is not read" in caplog.text


@pytest.mark.parametrize("main", [[SINGLE], ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]])
def test_a_draft_head_that_no_index_names(
    main: list[str], made: TinyCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that holds nothing else is read, unless the model has one."""
    parts = halves(made, "mtp.safetensors")
    whole = parts.pop(SINGLE)
    write(
        made.folder, {file: dict(list(whole.items())[number :: len(main)]) for number, file in enumerate(main)}, False
    )
    save_file(parts["mtp.safetensors"], made.folder / "mtp.safetensors")
    assert_whole(made)
    assert "is not read" not in messages(caplog)
    write_shards(made.folder, made.state, 1)
    (made.folder / "mtp.safetensors").rename(made.folder / "zzz.safetensors")
    assert_whole(made)
    assert "zzz.safetensors: is not read" in messages(caplog)


def test_an_adapter_in_the_folder_is_said(made: TinyCheckpoint, caplog: pytest.LogCaptureFixture) -> None:
    write_shards(made.folder, made.state, 1)
    for name in ("adapter_model.safetensors", "adapters.safetensors", "adapter_model.bin"):
        (made.folder / name).write_bytes(b"not looked into")
        assert_whole(made)
        message = messages(caplog)
        assert f"{name}: is a LoRA adapter, not applied" in message
        assert f"--lora {made.folder}" in message
        (made.folder / name).unlink()


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 99])
def test_a_damaged_file_that_is_not_needed(
    content: bytes, made: TinyCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    write_shards(made.folder, made.state, 1)
    (made.folder / "other.safetensors").write_bytes(content)
    assert_whole(made)
    assert "other.safetensors: is not read" in caplog.text


def test_many_files_that_are_not_needed_are_one_line(made: TinyCheckpoint, caplog: pytest.LogCaptureFixture) -> None:
    write_shards(made.folder, made.state, 1)
    for number in range(1, 41):
        save_file({f"t{number}": torch.ones(1)}, made.folder / f"model-{number:05}-of-00041.safetensors")
    assert_whole(made)
    message = messages(caplog)
    assert message.count("is not read") == 1
    assert "model-00001-of-00041.safetensors: is not read (and 39 more); nothing says" in message


FILES = st.one_of(
    st.sampled_from([SINGLE, "a.safetensors", "model-1-of-2.safetensors", "model-2-of-2.safetensors", "x-0-of-1.bin"]),
    st.from_regex(r"[a-z]{1,3}-\d{1,3}-of-\d{1,3}\.safetensors", fullmatch=True),
)


@example(files={"a.safetensors"}, index=json.dumps({"weight_map": {"a\nb": "a.safetensors"}}).encode())
@example(files={"a.safetensors"}, index=json.dumps({"weight_map": {"a": "a\nb.safetensors"}}).encode())
@given(
    files=st.sets(FILES, max_size=5),
    index=st.one_of(
        st.none(),
        st.binary(max_size=20),
        st.dictionaries(st.text(max_size=3), FILES, max_size=4).map(lambda it: json.dumps({"weight_map": it}).encode()),
        st.recursive(
            st.none() | st.text(max_size=3), lambda it: st.dictionaries(st.sampled_from(["weight_map", "a"]), it)
        )
        .map(json.dumps)
        .map(str.encode),
    ),
)
def test_any_folder_is_read_or_refused(
    files: set[str], index: bytes | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for number, name in enumerate(sorted(files)):
        save_file({"shared" if number % 3 == 2 else f"t{number}": torch.ones(1)}, folder / name)
    if index is not None:
        (folder / INDEX).write_bytes(index)
    for look in (weight_files, lambda it: list(read_folder(it))):
        try:
            look(folder)
        except QwillError as error:
            message = str(error)
        else:
            continue
        assert "\n" not in message
        assert str(folder) in message
