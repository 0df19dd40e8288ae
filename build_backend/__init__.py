"""The hooks by which pip and other installers build qwill (PEP 517, PEP 660): those of scikit-build-core, with a
compiler and Python's headers found first.

A compiler that is named (CXX, CMake's own ways) is used; else the machine's, where it compiles and links C++17 with our
flags; else zig from the package index, which is asked for as a build requirement. QWILL_COMPILER=zig takes zig at once.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scikit_build_core import build as core
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from build_backend import headers, parallel
from build_backend.compilers import Choice, choose
from build_backend.errors import BuildError

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What is to be installed before `build_wheel`: CMake and Ninja where they are missing, zig where a compiler is."""
    with _chosen(config_settings) as choice:
        _check_headers(choice)
        return [*core.get_requires_for_build_wheel(config_settings), *choice.requires]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """What is to be installed before `build_editable`."""
    with _chosen(config_settings) as choice:
        _check_headers(choice)
        return [*core.get_requires_for_build_editable(config_settings), *choice.requires]


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Builds the wheel into `wheel_directory` and returns its name."""
    with _chosen(config_settings) as choice:
        return core.build_wheel(wheel_directory, _settings(choice, config_settings), metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Builds the wheel that leads to the sources here, into `wheel_directory`, and returns its name."""
    with _chosen(config_settings) as choice:
        return core.build_editable(wheel_directory, _settings(choice, config_settings), metadata_directory)


@contextlib.contextmanager
def _chosen(config_settings: Settings) -> Iterator[Choice]:
    """The compiler, told in one line, with the environment for CMake; what is wrong ends the hook with one line."""
    before = dict(os.environ)
    try:
        choice = choose(config_settings, before)
        print(f"qwill: {choice.why}", flush=True)
        os.environ.update(choice.environment)
        yield choice
    except BuildError as error:
        sys.exit(f"qwill: {error}")
    finally:
        os.environ.clear()
        os.environ.update(before)


def _check_headers(choice: Choice) -> None:
    """Ends a build that will find no headers before anything is downloaded for it."""
    if headers.missing() is not None and not choice.names_headers:
        headers.check_tools(sys.version_info[:2])


def _settings(choice: Choice, config_settings: Settings) -> dict[str, Any]:
    """The settings for scikit-build-core: the user's over ours."""
    settings: dict[str, Any] = choice.settings()
    include = headers.missing()
    if include is not None and not choice.names_headers:
        found = headers.fetched(sys.version_info[:2], None, Path("build", "headers").absolute())
        print(
            f"qwill: Python's headers are not in {include}: those of Debian's package are used, in {found}", flush=True
        )
        settings["cmake.define.Python_INCLUDE_DIR"] = str(found)
    os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(parallel.jobs()))
    return settings | (config_settings or {})
