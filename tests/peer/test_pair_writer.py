"""The pair of files that training.gguf_export writes, against those of llama.cpp's own converter."""

import sys
from pathlib import Path
from shutil import copytree
from typing import Any

import gguf
import numpy as np
import pytest
from checkpoints import edit_json, edit_text_config, token_id
from conftest import Converted

from qwill.text.chat_template import DEFAULT_TEMPLATE

sys.path.insert(0, str(Path(__file__).parents[2]))
from training.gguf_export import MMPROJ_NAME, MODEL_NAME, export_gguf

pytestmark = pytest.mark.peer
# Ours alone: what a folder as small as the tests' does not say, and what the converter has no key for.
OURS = {"general.license", "general.sampling.temp", "clip.vision.image_min_pixels", "clip.vision.image_max_pixels"}
OURS |= {f"qwill.video.{name}" for name in ("min_pixels", "max_pixels", "min_frames", "max_frames", "fps")}
OURS |= {"tokenizer.chat_template"}
OURS |= {f"tokenizer.ggml.{name}" for name in ("eos_token_id", "padding_token_id", "add_bos_token")}
# Names, and the dense width that the tests' configurations state beside the experts'.
LEFT_OUT = {"general.name", "general.size_label", "GGUF.kv_count", "qwen35moe.feed_forward_length"}


@pytest.fixture(scope="module")
def folder(converted: dict[str, Converted], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The member with experts, and the settings that training.export always writes."""
    folder = tmp_path_factory.mktemp("folder") / "hf"
    copytree(converted["experts, V = 2 K"].made.folder, folder)
    edit_text_config(folder, pad_token_id=token_id("<|endoftext|>"))
    edit_json(folder / "generation_config.json", do_sample=False)
    sizes = {"size": {"shortest_edge": 1024, "longest_edge": 4096}}
    edit_json(folder / "preprocessor_config.json", **sizes)
    edit_json(folder / "video_preprocessor_config.json", **sizes, fps=2, min_frames=1, max_frames=9)
    (folder / "chat_template.jinja").write_text(DEFAULT_TEMPLATE)
    return folder


def fields(reader: gguf.GGUFReader) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items() if name not in LEFT_OUT}


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_the_converter_writes_the_same(
    kind: str, folder: Path, converted: dict[str, Converted], tmp_path: Path
) -> None:
    """To the bit, but for exp(A_log), where PyTorch's and NumPy's last bits differ."""
    member = converted["experts, V = 2 K"]
    assert member.mmproj is not None
    export_gguf(folder, tmp_path, kind, "F32")
    for name, converter in ((MODEL_NAME, member.files[kind.lower()]), (MMPROJ_NAME, member.mmproj)):
        ours, theirs = gguf.GGUFReader(tmp_path / name), gguf.GGUFReader(converter)
        found, wanted = fields(ours), fields(theirs)
        assert {key: found[key] for key in wanted} == wanted
        assert set(found) - set(wanted) <= OURS
        tensors = {tensor.name: tensor for tensor in ours.tensors}
        assert sorted(tensors) == sorted(tensor.name for tensor in theirs.tensors)
        for tensor in theirs.tensors:
            same = tensors[tensor.name]
            assert same.tensor_type == tensor.tensor_type, tensor.name
            if tensor.name.endswith("ssm_a"):
                np.testing.assert_allclose(same.data, tensor.data, rtol=2**-22)
            else:
                assert same.data.tobytes() == tensor.data.tobytes(), tensor.name
