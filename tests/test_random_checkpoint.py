"""Random weights as a file, and the same plan in memory."""

from pathlib import Path

import pytest
from benchmarks import random_checkpoint
from random_members import tiny_family_config

from qwill import LLM, SamplingParams
from qwill.weights.load import open_checkpoint
from qwill.weights.random import plan


@pytest.mark.parametrize(("moe", "mix"), [(False, "Q5_K_M"), (True, "MXFP4_MOE")])
def test_a_file_holds_what_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moe: bool, mix: str) -> None:
    monkeypatch.setattr(random_checkpoint, "BASE_TOKENS", 400)
    text = tiny_family_config(moe, tied=not moe)["text_config"]
    random_checkpoint.write(tmp_path / "it.gguf", text, mix)
    tensors = open_checkpoint(tmp_path / "it.gguf").tensors
    assert {tensor.name: (tensor.shape, tensor.type) for tensor in tensors} == {
        tensor.name: (tensor.shape, tensor.type) for tensor in plan(text, mix)
    }
    answer = LLM(str(tmp_path / "it.gguf"), threads=1).generate([[1, 2, 3]], SamplingParams(max_tokens=3))[0]
    assert answer.usage["completion_tokens"] <= 3
