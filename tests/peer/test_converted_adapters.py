"""llama.cpp's converter of adapters: its files say what the folders say that they are made of."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import save_hf, tiny_config
from gguf_checkpoints import save_gguf
from peft_folders import DENSE, Recipe, save_peft

from qwill.weights.adapters.load import open_adapter
from qwill.weights.load import open_checkpoint

pytestmark = pytest.mark.peer


def converted(folder: Path, base: Path, file: Path) -> Path:
    script = Path(os.environ["QWILL_LLAMA_CPP"]) / "convert_lora_to_gguf.py"
    command = [sys.executable, str(script), str(folder), "--base", str(base), "--outfile", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return file


@pytest.mark.parametrize(
    ("moe", "targets"),
    [(False, DENSE), (False, ("embed_tokens", "q_proj", "lm_head")), (True, (*DENSE, "shared_expert_gate"))],
    ids=["dense", "tables", "mixture"],
)
def test_the_same_in_both_formats(moe: bool, targets: tuple[str, ...], tmp_path: Path) -> None:
    """The converter fails where the configuration has no draft head."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    config = tiny_config(moe, True, linear_num_value_heads=6, hidden_size=96)
    base = save_hf(tmp_path / "base", config, seed=seed, tokenizer=True, mtp=True)
    folder = tmp_path / "adapter"
    save_peft(folder, base.model, Recipe(targets, rank=3), seed)
    file = converted(folder, base.folder, tmp_path / "adapter.gguf")
    save_gguf(tmp_path / "base.gguf", base)
    for model in (base.folder, tmp_path / "base.gguf"):
        checkpoint = open_checkpoint(model)
        expected, got = open_adapter(folder, checkpoint).low_rank, open_adapter(file, checkpoint).low_rank
        assert got.keys() == expected.keys()
        for name, matrix in expected.items():
            np.testing.assert_array_equal(got[name].a, matrix.a)
            np.testing.assert_array_equal(got[name].b, matrix.b)
