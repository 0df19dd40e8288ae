"""Keeping out of a report what is nobody else's business: names of people and machines, and where things lie.

A report says things by the names of variables and of usual folders. What comes from outside all the same, such as the
message of a loader or the name of a kernel, goes through `cleaned`.
"""

import getpass
import os
import platform
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Accounts and machines that many have: no names of anybody, and words that a report needs.
COMMON = {"admin", "debian", "fedora", "linux", "localhost", "macos", "python", "qwill", "root", "runner", "ubuntu",
          "user", "windows"}  # fmt: skip
_PATH = re.compile(r"(?<![\w.~])(?:[A-Za-z]:)?(?:[\\/][^\\/'\"(),;:\n]+)*[\\/][^\\/\s'\"(),;:]*")
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b|(?<![\w:.])(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}(?![\w:])", re.I)


def cleaned(value: Any, names: frozenset[str], folders: tuple[str, ...]) -> Any:
    """The same texts, lists and tables with `…` for names and addresses, and of paths their last part."""
    if isinstance(value, dict):
        return {key: cleaned(each, names, folders) for key, each in value.items()}
    if isinstance(value, list):
        return [cleaned(each, names, folders) for each in value]
    if not isinstance(value, str):
        return value
    for folder in folders:
        value = value.replace(folder, "~")
    for name in names:
        value = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "…", value, flags=re.I)
    return _ADDRESS.sub("…", value)


def without_folders(text: str) -> str:
    """A message of a loader with the names of files only, in one line."""
    for folder in sorted({sys.prefix, sys.base_prefix, str(Path.home()), *sys.path}, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(folder, "")
    shortened = _PATH.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)
    return " ".join(shortened.split())


def home_folders() -> tuple[str, ...]:
    """Spellings of the home folder, the longest first."""
    found = {os.environ.get("HOME", ""), os.environ.get("USERPROFILE", "")}
    with suppress(RuntimeError, OSError):
        found |= {str(Path.home()), str(Path.home().resolve())}
    return tuple(sorted((folder.rstrip("\\/") for folder in found if len(folder) > 2), key=len, reverse=True))


def private_names() -> frozenset[str]:
    """Names of the user, of the home folder and of the machine, as anything tells them."""
    variables = ("USER", "LOGNAME", "USERNAME", "LNAME", "SUDO_USER", "HOSTNAME", "HOST", "COMPUTERNAME", "USERDOMAIN")
    found = {os.environ.get(name, "") for name in variables}
    with suppress(Exception):  # no entry for the user, no module pwd
        found.add(getpass.getuser())
    found |= set(_names_of_machine(platform.node()))
    found |= {Path(folder).name for folder in home_folders()}
    return frozenset(name for name in found if len(name) > 1 and name.lower() not in COMMON)


def _names_of_machine(node: str) -> Iterable[str]:
    return node, node.partition(".")[0]
