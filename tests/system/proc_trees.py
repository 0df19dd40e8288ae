"""Made-up /proc and /sys trees."""

from pathlib import Path


def lay(root: Path, files: dict[str, str]) -> Path:
    """Writes files below a folder; returns the folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
