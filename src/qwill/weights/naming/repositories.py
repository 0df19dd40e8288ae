"""Which files of a repository make up a model, from their names alone: nothing is loaded or opened here."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from qwill.errors import ModelNotFound
from qwill.weights.naming.files import FileKind, is_old_part, kind_of, part_of, quantization_of, subject_of
from qwill.weights.naming.models import HubModel, plain_quantization

# Which one to take when the name does not say; the first that a repository has.
PREFERRED_QUANTS = ("Q4_K_M", "UD-Q4_K_XL", "Q4_0", "Q8_0")
PREFERRED_VISION = ("BF16", "F16", "F32", "Q8_0")
PREFERRED_DRAFT = ("Q8_0", "BF16", "F16", "Q4_K_M")

ADAPTER_CONFIG, ADAPTER_TENSORS = "adapter_config.json", "adapter_model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# Copies of the same weights in another type, as transformers names them: model.fp16-00001-of-00002.safetensors.
_VARIANT = re.compile(r"model\.(b?fp?(?:8|16|32)|b?float(?:16|32)|int[48]|(?:non_)?ema)(-\d+-of-\d+)?\.safetensors")
_CONSOLIDATED = "consolidated"
# Other programs' own weights, which lie beside those that are read, or instead of them.
_FOREIGN = {".onnx": "ONNX", ".mlpackage": "Core ML", ".nemo": "NeMo", ".engine": "TensorRT", ".rkllm": "RKLLM"}
_BESIDE = re.compile(r"(adapter_|consolidated|optimizer|scheduler|training_|rng_)", re.IGNORECASE)  # no part of a model


class NotOfThisRepository(ModelNotFound):
    """What a repository has cannot be the model that was asked for, however much of it is downloaded."""


@dataclass
class GgufGroup:
    """The parts of one GGUF model: one file, or `count` whose names differ in their number alone."""

    folder: str
    stem: str
    count: int
    quantization: str
    files: dict[int, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """The numbers of parts that are not there."""
        return [number for number in range(1, self.count + 1) if number not in self.files]

    @property
    def in_order(self) -> list[str]:
        return [self.files[number] for number in sorted(self.files)]


def choose_files(model: HubModel, files: Iterable[str]) -> list[str]:
    """Which of a repository's files make up the model, those with its language weights first.

    A GGUF repository: the file or parts of the wanted quantization, and the vision file. Otherwise all safetensors,
    JSON and template files of the top folder. Of a repository with nothing but an adapter that adapter.

    Raises ModelNotFound when the repository has not all of such a model, NotOfThisRepository when it is in doubt which,
    or when all that it has is something else.
    """
    files = sorted(files)
    inside = (model.path or "").strip("/")
    if inside.lower().endswith(".gguf"):
        return _named_file(model, inside, files)
    folder = "" if inside.lower().endswith(".safetensors") else inside
    if inside != folder and "/" in inside:
        raise NotOfThisRepository(f"{model.name}: lies in a folder of {model.repository}; only those on top are read")
    if model.quant is None and not folder and (tensors := _tensors(files)):
        return tensors + [file for file in files if file.endswith((".json", ".jinja")) and "/" not in file]
    if model.quant is None and (adapter := _adapter(files)):
        return adapter
    groups = [group for group in gguf_groups(files) if not folder or f"{group.folder}/".startswith(f"{folder}/")]
    if not groups:
        raise _nothing_to_run(model, files)
    group = _choose(model, groups)
    return group.in_order + _beside(group, files, FileKind.VISION, PREFERRED_VISION)


def gguf_groups(files: Iterable[str], kind: FileKind = FileKind.MODEL) -> list[GgufGroup]:
    """The GGUF models among files, parts together, in the order of their names; or other files of a kind."""
    groups: dict[tuple[str, str, int], GgufGroup] = {}
    for file in sorted(files):
        if not file.lower().endswith(".gguf") or kind_of(file) is not kind:
            continue
        part, folder = part_of(file), PurePosixPath(file).parent.as_posix()
        key = ("" if folder == "." else folder, part.stem, part.count)
        groups.setdefault(key, GgufGroup(*key, quantization_of(file))).files[part.number] = file
    return list(groups.values())


def draft_head_beside(weights: Sequence[str], files: Iterable[str]) -> list[str]:
    """The file of a draft head that belongs to a model's chosen files; none when there is none or it is in doubt."""
    return _beside(gguf_groups(weights)[0], list(files), FileKind.DRAFT_HEAD, PREFERRED_DRAFT)


