"""The training's own CPU kernels (`training/kernels/*.cpp`), compiled for this machine on first use."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

KERNELS = Path(__file__).parent / "kernels"
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-std=c++17", "-fPIC")


@cache
def library(name: str) -> ctypes.CDLL:
    """The compiled kernels/<name>.cpp, kept in the user's cache folder."""
    source = KERNELS / f"{name}.cpp"
    code = [file.read_text(encoding="utf-8") for file in (source, *sorted(KERNELS.glob("*.h")))]
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qwill-training"
    cache_folder.mkdir(parents=True, exist_ok=True)
    machine = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")][:1]
    key = hashlib.sha256("".join([*code, *FLAGS, *machine]).encode()).hexdigest()[:16]
    built = cache_folder / f"{name}-{key}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=cache_folder) as folder:
            object_file, made = (Path(folder) / f"{name}.{ending}" for ending in ("o", "so"))
            compiler = os.environ.get("CXX", "g++")
            subprocess.run([compiler, *FLAGS, "-c", source, "-o", object_file], check=True)
            # Linked without the flags: with -ffast-math the library would switch off denormals in the whole program.
            subprocess.run([compiler, "-shared", object_file, "-o", made], check=True)
            os.replace(made, built)
    return ctypes.CDLL(str(built))


def call(name: str, function: str, sizes: tuple[int, ...], *tensors: Tensor) -> None:
    """Calls a kernel with whole numbers, then the tensors' addresses."""
    assert all(tensor.is_contiguous() and tensor.device.type == "cpu" for tensor in tensors), function
    arguments = [*map(ctypes.c_int64, sizes), *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)]
    getattr(library(name), function)(*arguments)


def native(x: Tensor) -> bool:
    """Whether the kernels here can take x."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16
