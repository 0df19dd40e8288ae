"""Which files of a repository make up a model: listings made up in the shape of those that publishers have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.errors import ModelNotFound
from qwill.weights.naming.models import HubModel, hub_model
from qwill.weights.naming.repositories import NotOfThisRepository, choose_files, draft_head_beside, is_adapter

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


def chosen(name: str, files: list[str]) -> list[str]:
    return choose_files(hub_model(name), files)


BARTOWSKI = [
    "Qwen_Qwen3.5-4B-IQ4_XS.gguf", "Qwen_Qwen3.5-4B-Q4_K_L.gguf", "Qwen_Qwen3.5-4B-Q4_K_M.gguf",
    "Qwen_Qwen3.5-4B-bf16.gguf", "Qwen_Qwen3.5-4B-imatrix.gguf", "mmproj-Qwen_Qwen3.5-4B-bf16.gguf",
    "mmproj-Qwen_Qwen3.5-4B-f16.gguf",
]  # fmt: skip
MRADERMACHER = ["Qwen3.5-4B.i1-IQ1_S.gguf", "Qwen3.5-4B.i1-Q4_K_M.gguf", "Qwen3.5-4B.imatrix.gguf", "README.md"]
WITH_VISION = ["Qwen3.5-4B.Q4_K_M.gguf", "Qwen3.5-4B.mmproj-Q8_0.gguf", "Qwen3.5-4B.mmproj-f16.gguf"]
WITH_DRAFTS = [
    "MTP/Qwen3.6-27B-Q4_K_M.gguf", "Qwen3.6-27B-Q4_K_M.gguf", "Qwen3.6-27B-Q8_0.gguf", "dflash-Qwen3.6-27B-Q4_K_M.gguf",
    "eagle3-Qwen3.6-27B-Q4_K_M.gguf", "mmproj-F32.gguf", "mtp-Qwen3.6-27B-Q4_K_M.gguf",
]  # fmt: skip
SEVERAL = [
    "Qwen3.5-2B-Q4_K_M.gguf", "Qwen3.5-4B-Q4_K_M-00001-of-00002.gguf", "Qwen3.5-4B-Q4_K_M-00002-of-00002.gguf",
    "mmproj-Qwen3.5-2B-F16.gguf", "mmproj-Qwen3.5-4B-F16.gguf",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "files", "wanted"),
    [
        ("bartowski/Qwen_Qwen3.5-4B-GGUF:q4_k_m", BARTOWSKI, [BARTOWSKI[2], BARTOWSKI[5]]),
        ("bartowski/Qwen_Qwen3.5-4B-GGUF", BARTOWSKI, [BARTOWSKI[2], BARTOWSKI[5]]),
        ("bartowski/Qwen_Qwen3.5-4B-GGUF:Q4_K_L", BARTOWSKI, [BARTOWSKI[1], BARTOWSKI[5]]),
        ("bartowski/Qwen_Qwen3.5-4B-GGUF:BF16", BARTOWSKI, [BARTOWSKI[3], BARTOWSKI[5]]),
        ("mradermacher/Qwen3.5-4B-i1-GGUF", MRADERMACHER, [MRADERMACHER[1]]),
        ("mradermacher/Qwen3.5-4B-i1-GGUF:Q4_K_M", MRADERMACHER, [MRADERMACHER[1]]),
        ("mradermacher/Qwen3.5-4B-i1-GGUF:i1-IQ1_S", MRADERMACHER, [MRADERMACHER[0]]),
        ("mradermacher/Qwen3.5-4B-GGUF:Q4_K_M", WITH_VISION, [WITH_VISION[0], WITH_VISION[2]]),
        ("unsloth/Qwen3.6-27B-GGUF", WITH_DRAFTS, [WITH_DRAFTS[1], "mmproj-F32.gguf"]),
        ("unsloth/Qwen3.6-27B-GGUF/mtp-Qwen3.6-27B-Q4_K_M.gguf", WITH_DRAFTS, [WITH_DRAFTS[6]]),
        ("o/qwens/Qwen3.5-2B-Q4_K_M.gguf", SEVERAL, [SEVERAL[0], SEVERAL[3]]),
        ("o/qwens/Qwen3.5-4B-Q4_K_M-00002-of-00002.gguf", SEVERAL, [SEVERAL[1], SEVERAL[2], SEVERAL[4]]),
        ("o/qwens/QWEN3.5-2b-q4_k_m.gguf", SEVERAL, [SEVERAL[0], SEVERAL[3]]),
        ("o/Qwen3.5-4B-GGUF", SEVERAL, [SEVERAL[1], SEVERAL[2], SEVERAL[4]]),
        ("o/m:Q4_K_M", ["m-Q4_K_M-imat.gguf", "m-Q5_K_M-imat.gguf"], ["m-Q4_K_M-imat.gguf"]),
        ("o/m:Q4_K_M", ["m-Q4_K_M-imat.gguf", "m-Q4_K_M.gguf"], ["m-Q4_K_M.gguf"]),
        ("o/m:Q4_0", ["m-Q4_0_4_4.gguf", "m-q4_0.gguf"], ["m-q4_0.gguf"]),
        ("o/m:Q4_0_4_4", ["m-Q4_0_4_4.gguf", "m-q4_0.gguf"], ["m-Q4_0_4_4.gguf"]),
        ("o/m:Q8_0", ["Q8_0/model.gguf", "f16/model.gguf"], ["Q8_0/model.gguf"]),
        ("hf.co/o/m/tree/main/f16", ["Q8_0/model.gguf", "f16/model.gguf"], ["f16/model.gguf"]),
        ("o/m:Q8_0", ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0.gguf"], ["m-Q8_0.gguf"]),
        ("o/m", ["m.gguf"], ["m.gguf"]),
        ("o/m", ["m.gguf", "vision.safetensors"], ["m.gguf"]),
        ("o/m", ["config.json", "model.safetensors", "adapter_model.safetensors", "consolidated.safetensors"],
         ["model.safetensors", "config.json"]),
        ("o/m/model.safetensors", ["config.json", "model.safetensors"], ["model.safetensors", "config.json"]),
        ("o/m", ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "x.bin"],
         ["adapter_model.safetensors", "adapter_config.json", "tokenizer.json"]),
        ("o/m", ["m-lora-f16.gguf", "README.md"], ["m-lora-f16.gguf"]),
        ("o/m", ["m-lora-f16.gguf", "m-Q8_0.gguf"], ["m-Q8_0.gguf"]),
    ],
)  # fmt: skip
def test_publishers_repositories(name: str, files: list[str], wanted: list[str]) -> None:
    assert chosen(name, files) == wanted


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("o/qwens:Q4_K_M", SEVERAL, r"several models, Qwen3\.5-2B-Q4_K_M, Qwen3\.5-4B-Q4_K_M; name one: o/qwens/Qwen3"),
        ("o/m/mmproj-F16.gguf", GGUF_FILES, "is a vision file, no model; of o/m there is :BF16, :IQ4_NL"),
        ("o/m/imatrix.gguf", GGUF_FILES, "is an importance file, no model"),
        ("o/m/eagle3.gguf", ["eagle3.gguf"], "is a draft model of another kind, no model; nothing in that repository"),
        ("o/m/sub/model.safetensors", ["config.json", "sub/model.safetensors"], "lies in a folder of o/m"),
        ("o/m", ["x.gguf.part1of2", "x.gguf.part2of2"], r"file cut into pieces \(x\.gguf\.part1of2\)"),
        ("o/m", ["config.json", "pytorch_model.bin"], r"only pickled weights \(pytorch_model\.bin\)"),
        ("o/m", ["model.onnx", "config.json"], "has only ONNX files"),
        ("o/m", ["config.json", "optimizer.pt", "training_args.bin", "z.bin"], r"only pickled weights \(z\.bin\)"),
        ("o/m", ["config.json", "training_args.bin"], "has no safetensors or GGUF file"),
        ("o/m", ["m.mlpackage/Data/weights/weight.bin", "config.json"], "has only Core ML files"),
        ("o/m", ["a/config.json", "a/model.safetensors"], r"in folders such as a, .*--include 'a/\*' .* FOLDER/a$"),
        (
            "https://hf.co/o/m/tree/main/checkpoint-10",
            ["checkpoint-10/model.safetensors", "optimizer.pt", "config.json"],
            "has its weights in folders such as checkpoint-10",
        ),
        ("o/m", ["mmproj-F16.gguf"], "has only a vision file, no model"),
        ("o/m", ["adapter_config.json", "adapter_model.bin"], r"only an adapter \(LoRA\)"),
        ("o/m:Q8_0", ["config.json", "model.safetensors"], "no GGUF file of type Q8_0, it is a folder of safetensors"),
    ],
)
def test_what_cannot_be_is_said_with_what_can(name: str, files: list[str], says: str) -> None:
    with pytest.raises(NotOfThisRepository, match=says):
        chosen(name, files)


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("o/m/y.gguf", GGUF_FILES, r"o/m has no y\.gguf; of o/m there is :BF16, :IQ4_NL"),
        (
            "o/m:Q8_0",
            ["m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf"],
            "part 2 of 3 of m-Q8_0 is not in o/m",
        ),
        ("o/m:Q8_0", ["m.gguf"], "has no Q8_0; it has files whose names tell none"),
    ],
)
def test_what_is_missing(name: str, files: list[str], says: str) -> None:
    with pytest.raises(ModelNotFound, match=says) as caught:
        chosen(name, files)
    assert not isinstance(caught.value, NotOfThisRepository)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["model.fp16.safetensors", "model.safetensors"], ["model.safetensors"]),
        (
            ["model.bf16-00001-of-00001.safetensors", "model-00001-of-00001.safetensors"],
            [
                "model-00001-of-00001.safetensors",
            ],
        ),
        (["model.fp16.safetensors"], ["model.fp16.safetensors"]),
        (["model.safetensors-00001-of-00001.safetensors"], ["model.safetensors-00001-of-00001.safetensors"]),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (["consolidated.safetensors", "model.safetensors"], ["model.safetensors"]),
        (["consolidated.safetensors", "model.safetensors", "optimizer.safetensors"], ["model.safetensors"]),
    ],
)
def test_of_copies_of_the_weights_one_is_chosen(files: list[str], wanted: list[str]) -> None:
    assert chosen("o/m", [*files, "config.json"]) == [*wanted, "config.json"]


def test_the_draft_head_that_goes_with_a_model() -> None:
    assert draft_head_beside([WITH_DRAFTS[1]], WITH_DRAFTS) == ["mtp-Qwen3.6-27B-Q4_K_M.gguf"]
    assert draft_head_beside(["M-Q8_0.gguf"], GGUF_FILES) == []
    two = ["mtp-Qwen3.5-2B.gguf", "mtp-Qwen3.5-4B.gguf"]
    assert draft_head_beside(["Qwen3.5-4B-Q8_0.gguf"], two) == ["mtp-Qwen3.5-4B.gguf"]
    assert draft_head_beside(["other-Q8_0.gguf"], two) == []


def test_adapters_are_told_from_models() -> None:
    assert is_adapter(["adapter_model.safetensors", "adapter_config.json"])
    assert is_adapter(["m-lora-f16.gguf"])
    assert not is_adapter(["model.safetensors", "config.json"])
    assert not is_adapter(["m-Q8_0.gguf"])


NAMES = st.lists(
    st.sampled_from(
        ["m-Q4_K_M", "m", "Qwen3.5-4B", "-00001-of-00002", "-00002-of-00002", "mmproj", "mtp-", "/", ".gguf",
         "lora-f16", ".safetensors", "config.json", "adapter_config.json", "imatrix", "Q8_0/", ".part1of2", "-"]
    ),
    min_size=1, max_size=5,
).map("".join)  # fmt: skip


@given(st.lists(NAMES, max_size=8, unique=True), st.sampled_from([None, "Q4_K_M", "Q8_0"]))
def test_any_listing_gives_files_of_it_or_one_line(files: list[str], quant: str | None) -> None:
    try:
        found = choose_files(HubModel("n", "o/m", quant), files)
    except ModelNotFound:
        return
    assert set(found) <= set(files)
    assert len(found) == len(set(found)) > 0
    assert choose_files(HubModel("n", "o/m", quant), found)[0] == found[0]  # what was loaded is found again
