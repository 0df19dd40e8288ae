"""zig as the compiler: clang, a linker and the sources of libc++ in one package of the package index."""

import importlib.util
import os
import re
from pathlib import Path

from packaging.tags import platform_tags

from build_backend.errors import BuildError

VERSION = "0.17.1"
REQUIREMENT = f"ziglang=={VERSION}"
OLDEST_GLIBC = (2, 28)  # as for the wheels of NumPy and PyTorch

_LINUX = {"x86_64": "x86_64", "aarch64": "aarch64"}
_OTHERS = {
    "win_amd64": "x86_64-windows-gnu",
    "macosx_arm64": "aarch64-macos.11.0-none",
    "macosx_x86_64": "x86_64-macos.11.0-none",
}


def target(tags: list[str] | None = None) -> str:
    """What zig is to compile for: the platform of the Python that runs, by the tags of its wheels, newest first. Raises
    BuildError where the package index has no zig for it."""
    tags = list(platform_tags()) if tags is None else tags
    linux = [tag for tag in tags if tag.startswith("linux_")]
    platform = (linux or tags)[0]
    processor = _LINUX.get(platform.removeprefix("linux_"))
    libc = next(filter(None, (re.match(r"(many|musl)linux_(\d+)_(\d+)_", tag) for tag in tags)), None)
    if linux and processor and libc:
        glibc = min(OLDEST_GLIBC, (int(libc[2]), int(libc[3])))
        return f"{processor}-linux-musl" if libc[1] == "musl" else f"{processor}-linux-gnu.{glibc[0]}.{glibc[1]}"
    found = _OTHERS.get(re.sub(r"^macosx_\d+_\d+_", "macosx_", platform))
    if found is None:
        raise BuildError(f"there is no {REQUIREMENT} for {platform}")
    return found


def settings(target: str) -> dict[str, str]:
    """scikit-build-core's settings for a build with the zig that is installed. Raises BuildError where it is not."""
    return {
        "cmake.define.CMAKE_TOOLCHAIN_FILE": str(Path("cmake", "zig.cmake").absolute()),
        "cmake.define.QWILL_ZIG": str(executable()),
        "cmake.define.QWILL_ZIG_TARGET": target,
        # Not the folder that another compiler built in: CMake keeps the first one it saw.
        "build-dir": "build/{wheel_tag}-zig",
    }


def executable() -> Path:
    """The program in the installed package. Raises BuildError where there is no such package."""
    package = importlib.util.find_spec("ziglang")
    if package is None or package.origin is None:
        raise BuildError(f"zig is not installed: pip install {REQUIREMENT}, or build with build isolation")
    return Path(package.origin).parent / ("zig.exe" if os.name == "nt" else "zig")
