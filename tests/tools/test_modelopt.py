"""modelopt 0.47, exported for Hugging Face."""

import pytest

from tools.members import MEMBERS, Made, made_by
from tools.reading import assert_reads

pytestmark = pytest.mark.tools
# Types that hold the matrices; F32 where none does.
SCHEMES = {
    "fp8": "F8_E4M3",
    "fp8-rows": "F8_E4M3",
    "fp8-blocks": "F8_E4M3",
    "int8": "Q8_0",
    "int8-weights": "Q8_0",
    "mxfp4": "MXFP4",
    "mxfp8": "MXFP8",
    "w4a8-mxfp4": "MXFP4",
    "nvfp4": "NVFP4",
    "nvfp4-weights": "NVFP4",
    "w4a8-nvfp4": "NVFP4",
}
DENSE = ("int4", "int4-awq", "w4a8-awq", "int8-smoothquant")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_by("modelopt", "modelopt_folders", tmp_path_factory.mktemp("modelopt"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("member", MEMBERS)
def test_values_are_those_of_modelopt(member: str, scheme: str, made: Made) -> None:
    """NVFP4's two scales are multiplied first there, in float32: a unit in the last place."""
    assert_reads(made.sources[member], made.folder / member / scheme, {SCHEMES[scheme]}, int("nvfp4" in scheme))


@pytest.mark.parametrize("scheme", DENSE)
def test_what_it_cannot_export_of_experts(scheme: str, made: Made) -> None:
    """Scales in float32 that no half-precision number is, and factors of input channels: F32."""
    assert_reads(made.sources["dense"], made.folder / "dense" / scheme, {"F32"})


def test_experts_alone(made: Made) -> None:
    assert_reads(made.sources["mixture"], made.folder / "mixture" / "nvfp4-experts", {"NVFP4"}, 1)
