"""Every kind of damaged or foreign input through `qwill run`: one line that names it, exit code 2, nothing else."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from checkpoints import save_hf, tiny_config
from conftest import Run
from gguf_checkpoints import save_gguf
from PIL import Image
from safetensors.torch import load_file, save_file

Damage = Callable[[Path], object]


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return damage


def router(state: dict[str, torch.Tensor]) -> str:
    return next(name for name in state if name.endswith("layers.0.mlp.gate.weight"))


def cut(share: float) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: int(len(content) * share)])

    return damage


def absurd_offset(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header[router(header)]["data_offsets"] = [2**60, 2**60 + 4]
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def edit_config(**changes: object) -> Damage:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return damage


FOLDERS: dict[str, tuple[Damage, str]] = {
    "empty weights": (cut(0), "model.safetensors"),
    "torn header": (cut(0.0005), "model.safetensors"),
    "torn weights": (cut(0.7), "model.safetensors"),
    "absurd offset": (absurd_offset, "model.safetensors"),
    "missing tensor": (weights(lambda state: state.pop(router(state))), "layers.0.mlp.gate.weight"),
    "extra tensor": (weights(lambda state: state.update(surprise=torch.zeros(2))), "surprise"),
    "not a number": (weights(lambda state: state[router(state)].fill_(float("nan"))), "layers.0.mlp.gate"),
    "infinite": (weights(lambda state: state[router(state)].fill_(float("inf"))), "layers.0.mlp.gate"),
    "another architecture": (edit_config(model_type="llama"), "llama"),
    "another quantization": (edit_config(quantization_config={"quant_method": "magic"}), "magic"),
    "broken configuration": (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
    "broken tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json"),
    "broken template": (
        lambda folder: (folder / "chat_template.jinja").write_text("{% if %}"),
        "chat template does not compile",
    ),
    "endless template": (
        lambda folder: (folder / "chat_template.jinja").write_text(
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"
        ),
        "chat template",
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(run: Run, tiny: Path, tmp_path: Path, case: str) -> None:
    damage, says = FOLDERS[case]
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    damage(folder)
    assert says in run("run", folder, "-p", "hi").mistake()


def test_gguf_files(run: Run, tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config())
    path = tmp_path / "model.gguf"
    save_gguf(path, made)
    whole = path.read_bytes()
    reader = gguf.GGUFReader(path)
    tensor = next(each for each in reader.tensors if each.name == "output.weight")
    info = tensor.field.offset
    kind = info + len(tensor.field.parts[0].tobytes()) + len(tensor.field.parts[1].tobytes())
    kind += len(tensor.field.parts[2].tobytes()) + len(tensor.field.parts[3].tobytes())
    assert struct.unpack_from("<I", whole, kind) == (0,)  # F32

    def changed(offset: int, layout: str, value: int) -> bytes:
        content = bytearray(whole)
        struct.pack_into(layout, content, offset, value)
        return bytes(content)

    for content, says in (
        (changed(8, "<Q", 2**62), "model.gguf"),  # number of tensors
        (changed(16, "<Q", 2**62), "model.gguf"),  # number of keys
        (changed(4, "<I", 99), "version"),
        (changed(kind, "<I", 77), "output.weight"),  # tensor type
        (changed(kind + 4, "<Q", 2**60), "output.weight"),  # offset
        (whole[: len(whole) // 2], "model.gguf"),
    ):
        path.write_bytes(content)
        assert says in run("run", path, "-p", "hi").mistake()
    path.write_bytes(whole)
    assert run("run", path, "-p", "hi", "-n", "1").code == 0


def test_images_of_every_size(run: Run, tiny: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    assert run("run", tiny, "-p", "hi", "--image", tmp_path / "dot.png", "-n", "1").code == 0
    Image.new("1", (20000, 20000)).save(tmp_path / "huge.png")
    assert "huge.png" in run("run", tiny, "-p", "hi", "--image", tmp_path / "huge.png").mistake()
    Image.new("RGB", (3, 900)).save(tmp_path / "thread.png")
    assert "200 times" in run("run", tiny, "-p", "hi", "--image", tmp_path / "thread.png").mistake()


def test_a_video_without_frames(run: Run, tiny: Path, tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "sound.wav" in run("run", tiny, "-p", "hi", "--video", path).mistake()


def test_too_little_memory(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwill.options.available_memory", lambda: 10_000)
    assert "GB are free" in run("run", tiny, "-p", "hi").mistake()
