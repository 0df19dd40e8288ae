"""Downloading models from the hub: what is needed, whether it fits on the disk, then the files, resumable."""

import glob
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from qwill.errors import QwillError
from qwill.system.files import replace
from qwill.weights.hub.cache import MAIN, cache_folder, downloaded_model, repository_folder
from qwill.weights.hub.errors import hub_errors
from qwill.weights.hub.resumable import RemoteFile, fetch_files, is_resumable
from qwill.weights.naming.models import HubModel
from qwill.weights.naming.repositories import choose_files


@dataclass(frozen=True)
class Download:
    """The files of a model at one commit of its repository. `present`: all files that the repository has."""

    model: HubModel
    commit: str
    files: tuple[RemoteFile, ...]
    present: tuple[RemoteFile, ...] = ()

    @property
    def total_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """What is not on the disk yet."""
        return self.total_bytes - sum(file.loaded_bytes(self.model.repository, self.commit) for file in self.files)


def plan_download(model: HubModel) -> Download:
    """Asks the hub for the model's files. Raises ModelNotFound when there is no such model, QwillError when the hub
    cannot be reached."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # each of its retries would be several lines
    with hub_errors(model):
        information = HfApi().model_info(model.repository, revision=model.revision, files_metadata=True)
    present = {
        file.rfilename: RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in information.siblings or []
    }
    files = tuple(present[name] for name in choose_files(model, present))
    return Download(model, information.sha or "", files, tuple(present.values()))


def check_space(plan: Download) -> None:
    """Raises QwillError when the disk cannot hold what is missing."""
    folder = cache_folder()
    existing = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), None)
    if existing is None:  # on Windows
        raise QwillError(
            f"{folder}: there is no disk {folder.absolute().anchor}; set HF_HOME to a folder of another one"
        )
    free = shutil.disk_usage(existing).free
    if plan.missing_bytes > free:
        raise QwillError(
            f"{plan.model.name} needs {plan.missing_bytes / 1e9:.1f} GB more and {existing} has {free / 1e9:.1f} GB"
            " free; make room, or set HF_HOME to a folder on a larger disk"
        )


def download(plan: Download, progress: bool) -> Path:
    """Fetches what is missing, going on where an earlier try stopped. Returns what to open.

    All files are those of the plan's commit, whatever happens to the repository meanwhile. `progress` shows the hub's
    progress bars on stderr. Raises QwillError when the connection fails or the disk is full.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if progress else disable_progress_bars)()
    repository = plan.model.repository
    with hub_errors(plan.model):
        fetch_files([file for file in plan.files if is_resumable(file)], repository, plan.commit)
        snapshot = snapshot_download(
            repository,
            revision=plan.commit,
            cache_dir=cache_folder(),
            allow_patterns=[glob.escape(file.name) for file in plan.files],
        )
        _remember(repository, plan.model.revision or MAIN, plan.commit)
    return downloaded_model(plan.model, Path(snapshot))


def _remember(repository: str, revision: str, commit: str) -> None:
    """Writes which commit a branch or tag is, as the cache's layout has it."""
    if revision == commit:
        return
    reference = repository_folder(repository) / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    beside = reference.with_name(f"{reference.name}.{os.getpid()}")
    beside.write_text(commit, "utf-8")
    replace(beside, reference)
