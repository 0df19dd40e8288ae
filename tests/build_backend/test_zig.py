"""What zig compiles for, and what CMake is told of it."""

import re
import sys
from pathlib import Path

import pytest
from build_backend import zig
from build_backend.errors import BuildError


@pytest.mark.parametrize(
    ("tags", "target"),
    [
        (["manylinux_2_36_x86_64", "manylinux_2_5_x86_64", "linux_x86_64"], "x86_64-linux-gnu.2.28"),
        (["linux_x86_64", "manylinux_2_36_x86_64"], "x86_64-linux-gnu.2.28"),
        (["manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64"], "x86_64-linux-gnu.2.17"),
        (["manylinux_2_41_aarch64", "linux_aarch64"], "aarch64-linux-gnu.2.28"),
        (["musllinux_1_2_x86_64", "musllinux_1_1_x86_64", "linux_x86_64"], "x86_64-linux-musl"),
        (["musllinux_1_2_aarch64", "linux_aarch64"], "aarch64-linux-musl"),
        (["macosx_15_0_arm64", "macosx_15_0_universal2", "macosx_11_0_arm64"], "aarch64-macos.11.0-none"),
        (["macosx_13_0_x86_64", "macosx_13_0_intel"], "x86_64-macos.11.0-none"),
        (["win_amd64"], "x86_64-windows-gnu"),
    ],
)
def test_the_target_is_the_platform_of_the_python(tags: list[str], target: str) -> None:
    assert zig.target(tags) == target


@pytest.mark.parametrize(
    ("tags", "platform"),
    [
        (["manylinux_2_36_i686", "linux_i686"], "linux_i686"),
        (["manylinux_2_36_s390x", "linux_s390x"], "linux_s390x"),
        (["linux_x86_64"], "linux_x86_64"),  # neither glibc nor musl
        (["freebsd_14_amd64"], "freebsd_14_amd64"),
        (["win32"], "win32"),
    ],
)
def test_a_platform_without_zig_is_named(tags: list[str], platform: str) -> None:
    with pytest.raises(BuildError, match=f"there is no ziglang==0\\.17\\.1 for {platform}$"):
        zig.target(tags)


def test_this_machine_has_a_target_with_its_processor_named() -> None:
    assert re.fullmatch(r"(x86_64|aarch64)-(linux-(gnu\.2\.\d+|musl)|macos\.11\.0-none|windows-gnu)", zig.target())


def test_cmake_is_told_of_the_installed_zig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ziglang").mkdir()
    (tmp_path / "ziglang" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings = zig.settings("x86_64-linux-musl")
    assert Path(settings["cmake.define.QWILL_ZIG"]).parent == tmp_path / "ziglang"
    assert settings["cmake.define.QWILL_ZIG_TARGET"] == "x86_64-linux-musl"
    assert Path(settings["cmake.define.CMAKE_TOOLCHAIN_FILE"]).is_file()


def test_without_zig_installed_the_line_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(BuildError, match=r"pip install ziglang==0\.17\.1"):
        zig.settings("x86_64-linux-musl")
