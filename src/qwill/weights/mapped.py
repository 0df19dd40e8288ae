"""Files mapped into memory, and tensors as a file names them."""

import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qwill.errors import CheckpointError, ModelNotFound
from qwill.system import pages
from qwill.system.paths import usable


class RawTensor(NamedTuple):
    """A tensor under the name that its file gives it.

    `dtype` is the name of the storage format (`F32`, `BF16`, `Q4_K`, ...), `shape` is row-major and `data` is a
    read-only uint8 view of the mapped file, exactly as long as shape and dtype say.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray
    file: Path

    @property
    def source(self) -> str:
        """File and name, for error messages."""
        return f"{self.file} ({self.name})"


class _MappedFile(mmap.mmap):
    path: Path


def map_file(path: Path) -> np.ndarray:
    """The bytes of a file as a read-only uint8 array backed by mmap.

    Raises ModelNotFound when it does not exist, CheckpointError when it is empty or cannot be read.
    """
    try:
        with usable(path).open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise CheckpointError(f"{path}: the file is empty, download it again")
            mapping = _MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ)
            mapping.path = path
            return np.frombuffer(mapping, np.uint8)
    except FileNotFoundError as error:
        raise ModelNotFound(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def is_mapped(view: np.ndarray) -> bool:
    """Whether an array's bytes lie in a mapped file: the system can read them again after it dropped them."""
    return _mapping(view) is not None


def mapped_file(view: np.ndarray) -> Path | None:
    """The file that was mapped for an array's bytes; None for other arrays."""
    mapping = _mapping(view)
    return mapping.path if isinstance(mapping, _MappedFile) else None


def read_bytes(view: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous view of a mapped file, uint8 of its shape, read from the file now; of other arrays the
    array itself.

    To touch pages that a file has lost ends the process; this raises CheckpointError instead.
    """
    mapping = _mapping(view)
    if not isinstance(mapping, _MappedFile):
        return view
    begin = view.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    out = np.empty(view.shape, np.uint8)
    try:
        with usable(mapping.path).open("rb", buffering=0) as file:
            file.seek(begin)
            rest = out.data.cast("B")
            while rest and (count := file.readinto(rest)):
                rest = rest[count:]
    except OSError as error:
        raise CheckpointError(f"{mapping.path}: cannot be read ({error.strerror})") from error
    if rest:
        raise CheckpointError(f"{mapping.path}: was cut off while it was read; start again when nobody writes to it")
    return out


def give_back(view: np.ndarray) -> None:
    """Lets the system drop the whole pages of a contiguous view of a mapped file; does nothing to other arrays.

    What is read once, from files larger than the memory, then does not count as memory of this process.
    """
    mapping = _mapping(view)
    if mapping is not None:
        address = np.frombuffer(mapping, np.uint8).ctypes.data
        begin = view.ctypes.data - address
        pages.give_back(mapping, address, begin, begin + view.nbytes)


def _mapping(view: np.ndarray) -> mmap.mmap | None:
    """The mapped file that holds an array's bytes."""
    owner: object = view
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return owner if isinstance(owner, mmap.mmap) else None
