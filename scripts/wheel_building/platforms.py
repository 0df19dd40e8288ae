"""Which wheels there are: platforms with what zig, scikit-build-core and pip call them, and Pythons."""

import re
from dataclasses import dataclass

from wheel_building.errors import WheelError


@dataclass(frozen=True)
class Platform:
    """A platform of wheels: its tag, zig's name of it, the ending of a module for one version of Python, what Python
    itself calls the platform, and the ending of a module for all versions."""

    tag: str
    target: str
    suffix: str  # with {version} for 311
    host: str
    stable_suffix: str = ".abi3.so"

    def module(self, python: "Python") -> str:
        """The file name of the extension module in a wheel."""
        return f"_native{self.stable_suffix if python.stable else self.suffix.format(version=python.digits)}"

    @property
    def system(self) -> str:
        """The system as zig names it: linux, macos, windows."""
        return re.split("[-.]", self.target)[1]


@dataclass(frozen=True)
class Python:
    """A version that wheels are built with; stable: the wheel is for all later ones, too."""

    version: tuple[int, int]
    stable: bool

    @property
    def digits(self) -> str:
        """The version as tags have it: 311."""
        return "".join(map(str, self.version))

    @property
    def tag(self) -> str:
        """The wheel's tags for Python and its ABI: cp312-abi3, cp311-cp311."""
        return f"cp{self.digits}-{'abi3' if self.stable else f'cp{self.digits}'}"


PYTHONS = (Python((3, 12), stable=True), Python((3, 11), stable=False))
PLATFORMS = {
    platform.tag: platform
    for platform in (
        Platform(
            "manylinux_2_28_x86_64",
            "x86_64-linux-gnu.2.28",
            ".cpython-{version}-x86_64-linux-gnu.so",
            host="linux-x86_64",
        ),
        Platform(
            "manylinux_2_28_aarch64",
            "aarch64-linux-gnu.2.28",
            ".cpython-{version}-aarch64-linux-gnu.so",
            host="linux-aarch64",
        ),
        Platform(
            "macosx_11_0_arm64", "aarch64-macos.11.0-none", ".cpython-{version}-darwin.so", host="macosx-11.0-arm64"
        ),
        Platform(
            "macosx_11_0_x86_64", "x86_64-macos.11.0-none", ".cpython-{version}-darwin.so", host="macosx-11.0-x86_64"
        ),
        Platform("win_amd64", "x86_64-windows-gnu", ".cp{version}-win_amd64.pyd", "win-amd64", ".pyd"),
    )
}


def named(tags: list[str]) -> list[Platform]:
    """The platforms of these tags, all without any. Raises WheelError for an unknown one."""
    unknown = [tag for tag in tags if tag not in PLATFORMS]
    if unknown:
        raise WheelError(f"no platform {unknown[0]}; there are {', '.join(PLATFORMS)}")
    return [PLATFORMS[tag] for tag in dict.fromkeys(tags)] if tags else list(PLATFORMS.values())
