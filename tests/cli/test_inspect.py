"""`qwill inspect`, held against the files themselves."""

import json
from pathlib import Path

import pytest
from checkpoints import save_hf, tiny_config
from conftest import Run
from gguf import GGUFReader
from gguf_checkpoints import save_gguf
from safetensors import safe_open


def test_a_folder(run: Run, tiny: Path) -> None:
    shown = json.loads(run("inspect", tiny, "--json").out)
    with safe_open(tiny / "model.safetensors", "pt") as file:
        sizes = {name: file.get_tensor(name).numel() for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    mtp = sum(size for name, size in sizes.items() if name.startswith("mtp."))
    vision = sum(size for name, size in sizes.items() if ".visual." in name)
    text = sum(sizes.values()) - mtp - vision
    # three idle matrices in each of 6 of 8 experts of 4 layers
    active = text - 4 * 6 * 3 * 64 * 32
    assert shown["parameters"] == {
        "total": sum(sizes.values()), "text": text, "active_text": active, "vision": vision, "mtp": mtp
    }  # fmt: skip
    assert shown["layers"] == {"total": 4, "gated_delta": 3, "attention": 1, "mtp": 1}
    assert shown["experts"] == {"total": 8, "active": 2}
    assert shown["vision"]["layers"] == 2
    assert (shown["context"], shown["tokenizer"], shown["format"]) == (4096, "tokenizer.json", "hf")
    (entry,) = shown["tensor_types"].values()
    assert (entry["elements"], entry["bytes"]) == (sum(sizes.values()), 4 * sum(sizes.values()))
    file_path = tiny / "model.safetensors"
    assert shown["files"] == {str(file_path): file_path.stat().st_size}
    assert shown["kv_bytes_per_token"] == 2 * 2 * 32 * 2  # one layer's keys and values of 2 heads
    # three layers: 4 heads of 16 x 16, and 3 inputs of 2 * 2 * 16 + 4 * 16 channels
    assert shown["state_bytes"] == 3 * 4 * (4 * 16 * 16 + 3 * 128)


@pytest.fixture(scope="module")
def gguf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    source = save_hf(folder / "source", tiny_config(vision=True, hidden_size=256))
    (folder / "model").mkdir()
    save_gguf(
        folder / "model" / "m.gguf",
        source,
        types=lambda name: "Q4_0" if "ffn" in name else "Q8_0",
        mmproj=folder / "model" / "mmproj.gguf",
        shard_tensors=30,
    )
    return folder / "model"


def test_a_split_gguf_with_its_vision_file(run: Run, gguf_folder: Path) -> None:
    first = sorted(gguf_folder.glob("m-*.gguf"))[0]
    shown = json.loads(run("inspect", first, "--json").out)
    files = sorted(gguf_folder.glob("*.gguf"))
    assert len(files) > 2
    assert shown["files"] == {str(file): file.stat().st_size for file in files}
    expected: dict[str, int] = {}
    for file in files:
        for tensor in GGUFReader(file).tensors:
            expected[tensor.tensor_type.name] = expected.get(tensor.tensor_type.name, 0) + int(tensor.n_bytes)
    assert {"Q4_0", "Q8_0", "F32"} <= expected.keys()
    assert {name: entry["bytes"] for name, entry in shown["tensor_types"].items()} == expected
    assert shown["parameters"]["mtp"] == 0
    assert shown["weight_bytes"] == sum(expected.values())


def test_for_people(run: Run, gguf_folder: Path, tiny: Path) -> None:
    shown = run("inspect", sorted(gguf_folder.glob("m-*.gguf"))[0])
    assert (shown.code, shown.err) == (0, "")
    assert all(word in shown.out for word in ("qwen3_5 (gguf)", "none, dense", "Q4_0", "tensor types"))
    assert "\x1b" not in shown.out
    assert "2 of 8 active" in run("inspect", tiny).out


def test_a_foreign_model_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert "llama" in run("inspect", tmp_path).mistake()
