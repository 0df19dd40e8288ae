"""How qwill was built and installed, and the Python that runs it."""

import importlib.metadata
import json
import platform
import shutil
import sys
import sysconfig
import tomllib
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import qwill

PACKAGE = Path(qwill.__file__).parent
NATIVE = "qwill._native"


def installation(failures: dict[str, str]) -> dict[str, Any]:
    """failures: modules that cannot be imported, and why."""
    module = native_module()
    return {
        "version": qwill.__version__,
        "installed_version": installed_version(),
        "installed_as": _installed_as(),
        "environment": _environment(),
        "native": {
            "found": module is not None,
            "file": module.name if module else None,
            "others": _other_native_modules(),
            "error": failures.get(NATIVE),
            "build": None if module is None or NATIVE in failures else _build(),
        },
        "demonstration_model": (PACKAGE / "demo" / "demo.gguf").is_file(),
        "first_on_path": _first_on_path(),
    }


def python() -> dict[str, Any]:
    """The interpreter."""
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "built_for": sysconfig.get_platform(),
        "compiler": " ".join(platform.python_compiler().split()),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "debug": hasattr(sys, "gettotalrefcount"),
    }


def native_module() -> Path | None:
    """The file of the compiled kernels; None when there is none that this Python would load."""
    files = (PACKAGE / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _other_native_modules() -> list[str]:
    """Names of compiled kernels for other Pythons."""
    ours = native_module()
    return sorted(file.name for file in PACKAGE.glob("_native*") if file != ours and file.suffix in (".so", ".pyd"))


def requirements() -> list[str]:
    """What qwill requires, as its metadata say, or in a source tree its project file."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return [line for line in importlib.metadata.requires("qwill") or [] if "extra ==" not in line]
    with suppress(OSError, tomllib.TOMLDecodeError, KeyError):
        return list(tomllib.loads(_project_file().read_text("utf-8"))["project"]["dependencies"])
    return []


def installed_version() -> str | None:
    """Of the distribution; None where qwill is imported from elsewhere and none is installed."""
    try:
        return importlib.metadata.version("qwill")
    except importlib.metadata.PackageNotFoundError:
        return None


def _in_source_tree() -> bool:
    return _project_file().is_file()


def _project_file() -> Path:
    return PACKAGE.parents[1] / "pyproject.toml"


def _installed_as() -> str:
    try:
        told = importlib.metadata.distribution("qwill").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return "source tree" if _in_source_tree() else "files without a distribution"
    if _in_source_tree():
        return "editable"
    address = json.loads(told) if told else {}
    if "vcs_info" in address:
        return "from a repository"
    if "dir_info" in address:
        return "from a folder"
    return "from a file" if "archive_info" in address else "wheel"


def _environment() -> str:
    if (Path(sys.prefix) / "conda-meta").is_dir():
        return "conda"
    if sys.prefix != sys.base_prefix:
        return "virtual environment"
    return "system" if "site-packages" in str(PACKAGE) or "dist-packages" in str(PACKAGE) else "none"


def _build() -> dict[str, Any] | None:
    import qwill._native as native

    return getattr(native, "build", None)


def _first_on_path() -> str:
    """Whether the command `qwill` is this one."""
    found = shutil.which("qwill")
    if found is None:
        return "none"
    scripts = {Path(sysconfig.get_path("scripts")), Path(sys.executable).parent, Path(sys.argv[0]).parent}
    scripts.add(Path(sysconfig.get_path("scripts", f"{'nt' if sys.platform == 'win32' else 'posix'}_user")))
    return "this" if Path(found).parent.resolve() in {folder.resolve() for folder in scripts} else "another"
