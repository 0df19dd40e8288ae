"""Whether a model of the hub can be run, before its gigabytes are loaded: by its JSON files and the headers of its
GGUF files, which go through the same checks as when it is opened."""

import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel
from qwill.system.files import make_sparse
from qwill.weights.adapters.peft_config import read_peft_config
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders.folder import check_configuration
from qwill.weights.folders.shards import INDEX_NAME, read_index, weight_files
from qwill.weights.gguf.model import open_gguf
from qwill.weights.hub.cache import cache_folder
from qwill.weights.hub.download import Download
from qwill.weights.hub.errors import hub_errors
from qwill.weights.hub.resumable import RemoteFile
from qwill.weights.naming.files import FileKind, kind_of
from qwill.weights.naming.repositories import (
    ADAPTER_CONFIG,
    PREFERRED_QUANTS,
    GgufGroup,
    draft_head_beside,
    gguf_groups,
    is_adapter,
)

log = logging.getLogger("qwill.weights")

# A vocabulary of 248,320 tokens makes a header of 11 MB; later parts of a split file have descriptions of tensors only.
_FIRST_BYTES, _LATER_BYTES = 16 << 20, 1 << 20
_TRIES = 3  # each four times as long
_OTHERS = 3  # files that are looked at when the wanted one cannot be run
TOKENIZER = "tokenizer.json"
INDEX_ENDING = ".safetensors.index.json"
_CONFIGURATIONS = ("config.json", "hf_quant_config.json", ADAPTER_CONFIG)


class _WholeFile(Exception):
    """A server sent more than was asked for."""


def look(plan: Download) -> Download:
    """Checks what a plan would load; returns it, with the file of a draft head where the model has none inside.

    Raises UnsupportedModel, CheckpointError or ModelNotFound when it cannot be run, naming what of the repository can;
    QwillError when the hub cannot be reached.
    """
    if not plan.missing_bytes:
        return plan
    first = plan.files[0].name
    if not first.lower().endswith(".gguf"):
        _look_at_folder(plan)
        return plan if is_adapter(file.name for file in plan.files) else _look_at_names(plan)
    if kind_of(first) is not FileKind.MODEL:
        return plan  # an adapter or a draft head, which is judged beside its model
    weights = [file for file in plan.files if kind_of(file.name) is FileKind.MODEL]
    seen = _look_at_gguf(plan, weights)
    if seen is not None and not seen.vocabulary:
        raise UnsupportedModel(f"{plan.model.repository}/{first}: has no tokenizer inside{_instead(plan, [first])}")
    if seen is None or seen.draft_head:
        return plan
    present = {file.name: file for file in plan.present}
    beside = draft_head_beside([file.name for file in weights], present)
    return replace(plan, files=(*plan.files, *(present[name] for name in beside)))


def _look_at_folder(plan: Download) -> None:
    from huggingface_hub import hf_hub_download

    model, folder = plan.model, Path()
    names = [file.name for file in plan.files if file.name in _CONFIGURATIONS]
    if "config.json" not in names and ADAPTER_CONFIG not in names:
        raise ModelNotFound(
            f"{model.name}: {model.repository} has weights without config.json; take another repository"
        )
    with hub_errors(model):
        for name in names:
            file = hf_hub_download(model.repository, name, revision=plan.commit, cache_dir=cache_folder())
            folder = Path(file).parent
    try:
        with _named_as(str(folder), model.repository):
            if "config.json" in names:
                check_configuration(folder)
            else:
                read_peft_config(folder)
    except CheckpointError as error:
        raise type(error)(f"{error}{_instead(plan, [])}") from error


def _look_at_names(plan: Download) -> Download:
    """Checks that a folder will be whole with what the repository has; returns its plan without an index that names
    other files, with which it would seem to be partly downloaded for ever."""
    names = [file.name for file in plan.files]
    if TOKENIZER not in names:
        instead = _instead(plan, []) or "; take another repository"
        raise UnsupportedModel(
            f"{plan.model.repository}: has no {TOKENIZER}, and none can be made of what it has{instead}"
        )
    with tempfile.TemporaryDirectory(prefix="qwill-", ignore_cleanup_errors=True) as above:
        folder = Path(above)
        for file in plan.files:
            content = _beginning(plan, file, file.size) if file.name.endswith(INDEX_ENDING) else b""
            (folder / file.name).write_bytes(content)
        try:
            with _named_as(str(folder), plan.model.repository):
                weight_files(folder)
        except CheckpointError as error:
            raise type(error)(str(error).replace("download the model again", "take another repository")) from error
        try:
            stale = INDEX_NAME in names and not set(read_index(folder / INDEX_NAME).values()) <= set(names)
        except CheckpointError:
            stale = True
    return replace(plan, files=tuple(file for file in plan.files if not stale or file.name != INDEX_NAME))


