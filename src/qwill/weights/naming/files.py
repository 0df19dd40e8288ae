"""What the name of a model's file says about it: of what kind it is, which quantization, which part of how many.

Kinds, told apart by names alone, in any case and with any of `-._` and spaces between words:

| kind | names |
|---|---|
| MODEL | every other one |
| VISION | `mmproj` anywhere: `mmproj-F16.gguf`, `X.mmproj-f16.gguf`, `X-mmproj-BF16.gguf`; a folder `mmproj/` |
| DRAFT_HEAD | begins with `mtp-`; `X-mtp-head.gguf`; a folder `MTP/`. `X-MTP-Q8_0.gguf` is a model with one inside |
| FOREIGN_DRAFT | `eagle3`, `dflash` and others that qwill does not run, as a word of the name or the folder's |
| IMPORTANCE | `imatrix` as a word; but `X-Q4_K_M-imatrix.gguf` is a model that was quantized by one |
| ADAPTER | `lora` or `adapter` as a word, in a type that adapters have, and not merged |

What a file is in truth stands in its header; a name only decides which files are looked at.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import PurePosixPath

_PARTS = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
# Also llama.cpp's old layouts for one kernel (Q4_0_4_4), ik_llama.cpp's types (IQ4_KSS), large mixes (Q6_K_L).
_QUANTIZATION = re.compile(
    r"(?:^|(?<=[-._ ]))"
    r"((?:(?:UD|i1)[-._])?(?:I?Q\d+(?:_[A-Z0-9]{1,5})*|TQ\d_\d|BF16|F16|F32|FP16|FP32|MXFP[468](?:_MOE)?|NVFP4)"
    r"(?:[-._]imat(?:rix)?)?)(?=$|[-._ ])",
    re.IGNORECASE | re.ASCII,
)
_FLOATS = ("F32", "F16", "BF16", "FP16", "FP32")
_OF_ADAPTERS = ("", *_FLOATS, "Q8_0")  # types that adapters are written in
_FOREIGN_DRAFTS = {"eagle", "eagle2", "eagle3", "dflash", "medusa"}
_OF_A_HEAD = {"head", "draft", "drafter", "only"}  # beside `mtp`
_OLD_PART = re.compile(r"\.gguf[.-](?:part[-_]?\d+(?:of\d+)?|split-[a-z]+|\d+)$", re.IGNORECASE)
# Words of file names that say nothing about which model it is.
_SAYS_NOTHING = {"gguf", "model", "ggml", "mmproj", "mm", "proj", "projector", "vision", "mtp", "unsloth", "ud", "i1"}


class FileKind(Enum):
    """What a GGUF or safetensors file is, by its name; see the module's table."""

    MODEL = auto()
    VISION = auto()
    DRAFT_HEAD = auto()
    FOREIGN_DRAFT = auto()
    IMPORTANCE = auto()
    ADAPTER = auto()


@dataclass(frozen=True)
class Part:
    """`number` (from 1) of `count` files that are one, `stem` without both. A whole file is part 1 of 1."""

    stem: str
    number: int = 1
    count: int = 1


def kind_of(file: str) -> FileKind:
    """Of what kind a file is by its name and its folder's. `file`: a name or a path with `/`."""
    stem, folders = part_of(file).stem.lower(), PurePosixPath(file).parent.as_posix().lower().split("/")
    words, quantization = _words(stem), quantization_in(stem)
    if "mmproj" in stem or {"mm", "proj"} <= set(words) or "mmproj" in folders:
        return FileKind.VISION
    if _FOREIGN_DRAFTS & {*words, *_words(folders[-1])}:
        return FileKind.FOREIGN_DRAFT
    if words[:1] == ["mtp"] or "mtp" in folders or ("mtp" in words and _OF_A_HEAD & set(words)):
        return FileKind.DRAFT_HEAD
    if "imatrix" in words and (words[0] == "imatrix" or stem.endswith(".imatrix") or not _is_quantized(quantization)):
        return FileKind.IMPORTANCE
    if {"lora", "adapter"} & set(words) and "merged" not in words and quantization in _OF_ADAPTERS:
        return FileKind.ADAPTER
    return FileKind.MODEL


def part_of(file: str) -> Part:
    """Which part of a split file a name is, by llama.cpp's `NAME-00001-of-00003.gguf`; the stem is without folders."""
    stem = PurePosixPath(file).name
    for ending in (".gguf", ".safetensors"):
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
    match = _PARTS.fullmatch(stem)
    return Part(match[1], int(match[2]), int(match[3])) if match else Part(stem)


def is_old_part(file: str) -> bool:
    """Whether a name is that of a file cut into pieces of bytes, `X.gguf.part1of2`, which are to be joined first."""
    return _OLD_PART.search(file) is not None


def quantization_of(file: str) -> str:
    """The quantization in a file's name, else in its folder's, in capitals and with what goes with it: `UD-Q4_K_XL`,
    `I1-Q4_K_M`, `Q4_K_M-IMAT`; "" when neither says."""
    return quantization_in(part_of(file).stem) or quantization_in(PurePosixPath(file).parent.name)


def quantization_in(text: str) -> str:
    """The last quantization in a text, as `quantization_of` gives it."""
    found = _QUANTIZATION.findall(text)
    return re.sub(r"[._ ](?=IMAT)|(?<=^UD)[._]|(?<=^I1)[._]", "-", found[-1].upper()) if found else ""


def subject_of(file: str) -> str:
    """Which model a file says that it belongs to, for comparing names: in lower case, without quantization, part
    numbers, publisher's prefixes and the words of its kind; "" when it says nothing, as `mmproj-model-f16.gguf`."""
    stem = _QUANTIZATION.sub("", part_of(file).stem).lower().replace("mmproj", "-")
    words = [word for word in _words(stem) if word not in _SAYS_NOTHING]
    if len(words) > 1 and words[1].startswith(words[0]):  # Qwen_Qwen3.5-4B
        words = words[1:]
    return "-".join(words)


def _is_quantized(quantization: str) -> bool:
    return bool(quantization) and quantization.split("-")[0] not in _FLOATS


def _words(text: str) -> list[str]:
    """A dot between digits is part of a word, as in 3.5."""
    return [word for word in re.split(r"[-_ ]+|(?<!\d)\.|\.(?!\d)", text.lower()) if word]
