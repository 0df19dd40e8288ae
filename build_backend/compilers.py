"""Which compiler builds the extension module: the one that is named, else one that works, else zig."""

import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scikit_build_core.settings.skbuild_read_settings import SettingsReader

from build_backend import zig
from build_backend.errors import BuildError
from build_backend.probe import failure

_INSTALL = "install GCC (10 or newer) or clang"


@dataclasses.dataclass(frozen=True)
class Choice:
    """A compiler and how the build gets it. `why`: the line that says so; `requires`: what pip must install for it;
    `environment`: variables that CMake is to see; `names_headers`: the user says where Python's headers are."""

    why: str
    requires: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Callable[[], dict[str, str]] = dict
    names_headers: bool = False


def choose(config_settings: Mapping[str, Any] | None, environment: Mapping[str, str]) -> Choice:
    """The compiler for a build with these settings in this environment. Raises BuildError where a named one does not
    work, or there is none and no zig for this machine."""
    defines = _defines(config_settings, environment)
    choice = _chosen(defines, environment)
    return dataclasses.replace(choice, names_headers="Python_INCLUDE_DIR" in defines)


def _chosen(defines: Mapping[str, str], environment: Mapping[str, str]) -> Choice:
    wish = environment.get("QWILL_COMPILER", "")
    if wish not in ("", "zig"):
        raise BuildError(f"QWILL_COMPILER={wish}: zig is all it can ask for; name a compiler with CXX")
    for variable in ("CMAKE_TOOLCHAIN_FILE", "CMAKE_CXX_COMPILER", "CXX"):
        given = defines.get(variable) or environment.get(variable, "")
        if not given.strip() or (wish and variable not in defines):
            continue
        if wish:
            raise BuildError(f"{variable}={given} and QWILL_COMPILER=zig cannot both hold: drop one")
        if variable == "CMAKE_TOOLCHAIN_FILE":
            return _toolchain(given)
        return _named(variable, given, environment, in_cmake=variable in defines)
    if wish:
        return _zig("QWILL_COMPILER asks for it", environment)
    return _found(environment)


def _toolchain(file: str) -> Choice:
    if not Path(file).is_file():
        raise BuildError(f"CMAKE_TOOLCHAIN_FILE={file}: there is no such file")
    return Choice(f"compiling as {file} says: CMAKE_TOOLCHAIN_FILE names it")


def _named(variable: str, given: str, environment: Mapping[str, str], *, in_cmake: bool) -> Choice:
    """The compiler that the user names, which has to work: another one in its place would not be what was asked for."""
    command = given.split(";") if variable == "CMAKE_CXX_COMPILER" else _words(given)
    wrong = failure(command, environment)
    if wrong is not None:
        hint = "MSVC takes other flags than ours" if Path(command[0]).stem.lower() in ("cl", "clang-cl") else wrong
        raise BuildError(
            f"{variable}={given} does not compile and link C++17: {hint}; name another one, or unset {variable}"
        )
    return Choice(
        f"compiling with {given}: {variable} names it",
        environment=_ninja(environment),
        # CMake itself reads CMAKE_CXX_COMPILER as an option only.
        settings=dict if in_cmake or variable == "CXX" else lambda: {"cmake.define.CMAKE_CXX_COMPILER": given},
    )


def _found(environment: Mapping[str, str]) -> Choice:
    """The machine's compiler where one works, else zig."""
    tried = []
    for name in _candidates(environment):
        wrong = failure([name], environment)
        if wrong is None:
            return Choice(f"compiling with {name}: it compiles and links C++17", environment={"CXX": name})
        tried.append(f"{name}: {wrong}")
    return _zig(f"no working C++17 compiler was found ({'; '.join(tried) or 'none is on the PATH'})", environment)


def _candidates(environment: Mapping[str, str]) -> Iterable[str]:
    """Programs that may be a compiler, best first: what Python was built with, then the usual names."""
    if sys.platform == "win32":
        return  # MSVC takes other flags, and what else may lie on the PATH builds for another runtime than Python's.
    if sys.platform == "darwin" and not _has_command_line_tools(environment):
        return
    seen = set()
    for name in (*shlex.split(sysconfig.get_config_var("CXX") or "")[:1], "c++", "g++", "clang++"):
        path = shutil.which(name, path=environment.get("PATH", os.defpath))
        if path is not None and os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            yield name


def _has_command_line_tools(environment: Mapping[str, str]) -> bool:
    """Whether the compilers in macOS's /usr/bin are more than programs that open a window to offer themselves."""
    select = shutil.which("xcode-select", path=environment.get("PATH", os.defpath))
    return select is not None and subprocess.run([select, "-p"], capture_output=True).returncode == 0


def _zig(why: str, environment: Mapping[str, str]) -> Choice:
    try:
        target = zig.target()
    except BuildError as error:
        raise BuildError(f"{why}, and {error}: {_INSTALL}, or name one with CXX") from None
    return Choice(
        f"compiling with zig for {target}: {why}",
        requires=(zig.REQUIREMENT,),
        # Its own libraries are compiled once a build and kept beside the objects, not in the home folder.
        environment=_ninja(environment) | {"ZIG_GLOBAL_CACHE_DIR": str(Path("build", "zig").absolute())},
        settings=lambda: zig.settings(target),
    )


def _ninja(environment: Mapping[str, str]) -> dict[str, str]:
    """On Windows CMake's default is Visual Studio, which has its own compiler."""
    return {} if environment.get("CMAKE_GENERATOR") else {"CMAKE_GENERATOR": "Ninja"}


def _words(command: str) -> list[str]:
    """CXX as CMake reads it: a path, or a program with its arguments."""
    if Path(command).exists():
        return [command]
    return [word.strip('"') for word in shlex.split(command, posix=os.name != "nt")]


def _defines(config_settings: Mapping[str, Any] | None, environment: Mapping[str, str]) -> dict[str, str]:
    """What the settings and CMAKE_ARGS define for CMake, the last one of a name as CMake has it."""
    settings = SettingsReader.from_file("pyproject.toml", dict(config_settings or {}), state="wheel").settings.cmake
    defines = {name: str(value) for name, value in settings.define.items()}
    if getattr(settings, "toolchain_file", None):
        defines["CMAKE_TOOLCHAIN_FILE"] = str(settings.toolchain_file)
    words = iter([*settings.args, *shlex.split(environment.get("CMAKE_ARGS", ""))])
    for word in words:
        if word in ("-D", "--toolchain"):
            word += next(words, "")
        if word.startswith("--toolchain"):
            defines["CMAKE_TOOLCHAIN_FILE"] = word.removeprefix("--toolchain").removeprefix("=")
        elif word.startswith("-D"):
            name, _, value = word[2:].partition("=")
            defines[name.partition(":")[0]] = value
    return defines
