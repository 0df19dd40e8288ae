"""What a GGUF file is that was given as a model and is none: by its header, whatever its name says."""

from qwill.errors import UnsupportedModel
from qwill.weights.gguf.config import MODEL_TYPES
from qwill.weights.gguf.file import GgufFile

VISION_ARCHITECTURES = ("clip", "mmproj")
# In the names of architectures: draft models of other kinds than the family's own head.
_FOREIGN_DRAFTS = ("eagle", "dflash", "medusa")


def refuse_other_kinds(file: GgufFile) -> None:
    """Raises UnsupportedModel, which says what the file is and how it is used, unless it is a language model's."""
    if what := other_kind(file):
        raise UnsupportedModel(f"{file.path}: {what}")


def other_kind(file: GgufFile) -> str | None:
    """What the file is, and what to do with it; None for a language model of this family."""
    names = file.tensors.keys()
    kind = value if isinstance(value := file.metadata.get("general.type"), str) else None
    if kind == "imatrix" or any(name.endswith(".in_sum2") for name in names):
        return "is an importance file (imatrix), no model; it goes with: qwill quantize MODEL OUT --imatrix FILE"
    if kind == "adapter" or "adapter.type" in file.metadata or any(name.endswith(".lora_a") for name in names):
        return "is an adapter (LoRA), no model; give it with its base: qwill run MODEL --lora FILE"
    architecture = file.architecture
    if kind == "mmproj" or architecture in VISION_ARCHITECTURES:
        return (
            f"architecture {architecture!r} is a vision file, give the language model's file; this one is found beside"
            " it, or named by --mmproj FILE"
        )
    if any(word in architecture.lower() for word in _FOREIGN_DRAFTS):
        return f"is a draft model of another kind ({architecture}), which qwill does not run; give the model's own file"
    if architecture not in MODEL_TYPES:
        return (
            f"architecture {architecture!r} is not supported (Qwen 3.5: {', '.join(MODEL_TYPES)}); run it with another"
            " program, or take a model of this family"
        )
    if is_draft_head(file):
        return "is a draft head (MTP), no model; give the model's file, and this one is found beside it"
    if not names:
        return "holds no weights, only a vocabulary; give the model's file"
    return None


def is_draft_head(file: GgufFile) -> bool:
    """Whether a file of the family has the block of a draft head and none of the layers before it."""
    return draft_block(file) is not None and not any(name.startswith("blk.0.") for name in file.tensors)


def draft_block(file: GgufFile) -> int | None:
    """The number of the block that is a draft head; None when a file has none."""
    for name in file.tensors:
        if name.endswith(".nextn.eh_proj.weight") and name.startswith("blk."):
            number = name.split(".")[1]
            return int(number) if number.isascii() and number.isdigit() else None
    return None
