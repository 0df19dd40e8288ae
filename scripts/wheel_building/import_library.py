"""Import libraries, by which modules for Windows find Python's names in its DLLs: made from what Python's headers
declare as imported there, since no Windows Python is at hand."""

import re
from pathlib import Path

from wheel_building import headers
from wheel_building.environment import run
from wheel_building.errors import WheelError

STABLE = "Py_LIMITED_API=0x030C0000"  # as nanobind defines it
_IMPORTED = re.compile(r"__attribute__\(\(dllimport\)\)([^;{]*)[;{]")
_ATTRIBUTE = re.compile(r"__attribute__\s*\(\(.*?\)\)|__declspec\(\w+\)")


def made(zig: str, include: Path, version: str, folder: Path) -> Path:
    """The import library of pythonVERSION.dll in `folder`; version "3" is the DLL of the stable ABI. Raises WheelError
    where the headers declare nothing or zig fails."""
    command = [zig, "cc", "-target", "x86_64-windows-gnu"]
    symbols = declared(headers.preprocessed(command, include, [STABLE] if version == "3" else []))
    if not symbols:
        raise WheelError(f"{include} declares no names of python{version}.dll; are these Python's headers?")
    folder.mkdir(parents=True, exist_ok=True)
    definition = folder / f"python{version}.def"
    definition.write_text(exports(f"python{version}.dll", symbols), encoding="ascii")
    library = folder / f"libpython{version}.a"
    run([zig, "dlltool", "-m", "i386:x86-64", "-d", str(definition), "-l", str(library)], "zig makes no import library")
    return library


def declared(text: str) -> dict[str, bool]:
    """The names of Python's in preprocessed headers that are declared as imported from a DLL: True where a name is data
    (the object of an exception), False where it is a function."""
    found: dict[str, bool] = {}
    for match in _IMPORTED.finditer(text):
        declaration = _ATTRIBUTE.sub("", match[1]).strip()
        pointer = re.match(r"[^()]*\(\s*\*\s*(\w+)\s*\)\s*\(", declaration)  # a variable that holds a function
        function = re.match(r"[^()]*?(\w+)\s*\(", declaration)
        variable = re.search(r"(\w+)\s*(\[[^\]]*\])?$", declaration)
        name = pointer or function or variable
        if name is not None and re.match("_?Py", name[1]):
            found[name[1]] = name is not function
    return found


def exports(library: str, symbols: dict[str, bool]) -> str:
    """The text of a .def file: what the DLL `library` exports."""
    lines = (f"    {name}{' DATA' if data else ''}" for name, data in sorted(symbols.items()))
    return "\n".join([f"LIBRARY {library}", "EXPORTS", *lines, ""])
