"""What names of files say: kinds, quantizations, parts, and whose they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.weights.naming.files import FileKind, Part, is_old_part, kind_of, part_of, quantization_of, subject_of

KINDS = {
    FileKind.MODEL: [
        "Qwen3.5-4B-Q4_K_M.gguf", "model.gguf", "Q8_0.gguf", "Qwen3.5-4B.i1-Q4_K_M.gguf", "Qwen3.5-4B-Q4_K_M-imat.gguf",
        "Qwen3.5-4B-Q4_K_M-imatrix.gguf", "Qwen3.5-4B-imatrix-IQ4_XS.gguf", "Qwen3.6-27B-MTP-Q4_K_M.gguf",
        "Qwen3.6-27B-Q4_K_M-MTP.gguf", "lora_model.Q4_K_M.gguf", "lora-merged-f16.gguf", "explorations-Q8_0.gguf",
        "UD-Q4_K_XL/Qwen3.5-397B-A17B-UD-Q4_K_XL-00001-of-00006.gguf", "smtp-Q4_0.gguf", "eagles-Q4_0.gguf",
        "model-00001-of-00002.safetensors",
    ],
    FileKind.VISION: [
        "mmproj-F16.gguf", "mmproj.gguf", "X.mmproj-f16.gguf", "X-mmproj-BF16.gguf", "MMPROJ-Qwen3.5-4B-F16.gguf",
        "mmproj-Qwen_Qwen3.5-4B-bf16.gguf", "mmproj/F16.gguf", "Qwen3.5-4B_mmproj_F32.gguf", "mm-proj-f16.gguf",
        "Q4_K_M/Qwen3.5-4B.MMProj-Q8_0.gguf", "Qwen3.5-4Bmmprojf16.gguf",
    ],
    FileKind.DRAFT_HEAD: [
        "mtp-Qwen3.6-27B.gguf", "MTP/Qwen3.6-27B-Q8_0.gguf", "MTP-Qwen3.6-27B-F16.gguf", "mtp/Q8_0/x.gguf",
        "Q4_K_M/mtp_x-Q8_0.gguf", "mtp.gguf", "Qwen3.5-9B-mtp-head-Q8_0.gguf", "Qwen3.5-9B.MTP-only.gguf",
    ],
    FileKind.FOREIGN_DRAFT: [
        "eagle3-Qwen3.6-27B-F16.gguf", "dflash-x.gguf", "Qwen3.6-27B-DFlash-BF16.gguf", "Eagle3/x-Q8_0.gguf",
    ],
    FileKind.IMPORTANCE: [
        "imatrix.gguf", "imatrix_unsloth.gguf_file", "imatrix_unsloth.dat", "Qwen3.5-4B.imatrix.gguf",
        "Qwen3.5-4B-imatrix.gguf", "imatrix-Qwen3.5-4B-Q8_0.gguf", "Qwen3.5-4B-bf16-imatrix.gguf",
        "Qwen3.5-4B-Q8_0.imatrix.gguf",
    ],
    FileKind.ADAPTER: [
        "adapter_model.safetensors", "Qwen3.5-4B-lora-f16.gguf", "LoRA-x-Q8_0.gguf", "my.adapter.gguf",
        "ggml-adapter-model.gguf",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "file"), [(kind, file) for kind, files in KINDS.items() for file in files])
def test_the_kind_of_a_file(kind: FileKind, file: str) -> None:
    assert kind_of(file) is kind
    assert kind_of(f"some folder/{file}") is kind


@pytest.mark.parametrize(
    ("file", "quantization"),
    [
        ("Qwen3.5-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen3.5-4b-q4_k_m.gguf", "Q4_K_M"),
        ("Qwen3.5-4B.i1-IQ2_XXS.gguf", "I1-IQ2_XXS"),
        ("Qwen3.5-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("Qwen3.5-4B-Q4_K_M-imat.gguf", "Q4_K_M-IMAT"),
        ("Qwen3.5-4B-Q4_K_M-00002-of-00003.gguf", "Q4_K_M"),
        ("Qwen3.5-4B-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("Qwen_Qwen3.5-4B-Q6_K_L.gguf", "Q6_K_L"),
        ("Qwen3.5-35B-A3B-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("Qwen3.6-27B-Q4_K_M-MTP.gguf", "Q4_K_M"),
        ("Qwen3.5-4B.Q8_0.imatrix.gguf", "Q8_0-IMATRIX"),
        ("x-TQ1_0.gguf", "TQ1_0"),
        ("x-fp16.gguf", "FP16"),
        ("IQ4_XS/model-00001-of-00002.gguf", "IQ4_XS"),
        ("IQ4_XS.gguf", "IQ4_XS"),
        ("models/Qwen3.5-4B.gguf", ""),
        ("BQ4_K_M.gguf", ""),
    ],
)
def test_the_quantization_of_a_file(file: str, quantization: str) -> None:
    assert quantization_of(file) == quantization


def test_parts() -> None:
    assert part_of("f/x-Q4_0-00002-of-00010.gguf") == Part("x-Q4_0", 2, 10)
    assert part_of("model-00001-of-00001.safetensors") == Part("model", 1, 1)
    assert part_of("x-1-of-2.GGUF") == Part("x-1-of-2", 1, 1)


@pytest.mark.parametrize(
    ("file", "old"),
    [
        ("x.Q8_0.gguf.part1of2", True),
        ("x.gguf-split-a", True),
        ("x.gguf.part-01", True),
        ("x.gguf.1", True),
        ("x.gguf", False),
        ("x-00001-of-00002.gguf", False),
        ("x.gguf_file", False),
        ("x.gguf.md", False),
    ],
)
def test_pieces_that_must_be_joined_first(file: str, old: bool) -> None:
    assert is_old_part(file) is old


@pytest.mark.parametrize(
    ("file", "subject"),
    [
        ("Qwen_Qwen3.5-4B-Q4_K_M.gguf", "qwen3.5-4b"),
        ("mmproj-Qwen_Qwen3.5-4B-f16.gguf", "qwen3.5-4b"),
        ("Qwen3.5-4B.mmproj-Q8_0.gguf", "qwen3.5-4b"),
        ("qwen3.5-4b.i1-Q4_K_M.gguf", "qwen3.5-4b"),
        ("mtp-Qwen3.5-35B-A3B-00001-of-00002.gguf", "qwen3.5-35b-a3b"),
        ("mmproj-model-f16.gguf", ""),
        ("mmproj-BF16.gguf", ""),
        ("Q4_K_M/Q4_K_M.gguf", ""),
    ],
)
def test_whose_a_file_is(file: str, subject: str) -> None:
    assert subject_of(file) == subject


@given(st.text(alphabet="aM-._ 0Q4K/mtpjrxlo", max_size=30) | st.text(max_size=20))
def test_any_name_has_a_kind(file: str) -> None:
    assert isinstance(kind_of(file), FileKind)
    assert quantization_of(file) == quantization_of(file.lower()).upper()
    assert part_of(file).number <= 99_999
    assert subject_of(file) == subject_of(file).lower()
