"""`qwill quantize`: files, what it says of them, and mistakes in one line each."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from checkpoints import edit_json, write_shards
from conftest import Run
from safetensors.torch import load_file
from terminal import CTRL_C, terminal

from qwill.cli.quantize import size
from qwill.fit.family import distinct_members
from qwill.quant.importance import Importance, Statistics
from qwill.weights.load import open_checkpoint


def kinds(file: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}


def test_a_model_and_its_vision_file(run: Run, tiny: Path, tmp_path: Path) -> None:
    """The pair answers as a model does."""
    result = run("quantize", tiny, tmp_path / "it.gguf", "--type", "q8_0", "--threads", "2")
    made = tmp_path / "it.gguf"
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(rf"{re.escape(str(made))}: \d+\.\d\d kB, \d+\.\d\d bits per weight\n", result.out)
    assert kinds(made)["blk.0.ffn_up_exps.weight"] == "Q8_0"
    assert kinds(made)["blk.4.nextn.eh_proj.weight"] == "Q8_0"
    assert run("quantize", tiny, tmp_path / "mmproj-it.gguf", "--mmproj").code == 0
    assert kinds(tmp_path / "mmproj-it.gguf")["mm.2.weight"] == "F16"
    assert run("run", made, "-p", "the", "-n", "3", "--temp", "0", "--no-think").code == 0
    assert open_checkpoint(made).config["vision_config"]["depth"] == 2


def test_from_a_file_by_own_rules(run: Run, tiny: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    rules = '[[rules]]\ntensors = ["attn_*"]\ntype = "BF16"\nreason = "none"\n'
    recipe.write_text(f'description = "mine"\ndefault = "Q8_0"\n{rules}')
    assert run("quantize", tiny, tmp_path / "a.gguf", "--type", "F16").code == 0
    result = run("quantize", tmp_path / "a.gguf", tmp_path / "b.gguf", "--recipe", recipe, "--no-mtp")
    assert (result.code, result.err) == (0, "")
    found = kinds(tmp_path / "b.gguf")
    assert found["blk.3.attn_q.weight"] == "BF16"
    assert found["token_embd.weight"] == "Q8_0"
    assert not any(name.startswith("blk.4.") for name in found)
    assert "general.file_type" not in gguf.GGUFReader(tmp_path / "b.gguf").fields


def test_importance(run: Run, tmp_path: Path) -> None:
    """Of the demonstration model: another file comes out, as large."""
    from qwill.convert.importance_file import write_importance

    rng = np.random.default_rng()
    name, columns = "blk.0.attn_gate.weight", 256
    sums = rng.lognormal(sigma=2, size=(1, columns)).astype(np.float32)
    importance = Importance({name: Statistics(sums, np.ones(1, np.float32))})
    write_importance(tmp_path / "imatrix.gguf", importance)
    assert run("quantize", "demo", tmp_path / "plain.gguf").code == 0
    assert run("quantize", "demo", tmp_path / "it.gguf", "--imatrix", tmp_path / "imatrix.gguf").code == 0
    plain, weighted = (
        {t.name: t.data.tobytes() for t in gguf.GGUFReader(tmp_path / file).tensors}
        for file in ("plain.gguf", "it.gguf")
    )
    assert [name for name in plain if plain[name] != weighted[name]] == [name]


def test_parts(run: Run, tiny: Path, tmp_path: Path) -> None:
    result = run("quantize", tiny, tmp_path / "it.gguf", "--type", "F32", "--split-max-size", "200000")
    parts = sorted(tmp_path.glob("it-*.gguf"))
    assert f"in {len(parts)} parts" in result.out
    assert len(parts) > 2
    assert result.out.startswith(str(parts[0]))
    assert run("inspect", parts[0]).code == 0


def test_a_folder_in_fp8(run: Run, tiny: Path, tmp_path: Path) -> None:
    planned = run("quantize", tiny, "--type", "fp8", "--dry-run").out
    result = run("quantize", tiny, tmp_path / "fp8", "--type", "FP8", "--split-max-size", "100000")
    assert (result.code, result.err) == (0, "")
    total = sum(value.nbytes for file in (tmp_path / "fp8").glob("*.safetensors") for value in load_file(file).values())
    assert f"({total:,} bytes)" in planned
    assert run("inspect", tmp_path / "fp8").code == 0
    assert run("quantize", tmp_path / "fp8", tmp_path / "it.gguf", "--type", "Q8_0").code == 0


@pytest.mark.parametrize("options", [["--type", "Q4_K_M"], ["--no-mtp"], ["--mmproj"], ["--split-max-size", "100000"]])
def test_a_dry_run_tells_the_size_that_it_will_be(options: list[str], run: Run, tiny: Path, tmp_path: Path) -> None:
    told = run("quantize", tiny, "--dry-run", *options)
    assert (told.code, told.err) == (0, "")
    assert not list(tmp_path.glob("*.gguf"))
    assert run("quantize", tiny, tmp_path / "it.gguf", *options).code == 0
    total = sum(path.stat().st_size for path in tmp_path.glob("it*.gguf"))
    assert f"({total:,} bytes)" in told.out


@pytest.mark.parametrize("member", [*distinct_members(), "qwen3.5:35b"])
def test_a_dry_run_needs_no_download(member: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = {}
    for options in (["--type", "MXFP4_MOE"], ["--mmproj", "--type", "BF16"], ["--type", "FP8"]):
        result = run("quantize", member, "--dry-run", *options)
        if member == "Qwen3.8-2.4T-A95B" and "--mmproj" in options:
            assert "has no vision_config" in result.mistake()
            continue
        assert (result.code, result.err) == (0, "")
        shown[options[-1]] = result.out
    assert "about" in shown["MXFP4_MOE"]
    assert re.search(r"draft head +\d+ +[\d,]+", shown["MXFP4_MOE"])
    if member != "Qwen3.8-2.4T-A95B":
        assert re.match(r"part .*\nvision tower .*\nthe file takes about \d", shown["BF16"])
    assert re.match(r"the folder's tensors take about \d+\.\d\d GB\n", shown["FP8"])


def test_sizes_are_told_without_the_engine() -> None:
    """What imports it takes much of a second."""
    script = "import sys; from qwill.cli import main; main(['quantize', 'Qwen3.5-397B-A17B', '--dry-run']); "
    script += "assert not {'qwill.llm', 'qwill.engine', 'huggingface_hub'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tiny}"], "give TARGET"),
        (["{tiny}", "x.gguf", "--type", "Q9_Z"], "Q9_Z"),
        (["{tiny}", "x.gguf", "--recipe", "none.toml"], "none.toml"),
        (["{tiny}", "x.gguf", "--type", "Q8_0", "--recipe", "a"], "exclude each other"),
        (["{tiny}", "x.bin"], "let its name end in .gguf"),
        (["nothing", "x.gguf"], "nothing: no such file"),
        (["{tiny}", "x.gguf", "--mmproj", "--type", "Q4_K_M"], "vision files are of type"),
        (["{tiny}", "x.gguf", "--mmproj", "--no-mtp"], "--no-mtp has no meaning with --mmproj"),
        (["{tiny}", "x", "--type", "FP8", "--imatrix", "a"], "--imatrix has no meaning with --type FP8"),
        (["demo", "x", "--type", "FP8"], "FP8 is made of a model's folder"),
        (["demo", "x.gguf", "--mmproj"], "a vision file is made from a model's folder"),
        (["{tiny}", "x.gguf", "--imatrix", "none.gguf"], "none.gguf: no such file"),
        (["{tiny}", "x.gguf", "--split-max-size", "0"], "no size such as 40G"),
        (["{tiny}", "x.gguf", "--split-max-size", "4T"], "no size such as 40G"),
        (["{tiny}", "{tiny}/config.json/x.gguf"], "config.json"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in run("quantize", *(argument.format(tiny=tiny) for argument in arguments)).mistake()
    assert [path.name for path in tmp_path.iterdir() if path.name != "hub"] == []


def test_what_exists_is_kept(run: Run, tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.gguf"
    target.write_text("mine")
    assert "--force" in run("quantize", tiny, target).mistake()
    assert target.read_text() == "mine"
    assert run("quantize", tiny, target, "--force").code == 0
    assert target.read_bytes()[:4] == b"GGUF"


def test_a_damaged_weight(run: Run, tiny: Path, tmp_path: Path) -> None:
    state: dict[str, Any] = load_file(tiny / "model.safetensors")
    name = next(name for name in state if name.endswith("layers.1.linear_attn.out_proj.weight"))
    state[name][3, 4] = float("inf")
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in tiny.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    write_shards(folder, state, 1)
    edit_json(folder / "config.json")
    assert (
        "blk.1.ssm_out.weight holds infinity (row 3, column" in run("quantize", folder, tmp_path / "x.gguf").mistake()
    )
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize(("kind", "warned"), [("IQ2_XS", True), ("IQ3_S", False)])
def test_a_warning_where_importance_is_badly_needed(kind: str, warned: bool, run: Run, tmp_path: Path) -> None:
    rules = f'[[rules]]\ntensors = ["attn_gate*"]\ntype = "{kind}"\nreason = "none"\n'
    (tmp_path / "mine.toml").write_text(f'description = "mine"\ndefault = "Q8_0"\n{rules}')
    result = run("quantize", "demo", "--recipe", tmp_path / "mine.toml", "--dry-run")
    assert result.code == 0
    warning = f"qwill: {kind} without importance loses much; gather it with qwill imatrix and give --imatrix"
    assert result.err.splitlines() == [warning] * warned


SLOW = """
import sys, time
from qwill.cli import main
from qwill.quant import codecs
encode = codecs.encode
codecs.encode = lambda *arguments: (time.sleep(0.05), encode(*arguments))[1]
sys.exit(main(["quantize", "demo", sys.argv[1], "--threads", "1"]))
"""


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Its bar is shown, so the file is being written."""
    with terminal("-c", SLOW, str(tmp_path / "x.gguf")) as shown:
        shown.expect("quantizing")
        assert [path.name for path in tmp_path.iterdir()] == ["x.gguf.partial"]
        assert shown.leave(CTRL_C) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "bytes_"), [("40G", 40 * 10**9), ("500m", 500 * 10**6), ("77", 77)])
def test_sizes(text: str, bytes_: int) -> None:
    assert size(text) == bytes_
