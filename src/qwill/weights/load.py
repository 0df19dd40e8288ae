"""Opening a checkpoint: a folder in released layout or a GGUF file, to one `Checkpoint`."""

from pathlib import Path

from qwill.errors import CheckpointError, ModelNotFound
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folder import open_folder
from qwill.weights.gguf_model import open_gguf


def open_checkpoint(path: Path, mmproj: Path | None = None) -> Checkpoint:
    """Opens a folder in released layout or a `.gguf` file, with the vision file `mmproj` or the one found beside it.

    Raises ModelNotFound, CheckpointError or UnsupportedModel; nothing big is read.
    """
    if path.is_dir():
        if mmproj is not None:
            raise CheckpointError(f"{mmproj}: a vision file goes with a .gguf model, {path} is a folder")
        return open_folder(path)
    if not path.exists():
        raise ModelNotFound(f"{path}: no such file or folder")
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path}: give the folder that holds it, with its config.json: {path.parent}")
    return open_gguf(path, mmproj)
