"""Where programs of the user keep what they can make again."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def caches_folder(environment: Mapping[str, str] = os.environ, system: str = sys.platform) -> Path:
    """The user's folder for caches, as the system has it; `~` is not expanded."""
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or "~/AppData/Local")
    if system == "darwin":
        return Path("~/Library/Caches")
    return Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