def quantizations(files: Iterable[str]) -> list[str]:
    """What GGUF models there are among files: their quantizations, in the order of names."""
    return list(dict.fromkeys(group.quantization for group in gguf_groups(files) if group.quantization))


def is_adapter(files: Iterable[str]) -> bool:
    """Whether files that were chosen are those of an adapter (LoRA)."""
    files = list(files)
    return ADAPTER_CONFIG in files or kind_of(files[0]) is FileKind.ADAPTER


def _adapter(files: Sequence[str]) -> list[str]:
    """The files of an adapter, where there is no model; none else."""
    if any(kind_of(file) is FileKind.MODEL for file in files if file.lower().endswith(".gguf")):
        return []
    if ADAPTER_CONFIG in files and ADAPTER_TENSORS in files:
        return [ADAPTER_TENSORS] + [file for file in files if file.endswith((".json", ".jinja")) and "/" not in file]
    return next((group.in_order for group in gguf_groups(files, FileKind.ADAPTER) if not group.missing), [])


def _tensors(files: Sequence[str]) -> list[str]:
    """The safetensors of a folder that is a model; without a configuration only where there is nothing else."""
    if "config.json" not in files and (ADAPTER_CONFIG in files or gguf_groups(files)):
        return []
    there = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    own = [file for file in there if not _BESIDE.match(file)]
    plain = [file for file in own if not _VARIANT.fullmatch(file)]
    return plain or own or [file for file in there if file.startswith(_CONSOLIDATED)]


def _named_file(model: HubModel, inside: str, files: Sequence[str]) -> list[str]:
    found = next((file for file in files if file == inside), None)
    found = found or next((file for file in files if file.lower() == inside.lower()), None)
    if found is None:
        raise _absent(model, inside, files)
    kind = kind_of(found)
    if kind not in (FileKind.MODEL, FileKind.ADAPTER, FileKind.DRAFT_HEAD):
        # Draft heads and adapters may be wanted by themselves; a vision file comes with its model.
        raise NotOfThisRepository(f"{model.name}: is {_what(kind)}, no model; {_runnable(model, files)}")
    group = next(group for group in gguf_groups(files, kind) if found in group.files.values())
    if group.missing:
        raise _part_missing(model, group)
    vision = _beside(group, files, FileKind.VISION, PREFERRED_VISION) if kind is FileKind.MODEL else []
    return group.in_order + vision


def _choose(model: HubModel, groups: list[GgufGroup]) -> GgufGroup:
    """The group of the wanted quantization. Raises ModelNotFound or NotOfThisRepository."""
    candidates = _of_quantization(model, groups)
    whole = [group for group in candidates if not group.missing]
    if not whole:
        raise _part_missing(model, candidates[0])
    own = subject_of(model.repository.partition("/")[2])
    named = [group for group in whole if subject_of(group.stem) in ("", own)] or whole
    if len({subject_of(group.stem) for group in named}) > 1:
        first, second = named[0].in_order[0], named[1].in_order[0]
        raise NotOfThisRepository(
            f"{model.name}: {model.repository} has several models, {', '.join(group.stem for group in named[:4])}"
            f"{' …' if len(named) > 4 else ''}; name one: {model.repository}/{first} or {model.repository}/{second}"
        )
    return min(named, key=lambda group: (group.count, group.folder.count("/"), "mtp" in group.stem.lower()))


def _of_quantization(model: HubModel, groups: list[GgufGroup]) -> list[GgufGroup]:
    """Those of the quantization that was named, else of the first preferred one; never none."""
    there = [group.quantization for group in groups]
    wanted = (*PREFERRED_QUANTS, *there) if model.quant is None else (model.quant,)
    for quant in wanted:
        # The guide and others write Q4_K_XL for UD-Q4_K_XL, and leave out how importance was gathered.
        for form in (quant, f"UD-{quant}", f"I1-{quant}"):
            if found := [group for group in groups if group.quantization == form]:
                return found
        if found := [group for group in groups if plain_quantization(group.quantization) == quant]:
            return found
    has = ", ".join(dict.fromkeys(quant for quant in there if quant)) or "files whose names tell none"
    raise ModelNotFound(f"{model.name}: {model.repository} has no {model.quant}; it has {has}")


