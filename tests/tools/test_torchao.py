"""torchao 0.18 through transformers."""

import pytest

from tools.members import MEMBERS, Made, made_by
from tools.reading import assert_reads

pytestmark = pytest.mark.tools
# Types that hold the matrices; F32 where none does.
SCHEMES = {
    "int8-rows": {"Q8_0"},
    "int8-groups": {"Q8_0"},
    "int8-tensor": {"Q8_0"},
    "int8-dynamic": {"Q8_0"},
    "float8-rows": {"F8_E4M3"},
    "int4": {"Q4_0"},
    "int4-asymmetric": {"Q5_0"},
    "int2": {"Q4_0"},
    "int4-dynamic": {"Q4_0"},
    "mxfp8": {"MXFP8"},
    "mxfp4": {"MXFP4"},
    "nvfp4": {"NVFP4"},
    "mixed": {"Q8_0"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_by("transformers", "torchao_folders", tmp_path_factory.mktemp("torchao"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("member", MEMBERS)
def test_values_are_those_of_torchao(member: str, scheme: str, made: Made) -> None:
    assert_reads(made.sources[member], made.folder / member / scheme, SCHEMES[scheme], units=int(scheme == "nvfp4"))
