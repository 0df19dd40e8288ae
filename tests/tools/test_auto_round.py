"""AutoRound 0.16, rounded to nearest, in each of its formats."""

import pytest

from qwill.errors import UnsupportedModel
from qwill.weights.load import open_checkpoint
from tools.members import Made, made_by
from tools.reading import assert_reads

pytestmark = pytest.mark.tools
# Types that hold the matrices.
SCHEMES = {
    "int2": "Q4_0",
    "int3": "Q4_0",
    "int4": "Q4_0",
    "int8": "Q8_0",
    "int4-asymmetric": "Q5_0",
    "int4-as-gptq": "Q4_0",
    "int8-as-gptq": "Q8_0",
    "int4-as-awq": "Q4_0",
    "int4-asymmetric-as-awq": "Q5_0",
    "int4-as-compressed": "Q4_0",
    "int5-as-compressed": "Q5_0",
    "int8-as-compressed": "Q8_0",
    "float8-tensor": "F8_E4M3",
    "float8-blocks": "F8_E4M3",
    "float8-blocks-as-released": "F8_E4M3",
    "mxfp4": "MXFP4",
    "mxfp4-as-compressed": "MXFP4",
    "mxfp8": "MXFP8",
    "nvfp4": "NVFP4",
    "unquantized": "BF16",
}
MIXTURE = ("int4", "int4-as-gptq", "mxfp4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """With a draft head, which it quantizes in some formats and copies in others, into a file of its own."""
    return made_by("auto-round", "auto_round_folders", tmp_path_factory.mktemp("auto-round"), mtp=True)


@pytest.mark.parametrize(
    ("member", "scheme"),
    [("dense", scheme) for scheme in SCHEMES] + [("mixture", scheme) for scheme in MIXTURE],
)
def test_values_are_those_of_auto_round(member: str, scheme: str, made: Made) -> None:
    """NVFP4's three factors are multiplied in another order: two units in the last place."""
    folder = made.folder / member / scheme
    assert_reads(made.sources[member], folder, {SCHEMES[scheme]}, 2 if scheme == "nvfp4" else 0)
    assert "mtp.fc.weight" in open_checkpoint(folder).tensors


@pytest.mark.parametrize(("scheme", "name"), [("mxint4", "mx_int"), ("nvfp4-e5m3", "nvfp4_v2")])
def test_what_is_not_read_is_named(scheme: str, name: str, made: Made) -> None:
    with pytest.raises(UnsupportedModel, match=rf"AutoRound's data_type '{name}' is not supported, only int, fp"):
        open_checkpoint(made.folder / "dense" / scheme)
