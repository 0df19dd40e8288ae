"""Files that are not what their names say: what a download left in their place."""

from pathlib import Path

from qwill.errors import CheckpointError, ModelNotFound

HEAD_BYTES = 512
_AGAIN = "download it again"


def foreign_content(head: bytes) -> str | None:
    """What a file is, and the mend, by its first HEAD_BYTES bytes; None when they are nothing that is known here."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder, or download it again"
    lowered = start[:200].lower()
    if lowered.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<error>")):
        return (
            "is a web page that was saved in place of the file; download it again (its address may be that of a page,"
            " or need a login)"
        )
    if start.startswith((b"Entry not found", b"Repository not found", b"Invalid username or password", b"Access to ")):
        return f"holds an error message of a server ({_line(start)}); {_AGAIN}"
    if start.startswith(b'{"error"'):
        return f"holds an error message of a server ({_line(start)}); {_AGAIN}"
    # A safetensors file begins with the length of its header, in eight bytes of which the last are zero.
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")) and any(head[4:8]):
        return "is a pickle or an archive, whatever its name says; convert it to safetensors"
    return None


def refuse_foreign(path: Path) -> None:
    """Raises CheckpointError when a file holds something else in its place, ModelNotFound when it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise ModelNotFound(f"{path}: no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if what := foreign_content(head):
        raise CheckpointError(f"{path}: {what}")


def _line(text: bytes) -> str:
    """Its first line, short and printable."""
    line = text.split(b"\n")[0][:60].decode("utf-8", "replace").strip()
    return "".join(char if char.isprintable() else "?" for char in line)
