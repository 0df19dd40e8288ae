"""Draft heads that compressed-tensors 0.19 copies into a folder: a file of their own, and an index that names it."""

import logging

import numpy as np
import pytest

from qwill.weights.load import open_checkpoint
from tools.members import MEMBERS, Made, made_by

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("draft-heads")
    return made_by("llmcompressor", "llmcompressor_draft_heads", folder, mtp=True)


@pytest.mark.parametrize("name", ["single", "shards"])
@pytest.mark.parametrize("member", MEMBERS)
def test_the_draft_head_is_there(member: str, name: str, made: Made, caplog: pytest.LogCaptureFixture) -> None:
    folder = made.folder / member / name
    assert (folder / "model_mtp.safetensors").is_file()
    assert (folder / "model.safetensors").is_file() == (name == "single")
    with caplog.at_level(logging.WARNING, "qwill"):
        found = {tensor.name: tensor for tensor in open_checkpoint(folder).tensors}
    assert not caplog.records
    expected = {tensor.name: tensor for tensor in open_checkpoint(made.sources[member]).tensors}
    assert found.keys() == expected.keys()
    assert any(name.startswith("mtp.layers.0.") for name in found)
    for key, tensor in expected.items():
        for mine, theirs in zip(found[key].parts, tensor.parts, strict=True):
            np.testing.assert_array_equal(mine, theirs, key)
