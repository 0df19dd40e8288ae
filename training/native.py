"""The training's own CPU kernels (`training/kernels/*.cpp`), compiled for this machine on first use. Where there is no
compiler, PyTorch computes the same, more slowly."""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

KERNELS = Path(__file__).parent / "kernels"
FLAGS = ("-O3", "-ffast-math", "-std=c++17", "-fPIC")

# The processors that a level is for say that they have this.
LEVELS = {"avx512vl": ("-march=x86-64-v4", "-mprefer-vector-width=512"), "avx2": ("-march=x86-64-v3",)}


@cache
def compiler() -> tuple[str, ...] | None:
    """The command that compiles: CXX, or the first of the usual ones that is here; None where there is none."""
    if named := os.environ.get("CXX"):
        return tuple(shlex.split(named))
    return next(((name,) for name in ("g++", "c++", "clang++") if shutil.which(name)), None)


def level(cpuinfo: str) -> tuple[str, ...]:
    """The flags for the best level of x86-64 that the processor of this /proc/cpuinfo reaches."""
    features = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    return next((flags for feature, flags in LEVELS.items() if feature in features), ())


@cache
def library(name: str) -> ctypes.CDLL:
    """The compiled kernels/<name>.cpp, kept in the user's cache folder."""
    source = KERNELS / f"{name}.cpp"
    code = [file.read_text(encoding="utf-8") for file in (source, *sorted(KERNELS.glob("*.h")))]
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qwill-training"
    cache_folder.mkdir(parents=True, exist_ok=True)
    flags = (*FLAGS, *level(Path("/proc/cpuinfo").read_text()))
    key = hashlib.sha256("".join([*code, *flags]).encode()).hexdigest()[:16]
    built = cache_folder / f"{name}-{key}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=cache_folder) as folder:
            object_file, made = (Path(folder) / f"{name}.{ending}" for ending in ("o", "so"))
            command = compiler()
            assert command is not None
            subprocess.run([*command, *flags, "-c", source, "-o", object_file], check=True)
            # Linked without the flags: with -ffast-math the library would switch off denormals in the whole program.
            subprocess.run([*command, "-shared", object_file, "-o", made], check=True)
            os.replace(made, built)
    return ctypes.CDLL(str(built))


def call(name: str, function: str, sizes: tuple[int, ...], *tensors: Tensor) -> None:
    """Calls a kernel with whole numbers, then the tensors' addresses."""
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in tensors), function
    arguments = [*map(ctypes.c_int64, sizes), *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)]
    getattr(library(name), function)(*arguments)


def native(x: Tensor) -> bool:
    """Whether the kernels here can take x."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and compiler() is not None
