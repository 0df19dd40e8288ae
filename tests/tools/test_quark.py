"""Quark 0.13."""

import pytest

from qwill.errors import UnsupportedModel
from qwill.weights.load import open_checkpoint
from tools.members import MEMBERS, Made, made_by
from tools.reading import assert_reads

pytestmark = pytest.mark.tools
# Types that hold the matrices; F32 where none does.
SCHEMES = {
    "int4": "Q4_0",
    "uint4": "Q5_0",
    "int8-rows": "Q8_0",
    "int8-tensor": "Q8_0",
    "fp8": "F8_E4M3",
    "fp8-rows": "F8_E4M3",
    "mxfp4": "MXFP4",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_by("quark", "quark_folders", tmp_path_factory.mktemp("quark"), mtp=True)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("member", MEMBERS)
def test_values_are_those_of_quark(member: str, scheme: str, made: Made) -> None:
    """It copies the draft head and leaves experts that lie in one tensor as they are."""
    folder = made.folder / member / scheme
    assert_reads(made.sources[member], folder, {SCHEMES[scheme]})
    assert "mtp.fc.weight" in open_checkpoint(folder).tensors


@pytest.mark.parametrize(("scheme", "name"), [("int2", "int2 per_group"), ("mxfp6", "fp6_e2m3 per_group")])
def test_what_is_not_read_is_named(scheme: str, name: str, made: Made) -> None:
    with pytest.raises(UnsupportedModel, match=f"Quark's {name} is not supported, only int4 or uint4 per_group"):
        open_checkpoint(made.folder / "dense" / scheme)