class _Seen(NamedTuple):
    """What is told of a model that was opened and let go of: Windows removes no file that is mapped."""

    vocabulary: bool
    draft_head: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "_Seen":
        return cls(checkpoint.vocabulary is not None, "mtp.fc.weight" in checkpoint.tensors)


def _look_at_gguf(plan: Download, weights: Sequence[RemoteFile]) -> _Seen | None:
    """What the model of GGUF files has, opened without its tensors' values; None when that cannot be done from here."""
    try:
        return _opened(plan, weights)
    except UnsupportedModel as error:
        raise UnsupportedModel(f"{error}{_instead(plan, [file.name for file in weights])}") from error


def _instead(plan: Download, refused: Sequence[str]) -> str:
    """A clause with the GGUF file of the repository that can be run, if one of the likeliest can."""
    present = {file.name: file for file in plan.present}
    groups = [group for group in gguf_groups(present) if not group.missing and not set(refused) & set(group.in_order)]
    for group in sorted(groups, key=_preference)[:_OTHERS]:
        try:
            if _opened(plan, [present[name] for name in group.in_order]) is None:
                return ""
        except CheckpointError:
            continue
        name = f":{group.quantization}" if group.quantization else f"/{group.in_order[0]}"
        return f"; of that repository this can be run: qwill pull {plan.model.repository}{name}"
    return ""


def _preference(group: GgufGroup) -> tuple[int, str]:
    known = group.quantization in PREFERRED_QUANTS
    return (PREFERRED_QUANTS.index(group.quantization) if known else len(PREFERRED_QUANTS), group.stem)


def _opened(plan: Download, weights: Sequence[RemoteFile]) -> _Seen | None:
    """Opens files that have their true headers and sizes, and holes for all that comes behind.

    Raises as opening does; None where headers cannot be had, or files with holes.
    """
    with tempfile.TemporaryDirectory(prefix="qwill-", ignore_cleanup_errors=True) as above:
        folder = Path(above) / "in"  # vision files are looked for one folder up
        folder.mkdir()
        paths = [folder / Path(file.name).name for file in weights]
        for attempt in range(_TRIES):
            lengths = [
                min(file.size, (_LATER_BYTES if number else _FIRST_BYTES) * 4**attempt)
                for number, file in enumerate(weights)
            ]
            try:
                for file, path, length in zip(weights, paths, lengths, strict=True):
                    _write_with_hole(path, _beginning(plan, file, length), file.size)
            except (OSError, _WholeFile) as error:
                log.warning("%s: not looked at before the download (%s)", plan.model.repository, error)
                return None
            last = attempt == _TRIES - 1 or all(
                length == file.size for length, file in zip(lengths, weights, strict=True)
            )
            try:
                with _named_as(str(folder), plan.model.repository):
                    return _Seen.of(open_gguf(paths[0], None))
            except UnsupportedModel:
                raise
            except CheckpointError:
                # A header that is longer than what was asked for looks torn.
                if last:
                    raise
    return None


def _beginning(plan: Download, file: RemoteFile, length: int) -> bytes:
    """The first bytes of a file of the hub."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars

    disable_progress_bars()
    address = hf_hub_url(plan.model.repository, file.name, revision=plan.commit)
    headers = build_hf_headers() | {"Range": f"bytes=0-{length - 1}"}
    target = _Bounded(length)
    with hub_errors(plan.model):
        http_get(address, target, headers=headers, expected_size=length)
    return target.getvalue()


class _Bounded(io.BytesIO):
    """A buffer for so many bytes: a server that does not know ranges sends gigabytes."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, data: "bytes | memoryview") -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._most:
            raise _WholeFile("the server sends whole files only")
        return super().write(data)


def _write_with_hole(path: Path, beginning: bytes, size: int) -> None:
    with path.open("wb") as file:
        make_sparse(file)
        file.write(beginning)
        file.truncate(size)


@contextmanager
def _named_as(folder: str, repository: str) -> Iterator[None]:
    """Errors tell of the repository where they would name a folder of this machine."""
    try:
        yield
    except (CheckpointError, ModelNotFound) as error:
        raise type(error)(str(error).replace(folder, repository)) from error
