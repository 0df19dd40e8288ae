"""Names of files: those that Windows does not have, and addresses of files."""

import os
import re
import sys
from pathlib import Path

LONGEST = 247  # characters of a folder's path on Windows, if it is not said to be long
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[1-9¹²³]|lpt[1-9¹²³])", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DRIVE = re.compile(r"/+(?=[A-Za-z][:|](/|\\|$))")


def usable(path: Path) -> Path:
    """The path to open: on Windows, long ones are marked as such."""
    return Path(marked_long(os.path.abspath(path))) if sys.platform == "win32" else path


def marked_long(path: str) -> str:
    r"""An absolute path of Windows' with the mark of long ones, `\\?\`, if it needs it."""
    if len(path) <= LONGEST or path.startswith(("\\\\?\\", "\\\\.\\")):
        return path
    return f"\\\\?\\UNC\\{path[2:]}" if path.startswith("\\\\") else f"\\\\?\\{path}"


def fault_of_name(name: str, windows: bool = sys.platform == "win32") -> str | None:
    """Why a new file cannot have a name: what Windows takes for a device, a stream of another file, or another name."""
    if not windows:
        return None
    if found := _FORBIDDEN.search(name):
        return f"names of files cannot have {found[0]!r} in them here"
    if name.endswith((".", " ")):
        return "names of files cannot end in a dot or a blank here"
    if _RESERVED.fullmatch(name.partition(".")[0].rstrip(" ")):
        return "that is the name of a device here"
    return None


def path_of_address(path: str, windows: bool = sys.platform == "win32") -> str:
    """The path that a file: address names, of what stands behind its host: `/C:/a b` is `C:/a b` on Windows."""
    if not windows or not (slashes := _DRIVE.match(path)):
        return path
    drive = path[slashes.end() :]
    return f"{drive[0]}:{drive[2:]}"
