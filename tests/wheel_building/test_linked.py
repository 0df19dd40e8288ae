"""A module links to nothing but the system it is for, and to its Python."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from wheel_building.errors import WheelError
from wheel_building.linked import check_macos, check_windows

_SYSTEM = "/usr/lib/libSystem.B.dylib"


def test_a_module_of_the_systems_own_libraries_is_taken() -> None:
    assert check_macos("w", "macosx_11_0_arm64", "macosx_11_0_arm64", [_SYSTEM]) == f"loads {_SYSTEM}"
    told = check_windows("w", ["api-ms-win-crt-heap-l1-1-0.dll", "kernel32.dll", "python3.dll"], "3")
    assert told == "imports kernel32.dll, python3.dll and the C runtime"


@pytest.mark.parametrize("found", ["macosx_11_0_x86_64", "macosx_12_0_arm64"])
def test_another_processor_or_macos_is_refused(found: str) -> None:
    with pytest.raises(WheelError, match=f"its module is for {found}, not for macosx_11_0_arm64"):
        check_macos("w", "macosx_11_0_arm64", found, [_SYSTEM])


@pytest.mark.parametrize("library", ["@rpath/libc++.1.dylib", "/opt/homebrew/lib/libomp.dylib", "libpython3.12.dylib"])
def test_libraries_that_macos_has_not_are_refused(library: str) -> None:
    with pytest.raises(WheelError, match=re.escape(f"loads {library}, which macOS has not")):
        check_macos("w", "macosx_11_0_arm64", "macosx_11_0_arm64", [_SYSTEM, library])


@pytest.mark.parametrize("library", ["python312.dll", "python3.dll", "libc++.dll", "vcruntime140.dll", "msvcp140.dll"])
def test_dlls_that_windows_and_this_python_have_not_are_refused(library: str) -> None:
    with pytest.raises(WheelError, match=re.escape(f"imports {library}, which")):
        check_windows("w", ["kernel32.dll", "python311.dll", library], "311")


def test_a_module_of_no_python_is_refused() -> None:
    with pytest.raises(WheelError, match=r"does not import python3\.dll"):
        check_windows("w", ["kernel32.dll"], "3")
