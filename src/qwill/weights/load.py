"""Opening a checkpoint: a folder in released layout, a GGUF file or a model of Ollama's, to one `Checkpoint`."""

from dataclasses import replace
from pathlib import Path

from qwill.errors import CheckpointError, ModelNotFound
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders.folder import open_folder
from qwill.weights.folders.kinds import an_adapter, is_adapter_file
from qwill.weights.gguf.model import open_gguf
from qwill.weights.hub.ollama_store import is_manifest, read_manifest, vision_of_blob


def open_checkpoint(path: Path, mmproj: Path | None = None) -> Checkpoint:
    """Opens a folder in released layout, or a `.gguf` file with the vision file `mmproj` or the one found beside it, or
    what a manifest of Ollama's lists.

    Raises ModelNotFound, CheckpointError or UnsupportedModel; nothing big is read.
    """
    if path.is_dir():
        if mmproj is not None:
            raise CheckpointError(f"{mmproj}: a vision file goes with a .gguf model, {path} is a folder")
        return open_folder(path)
    if path.is_symlink() and not path.exists():
        raise ModelNotFound(f"{path}: is a link to a file that is not there; download that again")
    if not path.exists():
        raise ModelNotFound(f"{path}: no such file or folder")
    if is_manifest(path):
        return _open_stored(path, mmproj)
    if is_adapter_file(path):
        raise an_adapter(path.parent)
    if path.suffix in (".safetensors", ".json"):
        raise CheckpointError(f"{path}: give the folder that holds it, with its config.json: {path.parent}")
    return open_gguf(path, mmproj or vision_of_blob(path))


def _open_stored(path: Path, mmproj: Path | None) -> Checkpoint:
    """A model in Ollama's store, by its manifest, whose parameters are its defaults for sampling."""
    stored = read_manifest(path)
    checkpoint = open_gguf(stored.model, mmproj or stored.vision, stored.draft_head)
    settings = checkpoint.generation_config | stored.sampling
    if "temperature" in stored.sampling:
        settings.pop("do_sample", None)
    return replace(checkpoint, path=path, generation_config=settings)
