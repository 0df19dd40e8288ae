"""`qwill compare` on a tiny model and files made of it."""

import json
from pathlib import Path

import pytest
from checkpoints import TinyCheckpoint, save_hf, tiny_config
from conftest import Run
from gguf_checkpoints import save_gguf
from PIL import Image
from terminal import CTRL_C, terminal

WORDS = "the other and the inner thing " * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def made(folder: Path) -> TinyCheckpoint:
    return save_hf(folder / "hf", tiny_config(), seed=3, tokenizer=True)


@pytest.fixture(scope="module")
def quantized(folder: Path, made: TinyCheckpoint) -> Path:
    save_gguf(folder / "q8.gguf", made, types="Q8_0")
    return folder / "q8.gguf"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(WORDS)
    return tmp_path / "text.txt"


def test_json(run: Run, made: TinyCheckpoint, quantized: Path, text: Path) -> None:
    result = run("compare", made.folder, quantized, "-f", text, "--ctx", "32", "--chunks", "3", "--json")
    assert (result.code, result.err) == (0, "")
    shown = json.loads(result.out)
    assert shown["a"]["path"] == str(made.folder)
    assert shown["a"]["bytes"] == 4 * sum(tensor.numel() for tensor in made.state.values())
    assert shown["a"]["bits_per_weight"] == 32
    assert 8.5 < shown["b"]["bits_per_weight"] < 12  # vectors and the convolution stay F32
    assert shown["tokens"] == 3 * 15
    assert 0 < shown["divergence"]["median"] <= shown["divergence"]["p90"] <= shown["divergence"]["max"] < 1
    assert shown["perplexity"]["b"] == pytest.approx(shown["perplexity"]["a"] * shown["perplexity"]["ratio"])
    assert 0.5 < shown["same_top_token"] <= 1


def test_a_table_and_a_plot(run: Run, made: TinyCheckpoint, quantized: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    result = run("compare", made.folder, quantized, "--plot", plot, "--ctx", "64", "--chunks", "4")
    assert (result.code, result.err) == (0, "")
    for words in ("perplexity", "bits per weight", "divergence, nats", "same likeliest token", "B takes "):
        assert words in result.out
    with Image.open(plot) as picture:
        assert picture.size == (1500, 600)
        assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 10


def test_the_same_file_twice(run: Run, quantized: Path, text: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    shown = json.loads(run("compare", quantized, quantized, "-f", text, "--ctx", "50", "--plot", plot, "--json").out)
    assert shown["divergence"]["max"] <= 1e-12
    assert (shown["perplexity"]["ratio"], shown["same_top_token"], shown["top_5_overlap"]) == (1, 1, 1)
    assert "</svg>" in plot.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: B"),
        (["nowhere"], "nowhere"),
        (["MODEL", "-f", "nowhere.txt"], "nowhere.txt: No such file"),
        (["MODEL", "--ctx", "3"], "3 is not at least 4"),
        (["MODEL", "--plot", "x.txt"], "x.txt: a plot's name ends in .png, .svg or .pdf"),
        (["MODEL", "--plot", "no/x.png"], "x.png: there is no folder "),
        (["demo"], "compare files of the same model"),
    ],
)
def test_mistakes(
    run: Run, quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(quantized) if word == "MODEL" else word for word in arguments]
    assert says in run("compare", quantized, *words).mistake()
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(run: Run, quantized: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert (
        "--plot needs matplotlib, which is not installed"
        in run("compare", quantized, quantized, "--plot", "x.png").mistake()
    )


def test_ctrl_c_at_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(WORDS * 1000)
    with terminal(
        "-m", "qwill", "compare", "demo", "demo", "-f", str(tmp_path / "text.txt"), "--threads", "1"
    ) as shown:
        shown.expect("A reads .* [1-9][0-9]*/")
        assert shown.leave(CTRL_C) == 130
        assert "divergence" not in shown.seen
