"""Versions of the packages that qwill requires, and of those that it can use."""

import importlib.metadata
import re
import sys
from typing import Any

from qwill.doctor.installation import NATIVE, requirements

# What of qwill does not work without each of its requirements, and the module that is imported.
NEEDED_BY = {
    "numpy": ("numpy", "everything"),
    "tokenizers": ("tokenizers", "everything"),
    "jinja2": ("jinja2", "everything"),
    "huggingface-hub": ("huggingface_hub", "downloads"),
    "pillow": ("PIL.Image", "pictures"),
    "av": ("av", "videos"),
    "rich": ("rich", "tables and progress bars"),
    "llguidance": ("llguidance", "answers that follow a schema"),
    "fastapi": ("fastapi", "qwill serve"),
    "uvicorn": ("uvicorn", "qwill serve"),
    "uvloop": ("uvloop", "qwill serve"),
    "httptools": ("httptools", "qwill serve"),
    "httpx": ("httpx", "downloads and media from the network"),
    "prometheus-client": ("prometheus_client", "qwill serve"),
}
# Compiled ones are tried: they can be there and yet not fit the system's libraries or its processor.
TRIED = (NATIVE, "numpy", "tokenizers", "PIL.Image", "llguidance", "av", "uvloop", "httptools")
OPTIONAL = ("hf-xet", "matplotlib", "torch", "transformers", "safetensors", "gguf", "playwright")


def packages(failures: dict[str, str]) -> dict[str, Any]:
    """Of each requirement its version, the least that is required, and what is wrong; of others their versions."""
    return {
        "required": {name: _package(name, specifier, failures) for name, specifier in _required().items()},
        "optional": {name: version(name) for name in OPTIONAL},
    }


def tried() -> list[str]:
    """Modules to try, those that are there."""
    absent = {module for name, (module, _) in NEEDED_BY.items() if version(name) is None}
    return [module for module in TRIED if module not in absent]


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    except Exception:  # torn metadata
        return "?"


def _package(name: str, specifier: str, failures: dict[str, str]) -> dict[str, Any]:
    found = version(name)
    module, purpose = NEEDED_BY.get(name, ("", "some of qwill"))
    return {
        "version": found,
        "requires": specifier,
        "suits": None if found is None or found == "?" else suits(found, specifier),
        "error": failures.get(module),
        "needed_by": purpose,
    }


def _required() -> dict[str, str]:
    """Specifiers by the names of requirements that hold on this system."""
    found = {}
    for line in requirements():
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(;.*)?$", line)
        if match and _holds(match[3] or ""):
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2].replace(" ", "")
    return found


def _holds(marker: str) -> bool:
    """Of the markers that this project has: a platform that is not meant."""
    other = re.search(r"sys_platform\s*!=\s*['\"](\w+)['\"]", marker)
    only = re.search(r"sys_platform\s*==\s*['\"](\w+)['\"]", marker)
    return not (other and other[1] == sys.platform) and not (only and only[1] != sys.platform)


def suits(found: str, specifier: str) -> bool:
    """Whether a version is in the bounds of a specifier of `>=`, `<` and `==`; numbers alone count."""
    own = _numbers(found)
    for bound in filter(None, specifier.split(",")):
        match = re.fullmatch(r"(>=|<=|==|<|>|~=|!=)\s*([0-9][^\s]*)", bound)
        if match is None:
            continue
        other = _numbers(match[2])
        size = max(len(own), len(other))
        left, right = own + (0,) * (size - len(own)), other + (0,) * (size - len(other))
        checks = {">=": left >= right, "~=": left >= right, "<": left < right, "<=": left <= right,
                  ">": left > right, "==": left == right, "!=": left != right}  # fmt: skip
        if not checks[match[1]]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(map(int, match[1].split("."))) if match else ()
