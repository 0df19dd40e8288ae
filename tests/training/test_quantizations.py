"""The table of quantizations: sizes, shares of F32's accuracy, and llama.cpp's real files."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from training import quantizations
from training.evaluation import asking
from training.evaluation.tasks import Score
from training.gguf_export import MODEL_NAME, export_gguf

from qwill import LLM, SamplingParams


def test_shares_are_of_f32(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the program, and accuracies that are known."""
    right = iter([80, 40, 79, 40, 0, 40])

    def measure(llm: LLM, examples: dict[str, Any], told: str) -> dict[str, Score]:
        assert llm.checkpoint.config["vision_config"]
        assert list(examples) == ["sort", "copy"]
        return {row: Score(next(right), 80) for row in examples}

    monkeypatch.setattr(quantizations, "quantize", lambda _, source, copy, kind: shutil.copyfile(source, copy))
    monkeypatch.setattr(quantizations, "measure", measure)
    monkeypatch.setattr(quantizations, "TASKS", ("sort", "copy"))
    result = quantizations.table(folder, ["Q8_0", "Q4_0"], Path("program"), 1, 1, 1)
    assert [(row[0], *row[2:]) for row in result.rows] == [
        ("F32", "160", "75.0%", "100.0%", "", ""),
        ("Q8_0", "160", "74.4%", "99.2%", "≥ 99.5%", "no"),
        ("Q4_0", "160", "25.0%", "33.3%", "", ""),
    ]
    export_gguf(folder, folder / "f32", "F32")
    size = (folder / "f32" / MODEL_NAME).stat().st_size
    assert {row[1] for row in result.rows} == {f"{size / 1e6:.1f} MB"}


@pytest.mark.peer
def test_every_type_is_made_and_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "GREEDY", SamplingParams(temperature=0, max_tokens=4))
    monkeypatch.setattr(quantizations, "TASKS", ("sort", "picture: count"))
    program = Path(os.environ["QWILL_LLAMA_BIN"], "llama-quantize")
    result = quantizations.table(folder, list(quantizations.TYPES), program, 1, 1, 1)
    sizes = {row[0]: float(row[1].split()[0]) for row in result.rows}
    assert list(sizes) == ["F32", *quantizations.TYPES]
    order = ["F32", "F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]
    assert sorted(order, key=sizes.__getitem__, reverse=True) == order


@pytest.mark.needs("scripts")
def test_a_failing_program_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "quantize"
    program.write_text("#!/bin/sh\necho no such type as $3 >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        quantizations.quantize(program, tmp_path, tmp_path, "Q4_0")
    assert "no such type as Q4_0" in capsys.readouterr().out
