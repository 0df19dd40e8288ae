"""Which files of a repository make up a model: listings made up in the shape of those that publishers have."""

import pytest

from qwill.errors import ModelNotFound
from qwill.weights.model_names import HubModel
from qwill.weights.repositories import choose_files

RELEASED_FILES = [
    ".gitattributes", "LICENSE", "README.md", "chat_template.jinja", "config.json", "generation_config.json",
    "merges.txt", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    "model.safetensors.index.json", "preprocessor_config.json", "tokenizer.json", "figures/bench.png",
    "original/consolidated.safetensors", "onnx/config.json",
]  # fmt: skip
GGUF_FILES = [
    "BF16/M-BF16-00001-of-00002.gguf", "BF16/M-BF16-00002-of-00002.gguf", "M-IQ4_NL.gguf", "M-Q4_K_M.gguf",
    "M-Q4_K_S.gguf", "M-Q8_0.gguf", "M-UD-Q4_K_XL.gguf", "README.md", "config.json", "imatrix_unsloth.gguf_file",
    "imatrix.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf",
]  # fmt: skip


def test_of_a_released_repository_what_qwill_reads_is_chosen() -> None:
    assert choose_files(HubModel("n", "o/m"), RELEASED_FILES) == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "chat_template.jinja", "config.json",
        "generation_config.json", "model.safetensors.index.json", "preprocessor_config.json", "tokenizer.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "weights"),
    [
        (None, ["M-Q4_K_M.gguf"]),
        ("Q4_K_M", ["M-Q4_K_M.gguf"]),
        ("Q4_K_XL", ["M-UD-Q4_K_XL.gguf"]),
        ("UD-Q4_K_XL", ["M-UD-Q4_K_XL.gguf"]),
        ("IQ4_NL", ["M-IQ4_NL.gguf"]),
        ("BF16", GGUF_FILES[:2]),
    ],
)
def test_of_a_gguf_repository_one_quantization_and_the_vision_file(quant: str | None, weights: list[str]) -> None:
    assert choose_files(HubModel("n", "o/m", quant), reversed(GGUF_FILES)) == [*weights, "mmproj-BF16.gguf"]


def test_a_quantization_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(ModelNotFound, match=r"no Q3_K_S; it has .*IQ4_NL, Q4_K_M, Q4_K_S, Q8_0, UD-Q4_K_XL"):
        choose_files(HubModel("n", "o/m", "Q3_K_S"), GGUF_FILES)
    with pytest.raises(ModelNotFound, match="no GGUF file of type Q8_0"):
        choose_files(HubModel("n", "o/m", "Q8_0"), RELEASED_FILES)
    with pytest.raises(ModelNotFound, match="no safetensors or GGUF file"):
        choose_files(HubModel("n", "o/m"), ["README.md"])
