"""What a file is that was to be a GGUF file and is none that can be read, by how it begins."""

from pathlib import Path

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.foreign import foreign_content
from qwill.weights.naming.files import FileKind, kind_of

OLDEST_VERSION, NEWEST_VERSION = 2, 3
_GGML = "a GGML file of 2023, which no program reads any more"
_OTHER_FILES = {
    b"lmgg": _GGML,
    b"fmgg": _GGML,
    b"tjgg": _GGML,
    b"\x1f\x8b": "one packed with gzip, unpack it first",
    b"\x28\xb5\x2f\xfd": "one packed with zstd, unpack it first",
    b"%PDF": "a PDF document",
}


def no_gguf(path: Path, head: bytes) -> CheckpointError:
    """For a file whose first bytes are not those of a GGUF file."""
    if what := foreign_content(head):
        return CheckpointError(f"{path}: {what}")
    what = next((what for start, what in _OTHER_FILES.items() if head.startswith(start)), None)
    if what is None and kind_of(path.name) is FileKind.IMPORTANCE:
        what = "an importance file (imatrix), which goes with: qwill quantize MODEL OUT --imatrix FILE"
    if what is None and head[8:10] == b'{"':
        what = "a safetensors file, or begins like one"
    told = f", it is {what}" if what else ""
    return CheckpointError(f"{path}: is no GGUF file{told}; give a .gguf file or a model's folder")


def unsupported_version(path: Path, version: int) -> UnsupportedModel:
    """For a version (uint32) that is not from OLDEST_VERSION to NEWEST_VERSION."""
    if version and version & 0xFFFF == 0:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = f"GGUF version {swapped} in the byte order of other processors (big-endian) is not supported"
        mend = "take the little-endian file, or turn it round with gguf-convert-endian of the gguf package"
    else:
        what = f"GGUF version {version} is not supported, only {OLDEST_VERSION} and {NEWEST_VERSION}"
        mend = "take a newer file, or convert the model again"
        if version > NEWEST_VERSION:
            mend = "it is newer than this qwill, or damaged: take a newer qwill, or download it again"
    return UnsupportedModel(f"{path}: {what}; {mend}")
