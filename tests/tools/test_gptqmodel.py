"""GPTQModel 7.7: GPTQ in both formats, and AWQ."""

import pytest

from tools.members import Made, made_by
from tools.reading import assert_reads

pytestmark = pytest.mark.tools
# Types that hold the matrices; F32 where none does.
SCHEMES = {
    "int4": "Q4_0",
    "int3": "Q4_0",
    "int4-asymmetric": "Q5_0",
    "int4-v2": "Q4_0",
    "int4-act-order": "F32",
    "awq": "Q4_0",
}
MIXTURE = ("int4",)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_by("gptqmodel", "gptqmodel_folders", tmp_path_factory.mktemp("gptqmodel"), vision=False)


@pytest.mark.parametrize(
    ("member", "scheme"),
    [("dense", scheme) for scheme in SCHEMES] + [("mixture", scheme) for scheme in MIXTURE],
)
def test_values_are_those_of_gptqmodel(member: str, scheme: str, made: Made) -> None:
    assert_reads(made.sources[member], made.folder / member / scheme, {SCHEMES[scheme]})
