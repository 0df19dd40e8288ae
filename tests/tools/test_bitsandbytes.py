"""bitsandbytes 0.50 through transformers, and exports of Unsloth, made as it does: it needs a graphics processor."""

import pytest

from tools.members import MEMBERS, Made, made_by
from tools.reading import assert_reads

pytestmark = pytest.mark.tools
SCHEMES = ("nf4", "fp4", "nf4-nested", "nf4-in-bfloat16", "int8", "unsloth", "merged-16bit")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_by("transformers", "bitsandbytes_folders", tmp_path_factory.mktemp("bitsandbytes"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("member", MEMBERS)
def test_values_are_those_of_bitsandbytes(member: str, scheme: str, made: Made) -> None:
    """No type holds the numbers of a table times any float: F32."""
    assert_reads(made.sources[member], made.folder / member / scheme, {"F32"})
