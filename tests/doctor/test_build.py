"""What the compiled kernels tell of how they were built."""

import platform
import re
from importlib.machinery import EXTENSION_SUFFIXES

import qwill._native as native


def test_how_the_kernels_were_built() -> None:
    told = native.build
    assert told.keys() == {"compiler", "target", "c_library", "stable_abi", "isas"}
    assert re.fullmatch(r"(GCC|clang|Apple clang) \d+\.\d+\.\d+( \(zig \d+\.\d+\.\d+\S*\))?", told["compiler"])
    assert told["target"] == {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    assert told["stable_abi"] != native.__file__.endswith(EXTENSION_SUFFIXES[0])


def test_every_set_that_runs_was_compiled() -> None:
    runnable = native.available_isas()
    assert [isa for isa in native.build["isas"] if isa in runnable] == runnable
    assert native.build["isas"][0] == "scalar"
