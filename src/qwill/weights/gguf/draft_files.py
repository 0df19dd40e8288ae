"""The draft head that lies in a file of its own beside a GGUF model that has none: `mtp-X.gguf`, or a folder `MTP/`.

Such a file has the head's block behind the layers that it counts but does not hold, and the model's embeddings, norm
and output matrix once more, which are not read. The answers are the model's with any head; so nothing is refused, and a
head that does not fit is left aside with a note.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, UserError
from qwill.weights.assemble import assemble_gguf
from qwill.weights.gguf.file import GgufFile, read_gguf
from qwill.weights.gguf.identity import identity_of
from qwill.weights.gguf.kinds import draft_block
from qwill.weights.mapped import RawTensor
from qwill.weights.naming.files import FileKind, kind_of, part_of, quantization_in, quantization_of
from qwill.weights.naming.repositories import PREFERRED_DRAFT
from qwill.weights.shapes import text_shapes

FOLDER = "mtp"
# Embeddings and an output matrix of the head's own, which no member of the family has: the model's serve.
_OF_ITS_OWN = ("nextn.embed_tokens.weight", "nextn.shared_head_head.weight")

log = logging.getLogger("qwill")


def find_draft_head(model: GgufFile, path: Path, config: dict[str, Any]) -> list[RawTensor]:
    """The tensors of the draft head beside a model at `path`, the most alike by its names; none when there is none that
    fits. `config` is the model's."""
    own = identity_of(model)
    found: list[tuple[tuple[float, float], int, Path, list[RawTensor]]] = []
    for candidate in _beside(path):
        try:
            file = read_gguf(candidate)
            if (its := identity_of(file)).contradicts(own):
                raise CheckpointError(f"{candidate}: is of {its}, the model is {own}")
            tensors = draft_tensors(file, config)
        except UserError as error:
            log.warning("a draft head is left aside: %s", error)
        else:
            first, second = own.likeness(its)
            found.append(((-first, -second), _preference(candidate), candidate, tensors))
    if found:
        return min(found, key=lambda entry: entry[:3])[3]
    for name in sorted(
        entry.name for entry in path.parent.glob("*.gguf") if kind_of(entry.name) is FileKind.FOREIGN_DRAFT
    ):
        log.warning("%s: a draft model of a kind that qwill does not run is left aside", path.with_name(name))
    return []


def draft_tensors(file: GgufFile, config: dict[str, Any]) -> list[RawTensor]:
    """The tensors of a draft head's block. Raises CheckpointError when it is incomplete or of another model."""
    text = config["text_config"] | {"mtp_num_hidden_layers": 1}
    layers, block = text["num_hidden_layers"], draft_block(file)
    if block != layers:
        other = f"is the draft head of a model of {block} layers, this one has {layers}"
        raise CheckpointError(f"{file.path}: {'holds no draft head' if block is None else other}")
    prefix = f"blk.{block}."
    tensors = [raw for name, raw in file.tensors.items() if name.startswith(prefix) and not name.endswith(_OF_ITS_OWN)]
    there = {tensor.name: tensor.shape for tensor in assemble_gguf(_with_norm(tensors, file), file.path, layers)}
    wanted = {shape.name: shape.shape for shape in text_shapes(text) if shape.name.startswith("mtp.")}
    for name, shape in wanted.items():
        if there.get(name) != shape:
            found = f"has shape {list(there[name])}" if name in there else "is missing"
            raise CheckpointError(f"{file.path}: {name} {found}, this model's has {list(shape)}")
    if more := sorted(there.keys() - wanted.keys() - {"norm.weight"}):
        raise CheckpointError(f"{file.path}: tensor {more[0]} belongs to no draft head")
    return tensors


def _with_norm(tensors: list[RawTensor], file: GgufFile) -> list[RawTensor]:
    """With the file's copy of the final norm, which stands in for the head's own where that is left out."""
    norm = file.tensors.get("output_norm.weight")
    return tensors if norm is None else [*tensors, norm]


def _preference(candidate: Path) -> int:
    kind = quantization_of(candidate.name)
    return PREFERRED_DRAFT.index(kind) if kind in PREFERRED_DRAFT else len(PREFERRED_DRAFT)


def _beside(path: Path) -> Iterator[Path]:
    """Draft heads of the model's folder and of a folder `MTP` in it, and above the folder of a quantization."""
    for folder in (path.parent, *([path.parent.parent] if quantization_in(path.parent.name) else [])):
        for entry in sorted(folder.glob("*")):
            if entry.name.lower() == FOLDER and entry.is_dir():
                yield from (file for file in sorted(entry.glob("*")) if _is_first_part(file) and file != path)
            elif _is_first_part(entry) and kind_of(entry.name) is FileKind.DRAFT_HEAD and entry != path:
                yield entry


def _is_first_part(file: Path) -> bool:
    return file.suffix.lower() == ".gguf" and part_of(file.name).number == 1
