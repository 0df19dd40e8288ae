"""What the module in a wheel for macOS or Windows asks of the system that loads it."""

import json
import re
import tempfile
import zipfile
from pathlib import Path

from wheel_building.environment import run
from wheel_building.errors import WheelError
from wheel_building.platforms import Platform, Python

# Of every Windows since 10: the C runtime, which Python itself uses, and the system.
_WINDOWS = re.compile(r"api-ms-win-crt-[a-z]+-l1-1-0\.dll|kernel32\.dll|ntdll\.dll|advapi32\.dll")
# In the environment, whose packages read the files of other systems; delocate itself asks Apple's otool.
_MACOS = """
import json, sys
from macholib.mach_o import CPU_TYPE_NAMES, LC_BUILD_VERSION, LC_VERSION_MIN_MACOSX
from macholib.MachO import MachO
(header,) = MachO(sys.argv[1]).headers
for command, content, _ in header.commands:
    if command.cmd in (LC_BUILD_VERSION, LC_VERSION_MIN_MACOSX):
        version = content.minos if command.cmd == LC_BUILD_VERSION else content.version
loaded = [name.rstrip("\\0") for _, _, name in header.walkRelocatables()]
version = int(version)
print(json.dumps([CPU_TYPE_NAMES[header.header.cputype], [version >> 16, version >> 8 & 255], loaded]))
"""
_IMPORTED = """
import json, sys
import pefile
file = pefile.PE(sys.argv[1])
print(json.dumps([each.dll.decode().lower() for each in file.DIRECTORY_ENTRY_IMPORT]))
"""


def check(wheel: Path, platform: Platform, python: Python, interpreter: Path) -> str:
    """A line about what the module links to. Raises WheelError where the system and Python do not bring that."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            module = archive.extract(f"qwill/{platform.module(python)}", folder)
        script = _MACOS if platform.system == "macos" else _IMPORTED
        found = json.loads(run([str(interpreter), "-c", script, module], f"{wheel.name}: its module cannot be read"))
    if platform.system == "windows":
        run([str(interpreter), "-m", "delvewheel", "show", str(wheel)], "delvewheel does not take the wheel")
        return check_windows(wheel.name, found, "3" if python.stable else python.digits)
    processor, version, loaded = found
    return check_macos(wheel.name, platform.tag, f"macosx_{version[0]}_{version[1]}_{processor.lower()}", loaded)


def check_macos(name: str, tag: str, found: str, loaded: list[str]) -> str:
    """Checks the processor and oldest macOS of a module (as a tag, `found`) and the libraries it loads. Raises
    WheelError where they are not those of `tag` and the system's own."""
    if found != tag:
        raise WheelError(f"{name}: its module is for {found}, not for {tag}")
    foreign = [library for library in loaded if not library.startswith(("/usr/lib/", "/System/Library/"))]
    if foreign:
        raise WheelError(f"{name}: its module loads {', '.join(foreign)}, which macOS has not")
    return f"loads {', '.join(loaded)}"


def check_windows(name: str, imported: list[str], version: str) -> str:
    """Checks the DLLs that a module imports. Raises WheelError where one is neither the system's nor Python's, or
    Python's is not python`version`.dll."""
    foreign = [each for each in imported if not _WINDOWS.fullmatch(each) and each != f"python{version}.dll"]
    if foreign:
        raise WheelError(f"{name}: its module imports {', '.join(foreign)}, which Windows and its Python have not")
    if f"python{version}.dll" not in imported:
        raise WheelError(f"{name}: its module does not import python{version}.dll")
    return f"imports {', '.join(each for each in imported if not each.startswith('api-ms-win-crt'))} and the C runtime"
