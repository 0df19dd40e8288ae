"""Which vision file (`mmproj`) belongs to a GGUF model, where nobody has named one.

Those beside the model are looked at, in any spelling that `file_names` knows, and where the model lies in a folder of
its quantization those above it: repositories keep the parts of a large one so. What is damaged, or of another model by
its width, its depth or its names, is left aside with a note. Of one tower's files the first of PREFERRED_VISION is
taken; between several towers the names decide, or nobody does.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, UserError
from qwill.weights.assemble import assemble_gguf
from qwill.weights.gguf.file import GgufFile, read_gguf
from qwill.weights.gguf.identity import Identity, identity_of
from qwill.weights.gguf.metadata import MetadataReader
from qwill.weights.gguf.vision import add_vision, other_model
from qwill.weights.naming.files import FileKind, kind_of, quantization_in, quantization_of
from qwill.weights.naming.repositories import PREFERRED_VISION
from qwill.weights.shapes import vision_shapes

ENOUGH_ALIKE = 0.5  # a file that shares fewer of all words with a model is not known to be its own
# Blocks of the tower of a member, by the model's hidden size and layers; fit/family.toml has all else of them.
TOWER_BLOCKS = {
    (1024, 24): 12, (2048, 24): 24, (2560, 32): 24, (4096, 32): 27, (5120, 64): 27,
    (2048, 40): 27, (3072, 48): 27, (4096, 60): 27,
}  # fmt: skip
# Tensors that stay F32 whatever the type of the file is: equal in all files of one tower.
_ALWAYS_FLOAT = ("v.position_embd.weight", "v.post_ln.weight", "v.post_ln.bias", "mm.0.bias", "mm.2.bias")

log = logging.getLogger("qwill")


@dataclass(frozen=True)
class _Candidate:
    file: GgufFile
    identity: Identity

    @cached_property
    def tower(self) -> tuple[bytes, ...]:
        """What is equal in all files of one tower, whatever their types."""
        return tuple(self.file.tensors[name].data.tobytes() for name in _ALWAYS_FLOAT)

    def is_of_same_model(self, other: "_Candidate") -> bool:
        """Whether two files hold the same tower; what they say of themselves may be the same of two."""
        return self.tower == other.tower

    @cached_property
    def preference(self) -> int:
        """What is smaller comes first, of several files of one model."""
        kind = quantization_of(self.file.path.name) or self.file.tensors["v.blk.0.attn_qkv.weight"].dtype
        return PREFERRED_VISION.index(kind) if kind in PREFERRED_VISION else len(PREFERRED_VISION)

    def __str__(self) -> str:
        name = self.file.path.name
        return f"{name} (of {self.identity})" if str(self.identity) else name


def find_vision(model: GgufFile, path: Path, config: dict[str, Any]) -> GgufFile | None:
    """The vision file that belongs to a model at `path`; None when there is none.

    Raises CheckpointError when several would do and nothing says which.
    """
    own = identity_of(model)
    found: list[_Candidate] = []
    aside: list[str] = []
    for candidate_path in _beside(path):
        try:
            candidate = _Candidate(file := read_gguf(candidate_path), identity_of(file))
            if reason := _of_another(candidate, own, config):
                aside.append(f"{candidate_path.name} ({reason})")
                continue
            _check_whole(file, config)
        except UserError as error:
            log.warning("a vision file is left aside: %s", error)
        else:
            found.append(candidate)
    if not found:
        if aside:
            log.warning("%s: no vision file; left aside: %s; --mmproj names one", path, ", ".join(aside))
        return None
    return _choose(found, own, path).file


def warn_of_another_model(vision: GgufFile, model: GgufFile) -> None:
    """A note where a vision file that somebody named says that it is of another model; it is used as told."""
    own, its = identity_of(model), identity_of(vision)
    if its.contradicts(own):
        log.warning("%s: says that it is of %s, and the model that it is %s; it is used as told", vision.path, its, own)


def _beside(path: Path) -> Iterator[Path]:
    """Files of the model's folder, of a folder `mmproj` in it, and of the one above the folder of a quantization."""
    for folder in (path.parent, *([path.parent.parent] if quantization_in(path.parent.name) else [])):
        for entry in sorted(folder.glob("*")):
            if entry.name.lower() == "mmproj" and entry.is_dir():
                yield from (file for file in sorted(entry.glob("*")) if file.suffix.lower() == ".gguf")
            elif entry.suffix.lower() == ".gguf" and kind_of(entry.name) is FileKind.VISION and entry != path:
                yield entry


def _of_another(candidate: _Candidate, own: Identity, config: dict[str, Any]) -> str | None:
    """Why a vision file cannot be the model's; None when it can."""
    if reason := other_model(candidate.file, config):
        return reason
    if candidate.identity.contradicts(own):
        return f"of {candidate.identity}, the model is {own}"
    text, blocks = config["text_config"], MetadataReader(candidate.file, "clip.vision").integer("block_count")
    wanted = TOWER_BLOCKS.get((text["hidden_size"], text["num_hidden_layers"]))
    if wanted and blocks != wanted:
        return f"has {blocks} blocks, the tower of this member {wanted}"
    return None


def _check_whole(file: GgufFile, config: dict[str, Any]) -> None:
    """Raises CheckpointError when tensors or keys of the tower are missing or make no sense."""
    with_vision = dict(config)
    add_vision(with_vision, file)
    wanted = {shape.gguf: shape.stored for shape in vision_shapes(with_vision["vision_config"])}
    for name in sorted(wanted.keys() | file.tensors.keys()):
        found = file.tensors[name].shape if name in file.tensors else None
        if found != wanted.get(name):
            told = f"has shape {list(found)}" if found else "is missing"
            raise CheckpointError(f"{file.path}: tensor {name} {told}; the file is damaged, download it again")
    assemble_gguf(file.tensors.values(), file.path, layers=0)


def _choose(found: list[_Candidate], own: Identity, path: Path) -> _Candidate:
    models: list[list[_Candidate]] = []
    for candidate in sorted(found, key=lambda candidate: own.likeness(candidate.identity), reverse=True):
        same = next((files for files in models if any(map(candidate.is_of_same_model, files))), None)
        if same is None:
            models.append([candidate])
        else:
            same.append(candidate)
    if len(models) > 1:
        first, second = (own.likeness(files[0].identity) for files in models[:2])
        if first == second or max(first) < ENOUGH_ALIKE:
            names = ", ".join(str(files[0]) for files in models)
            raise CheckpointError(
                f"{path}: several vision files would do, and no name says which is this model's: {names};"
                " choose one with --mmproj FILE, or leave only that one beside the model"
            )
    return min(models[0], key=lambda candidate: candidate.preference)
