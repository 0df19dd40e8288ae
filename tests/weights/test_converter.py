"""GGUF files written by llama.cpp's own converter give the same tensors and configuration as the folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from canonical import by_name, decoded, untiled
from checkpoints import TinyCheckpoint, edit_json, edit_text_config, save_hf, tiny_config, tiny_vocabulary

from qwill.weights.load import open_checkpoint

# The converter takes the vocabulary from the tokenizer; it is written apart from qwill's own tests of tokenizers.
CONVERT = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/gguf-py"]
sys.argv = ["convert_hf_to_gguf.py", *{arguments!r}]
from conversion.base import TextModel
TextModel.get_vocab_base = lambda self: ({tokens!r}, {types!r}, "qwen35")
import gguf
def add_to_gguf(self, writer, quiet=False):
    writer.add_token_merges({merges!r})
    writer.add_eos_token_id({tokens!r}.index("<|im_end|>"))
gguf.SpecialVocab.add_to_gguf = add_to_gguf
import runpy
runpy.run_path({root!r} + "/convert_hf_to_gguf.py", run_name="__main__")
"""


def convert(source: TinyCheckpoint, target: Path, *options: str) -> None:
    """Runs the converter of the tree that QWILL_LLAMA_CPP names, with the tiny vocabulary in place of a tokenizer's."""
    tokens, merges, types = tiny_vocabulary()
    script = CONVERT.format(
        root=os.environ["QWILL_LLAMA_CPP"],
        arguments=[str(source.folder), "--outfile", str(target), "--outtype", "f32", *options],
        tokens=tokens,
        types=types,
        merges=merges,
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=300)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ({"vision": True}, {}),
        ({"moe": True, "vision": True, "linear_num_value_heads": 6}, {"mtp": True}),
        ({"vision": True, "tie_word_embeddings": True, "linear_num_value_heads": 2}, {"mtp": True}),
    ],
    ids=["dense", "moe", "tied"],
)
def test_converted_file_equals_the_folder(overrides: dict[str, Any], options: dict[str, Any], tmp_path: Path) -> None:
    source = save_hf(tmp_path / "hf", tiny_config(**overrides), tokenizer=True, **options)
    if not options:
        edit_text_config(source.folder, mtp_num_hidden_layers=0)
    edit_json(source.folder / "preprocessor_config.json", image_mean=[0.5] * 3, image_std=[0.5] * 3)
    convert(source, tmp_path / "model.gguf", *(["--no-mtp"] if not options else []))
    convert(source, tmp_path / "mmproj.gguf", "--mmproj")
    released, converted = open_checkpoint(source.folder), open_checkpoint(tmp_path / "model.gguf")
    wanted, found = by_name(released.tensors), by_name(converted.tensors)
    assert sorted(found) == sorted(wanted)
    for name, tensor in wanted.items():
        # float32 on both sides; only -exp may round differently.
        values = untiled(name, decoded(found[name]), source)
        np.testing.assert_allclose(values, decoded(tensor), rtol=1e-6 if name.endswith(".A") else 0, err_msg=name)
    config = json.loads((source.folder / "config.json").read_text())
    for section in ("text_config", "vision_config"):
        for key, value in converted.config[section].items():
            if key in config[section]:
                assert value == config[section][key], key
