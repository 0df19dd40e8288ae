"""What a wheel must be: small, with one module of the right name, for no newer system than its tag says."""

import re
import zipfile
from pathlib import Path

from wheel_building import linked
from wheel_building.environment import run
from wheel_building.errors import WheelError
from wheel_building.platforms import Platform, Python

MOST_BYTES = 25 * 10**6


def check(wheel: Path, platform: Platform, python: Python, interpreter: Path) -> list[str]:
    """A line for each check that the wheel passed. Raises WheelError for the first that it did not."""
    lines = [check_content(wheel, platform.module(python))]
    tool = [str(interpreter), "-m"]
    if platform.system == "linux":
        shown = run([*tool, "auditwheel", "show", str(wheel)], "auditwheel does not take the wheel")
        lines.append(f"auditwheel: {check_glibc(wheel.name, shown, platform.tag)}")
    else:
        lines.append(linked.check(wheel, platform, python, interpreter))
    if python.stable:
        run([*tool, "abi3audit", "--strict", str(wheel)], f"{wheel.name} uses what the stable ABI has not")
        lines.append("abi3audit: the stable ABI only")
    run([*tool, "twine", "check", "--strict", str(wheel)], f"{wheel.name}: its metadata would be refused")
    return [*lines, "twine: metadata in order"]


def check_glibc(name: str, shown: str, tag: str) -> str:
    """The platform that auditwheel's report `shown` finds the wheel fit for. Raises WheelError where that is not `tag`
    or one of an older glibc."""
    found = re.search(r'platform\s+tag:\s+"([^"]+)"', shown)
    fit, named = (re.fullmatch(r"manylinux_(\d+)_(\d+)_(\w+)", each) for each in (found[1] if found else "", tag))
    if not (fit and named and fit[3] == named[3] and (int(fit[1]), int(fit[2])) <= (int(named[1]), int(named[2]))):
        raise WheelError(f"{name}: auditwheel finds it fit for {found[1] if found else 'nothing'}, not for {tag}")
    return fit[0]


def check_content(wheel: Path, module: str) -> str:
    """Checks size and modules. Raises WheelError where the wheel is too large or has another module than this one."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name.removeprefix("qwill/") for name in archive.namelist()]
    modules = [name for name in names if name.endswith((".so", ".pyd", ".dll", ".dylib"))]
    if modules != [module]:
        raise WheelError(f"{wheel.name} has the modules {', '.join(modules) or 'none'} where it should have {module}")
    size = wheel.stat().st_size
    if size > MOST_BYTES:
        raise WheelError(f"{wheel.name} has {size / 1e6:.1f} MB, over {MOST_BYTES / 1e6:.0f}")
    return f"{size / 1e6:.1f} MB, {module}"
