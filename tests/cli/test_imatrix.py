"""`qwill imatrix` on a tiny model and on the demonstration model."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Run, run_process
from PIL import Image
from terminal import CTRL_C, terminal

from qwill.convert.importance_file import read_importance

WORDS = "the other and the inner thing " * 40


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(WORDS)
    return tmp_path / "text.txt"


def test_texts_and_pictures(run: Run, tiny: Path, text: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "blue.png")
    (tmp_path / "chats.jsonl").write_text('[{"role": "user", "content": "the inner"}]\n')
    output = tmp_path / "made" / "imatrix.gguf"
    result = run(
        "imatrix", tiny, "-f", text, "-f", tmp_path / "chats.jsonl", "--image", tmp_path / "blue.png",
        "-o", output, "--ctx", "48", "--threads", "2",
    )  # fmt: skip
    assert result.code == 0, result
    found = read_importance(output)
    assert found.datasets == ("text.txt", "chats.jsonl", "blue.png")
    tokens = int(found.statistics["output.weight"].counts[0])
    assert result.out == f"{output}: {len(found.statistics)} tensors' inputs over {tokens} tokens\n"
    assert (found.chunk_size, found.chunk_count) == (48, tokens // 48)
    assert {"blk.0.ffn_down_exps.weight", "blk.4.nextn.eh_proj.weight", "v.blk.0.attn_qkv.weight"} <= set(
        found.statistics
    )
    assert found.statistics["v.blk.0.attn_qkv.weight"].counts[0] % 4 == 0
    again = run("imatrix", tiny, "-f", text, "-o", output)
    assert "exists" in again.mistake()


def test_so_many_pieces(run: Run, tiny: Path, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "imatrix.gguf"
    output.write_text("old")
    result = run("imatrix", tiny, "-f", text, "-o", output, "--ctx", "3", "--chunks", "1", "--force")
    assert result.code == 0, result
    # 2 of 8 experts for each of 3 tokens leave two or more without any.
    assert result.err.startswith("qwill: in one layer no token went to ")
    assert np.unique(read_importance(output).statistics["blk.0.attn_qkv.weight"].counts).tolist() == [3]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "x.gguf"], "nothing to read; give a text with -f FILE"),
        (["-f", "TEXT"], "-o/--output"),
        (["-f", "nowhere.txt", "-o", "x.gguf"], "nowhere.txt: No such file"),
        (["-f", "TEXT", "-o", "."], "is a folder"),
        (["-f", "TEXT", "-o", "x.gguf", "--ctx", "1"], "1 is not at least 2"),
        (["-f", "TEXT", "-o", "x.gguf", "--ctx", "4096"], "a context of 4097 is outside 1 to 4096"),
        (["-f", "TEXT", "-o", "x.gguf", "--chunks", "0"], "0 is not at least 1"),
        (["--image", "nowhere.png", "-o", "x.gguf"], "nowhere.png"),
        (["-f", "TEXT", "-o", "x.gguf", "--mmproj", "y.gguf"], "y.gguf"),
    ],
)
def test_mistakes(
    run: Run, tiny: Path, text: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(text.parent)
    assert says in run("imatrix", tiny, *(str(text) if word == "TEXT" else word for word in arguments)).mistake()
    assert list(text.parent.iterdir()) == [text]


def test_ctrl_c_writes_nothing(text: Path) -> None:
    text.write_text(WORDS * 500)
    output = text.with_name("imatrix.gguf")
    with terminal("-m", "qwill", "imatrix", "-f", str(text), "-o", str(output), "--threads", "1") as shown:
        shown.expect("read .* [1-9][0-9]*/")
        assert shown.leave(CTRL_C) == 130
    assert list(text.parent.iterdir()) == [text]


def test_the_embedded_model(text: Path) -> None:
    output = text.with_name("imatrix.gguf")
    result = run_process("imatrix", "-f", text, "-o", output, "--ctx", "64", "--threads", "1")
    assert result.code == 0, result
    assert "ffn_down_exps" in " ".join(read_importance(output).statistics)
