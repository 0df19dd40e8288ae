"""Where the model that a name stands for lies on this machine.

Downloads are kept in the hub's shared cache, so what another program fetched is found, and the other way round. Its
layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache); it is read here without
importing `huggingface_hub`, which takes half a second.
"""

import json
import os
from pathlib import Path, PurePosixPath

from qwill.errors import CheckpointError, ModelNotFound
from qwill.weights.hub.ollama_store import PREFIX, ollama_manifest
from qwill.weights.naming.models import HubModel, cleaned, hub_model
from qwill.weights.naming.repositories import NotOfThisRepository, choose_files, is_adapter

DEMO = "demo"
MAIN = "main"


def resolve_model(name: str = DEMO) -> Path:
    """The folder or `.gguf` file that a model's name stands for.

    "" or "demo" is the embedded model; then an existing path, or whatever `hub_model` reads: an alias such as
    `qwen3.5:0.8b-q4_k_m`, `org/name[:QUANT]`, a link; `ollama:NAME` is the manifest of a model of Ollama's. Raises
    ModelNotFound with the mend: for a model not downloaded yet, the command that does it.
    """
    if name in ("", DEMO):
        return _embedded()
    if path := existing_path(name):
        return path
    if cleaned(name).lower().startswith(PREFIX):
        return ollama_manifest(cleaned(name))
    model = hub_model(name)
    snapshot = find_snapshot(model.repository, model.revision)
    if snapshot is None:
        raise ModelNotFound(f"{_not_here(model)}; get it with: qwill pull {model.name}")
    return downloaded_model(model, snapshot)


def existing_path(name: str) -> Path | None:
    """The file or folder of that name, quotes and blanks around it or not; None when there is none."""
    for text in (name, cleaned(name)):
        path = os.path.expanduser(text)
        if text and os.path.exists(path):
            return Path(path)
    return None


def cache_folder() -> Path:
    """The hub's cache, as HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME place it."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def repository_folder(repository: str) -> Path:
    """Where the cache has what was downloaded of a repository."""
    return cache_folder() / f"models--{repository.replace('/', '--')}"


def find_snapshot(repository: str, revision: str | None = None) -> Path | None:
    """The folder of a repository's newest downloaded files, or of those of a branch, tag or commit; None when nothing
    of it was downloaded."""
    folder = repository_folder(repository)
    reference = folder / "refs" / (revision or MAIN)
    commit = reference.read_text("utf-8").strip() if reference.is_file() else revision or ""
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def downloaded_model(model: HubModel, snapshot: Path) -> Path:
    """The folder or first `.gguf` file to open in a downloaded snapshot. Raises ModelNotFound when part is missing."""
    present = sorted(file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file())
    missing = f"{model.name} is only partly downloaded; go on with: qwill pull {model.name}"
    try:
        chosen = choose_files(model, present)
    except NotOfThisRepository as error:
        weights = [file for file in present if PurePosixPath(file).suffix in (".gguf", ".safetensors")]
        raise (error if weights else ModelNotFound(missing)) from error
    except ModelNotFound as error:
        raise ModelNotFound(missing) from error
    if chosen[0].endswith(".safetensors"):
        if not is_adapter(chosen) and ("config.json" not in present or not _shards(snapshot) <= set(present)):
            raise ModelNotFound(missing)
        return snapshot
    return snapshot / chosen[0]


def _not_here(model: HubModel) -> str:
    """A name with a file in it may have been meant as a path."""
    here = ", and there is no such file" if model.path and model.name.startswith(model.repository) else ""
    return f"{model.name} is not on this machine yet{here}"


def _shards(snapshot: Path) -> set[str]:
    """The files that the index of a safetensors folder names."""
    index = snapshot / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    try:
        return set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index}: is no index of tensors; delete it and download it again") from error


def _embedded() -> Path:
    file = Path(__file__).parents[2] / DEMO / "demo.gguf"  # its vision file is found beside it
    if file.is_file():
        return file
    raise ModelNotFound(f"the demonstration model is not in this installation ({file}); install qwill again")
