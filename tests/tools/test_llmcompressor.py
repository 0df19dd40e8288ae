"""llm-compressor 0.14 with compressed-tensors 0.19."""

import pytest

from tools.members import MEMBERS, Made, made_by
from tools.reading import assert_reads

pytestmark = pytest.mark.tools
# Types that hold the matrices; F32 where none does.
SCHEMES = {
    "W2A16": "Q4_0",
    "W3A16": "Q4_0",
    "W4A16": "Q4_0",
    "W5A16": "Q5_0",
    "W6A16": "Q8_0",
    "W7A16": "Q8_0",
    "W8A16": "Q8_0",
    "W4A16_ASYM": "Q5_0",
    "W4A8": "Q4_0",
    "W4AFP8": "Q4_0",
    "W8A8": "Q8_0",
    "FP8": "F8_E4M3",
    "FP8_DYNAMIC": "F8_E4M3",
    "FP8_BLOCK": "F8_E4M3",
    "NVFP4A16": "NVFP4",
    "NVFP4": "NVFP4",
    "MXFP4A16": "MXFP4",
    "MXFP4": "MXFP4",
    "MXFP8A16": "MXFP8",
    "MXFP8": "MXFP8",
    "gptq": "Q4_0",
    "gptq-act-order": "Q4_0",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_by("llmcompressor", "llmcompressor_folders", tmp_path_factory.mktemp("llmcompressor"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("member", MEMBERS)
def test_values_are_those_of_llm_compressor(member: str, scheme: str, made: Made) -> None:
    """NVFP4's three factors are multiplied in another order: two units in the last place."""
    units = 2 if scheme.startswith("NVFP4") else 0
    assert_reads(made.sources[member], made.folder / member / scheme, {SCHEMES[scheme]}, units)