def _beside(group: GgufGroup, files: Iterable[str], kind: FileKind, preferred: Sequence[str]) -> list[str]:
    """The file of a kind that goes with a model: one that names the same model, else one that names none, else the
    only one there is; nearer ones first."""
    others = [other for other in gguf_groups(files, kind) if not other.missing]
    subjects = {subject_of(other.stem) for other in others}
    subject = subject_of(group.stem)
    wanted = next((each for each in (subject, "") if each in subjects), subject)
    if len(subjects) > 1 or wanted in subjects:
        others = [other for other in others if subject_of(other.stem) == wanted]

    def rank(other: GgufGroup) -> tuple[bool, int, str]:
        place = preferred.index(other.quantization) if other.quantization in preferred else len(preferred)
        return other.folder != group.folder, place, other.stem

    return min(others, key=rank).in_order if others else []


def _absent(model: HubModel, inside: str, files: Sequence[str]) -> ModelNotFound:
    return ModelNotFound(f"{model.name}: {model.repository} has no {inside}; {_runnable(model, files)}")


def _part_missing(model: HubModel, group: GgufGroup) -> ModelNotFound:
    number = group.missing[0]
    return ModelNotFound(
        f"{model.name}: part {number} of {group.count} of {group.stem} is not in {model.repository}; take another"
        " quantization or repository"
    )


def _runnable(model: HubModel, files: Sequence[str]) -> str:
    """What of a repository can be run, in a clause."""
    if there := quantizations(files):
        return f"of {model.repository} there is {', '.join(f':{quant}' for quant in there[:8])}"
    if _tensors(files):
        return f"the whole repository is the model: {model.repository}"
    return "nothing in that repository can be run"


def _nothing_to_run(model: HubModel, files: Sequence[str]) -> ModelNotFound:
    """Why none of a repository's files is taken, in the words of what they are."""
    what = f"{model.name}: {model.repository}"
    kinds = {kind_of(file) for file in files if file.lower().endswith((".gguf", ".safetensors"))}
    if ADAPTER_CONFIG in files or kinds == {FileKind.ADAPTER}:
        return NotOfThisRepository(f"{what} has only an adapter (LoRA), and not as {ADAPTER_TENSORS} or one GGUF file")
    if old := next((file for file in files if is_old_part(file)), None):
        return NotOfThisRepository(
            f"{what} has only a file cut into pieces ({old}), which must be joined by hand; take another repository"
        )
    if model.quant is not None and _tensors(files):
        return NotOfThisRepository(
            f"{what} has no GGUF file of type {model.quant}, it is a folder of safetensors; pull {model.repository}"
        )
    if kinds and FileKind.MODEL not in kinds:
        named = ", ".join(sorted(_what(kind) for kind in kinds))
        return NotOfThisRepository(f"{what} has only {named}, no model")
    if model.quant is None and (below := next((file for file in files if file.endswith(".safetensors")), None)):
        folder = PurePosixPath(below).parent
        return NotOfThisRepository(
            f"{what} has its weights in folders such as {folder}, and only those on top are read; load it with hf"
            f" download {model.repository} --include '{folder}/*' --local-dir FOLDER and give FOLDER/{folder}"
        )
    foreign = next((_FOREIGN[ending] for file in files if (ending := _foreign_ending(file))), None)
    pickles = [file for file in files if file.lower().endswith(_PICKLES) and not _foreign_ending(file)]
    if pickled := next((file for file in pickles if not _BESIDE.match(file)), None):
        return NotOfThisRepository(
            f"{what} has only pickled weights ({pickled}), which can run programs and are not read; take a repository"
            " with safetensors or GGUF files"
        )
    if foreign:
        return NotOfThisRepository(f"{what} has only {foreign} files; take one with safetensors or GGUF files")
    kind = f"GGUF file of type {model.quant}" if model.quant else "safetensors or GGUF file"
    return NotOfThisRepository(f"{what} has no {kind}")


def _foreign_ending(file: str) -> str | None:
    """That of a file of another program, or of the folder that such a program takes for one."""
    endings = (PurePosixPath(part).suffix.lower() for part in file.split("/"))
    return next((ending for ending in endings if ending in _FOREIGN), None)


def _what(kind: FileKind) -> str:
    return {
        FileKind.VISION: "a vision file",
        FileKind.DRAFT_HEAD: "a draft head",
        FileKind.FOREIGN_DRAFT: "a draft model of another kind",
        FileKind.IMPORTANCE: "an importance file",
        FileKind.ADAPTER: "an adapter (LoRA)",
        FileKind.MODEL: "a model",
    }[kind]
