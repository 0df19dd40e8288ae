"""Downloading models from the hub: what is needed, whether it fits on the disk, then the files, resumable."""

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qwill.errors import ModelNotFound, QwillError, UserError
from qwill.weights.hub import HubModel, cache_folder, choose_files, downloaded_model


@dataclass(frozen=True)
class Download:
    """The files of a model at one commit of its repository. Sizes in bytes; `missing_bytes` are not on the disk yet."""

    model: HubModel
    commit: str
    files: tuple[str, ...]
    total_bytes: int
    missing_bytes: int


def plan_download(model: HubModel) -> Download:
    """Asks the hub for the model's files. Raises ModelNotFound when there is no such model, QwillError when the hub
    cannot be reached."""
    from huggingface_hub import HfApi

    with _hub_errors(model):
        information = HfApi().model_info(model.repository, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in information.siblings or []}
    files = tuple(choose_files(model, sizes))
    commit = information.sha or ""
    present = cache_folder() / f"models--{model.repository.replace('/', '--')}" / "snapshots" / commit
    return Download(
        model=model,
        commit=commit,
        files=files,
        total_bytes=sum(sizes[file] for file in files),
        missing_bytes=sum(sizes[file] for file in files if not (present / file).is_file()),
    )


def check_space(plan: Download) -> None:
    """Raises QwillError when the disk cannot hold what is missing."""
    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if plan.missing_bytes > free:
        raise QwillError(
            f"{plan.model.name} needs {plan.missing_bytes / 1e9:.1f} GB more and {existing} has {free / 1e9:.1f} GB"
            " free; make room, or set HF_HOME to a folder on a larger disk"
        )


def download(plan: Download, progress: bool) -> Path:
    """Fetches what is missing, going on where an earlier try stopped. Returns what to open.

    `progress` shows the hub's progress bars on stderr. Raises QwillError when the connection fails.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars, logging

    (enable_progress_bars if progress else disable_progress_bars)()
    logging.set_verbosity_error()  # each of its retries would be several lines
    with _hub_errors(plan.model):
        snapshot = snapshot_download(
            plan.model.repository,
            cache_dir=cache_folder(),
            allow_patterns=[glob.escape(file) for file in plan.files],
        )
    return downloaded_model(plan.model, Path(snapshot))


@contextmanager
def _hub_errors(model: HubModel) -> Iterator[None]:
    """Turns what the hub's library raises into one line that says what to do."""
    # HTTPError is the base of whichever HTTP library the hub's client uses.
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    repository = model.repository
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"{repository} is gated: accept its terms at https://huggingface.co/{repository}, then: hf auth login"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFound(
            f"{model.name}: the hub has no repository {repository}, or it is private; for a private one: hf auth login"
        ) from error
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set; unset it to download") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise QwillError(f"{repository}: the hub answered {status}; try again later") from error
    except (HTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        raise QwillError(
            f"{repository}: the hub cannot be reached; check the network and try again, what was loaded is kept"
        ) from error
