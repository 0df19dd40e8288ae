"""What the hub's library raises, as one line that says what to do."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from qwill.errors import ModelNotFound, QwillError, UserError
from qwill.weights.hub.cache import cache_folder
from qwill.weights.naming.models import HubModel

KEPT = "what was loaded is kept"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def hub_errors(model: HubModel) -> Iterator[None]:
    """Raises ModelNotFound, UserError or QwillError for whatever the hub's library raises in the block."""
    # HTTPError is the base of whichever HTTP library the hub's client uses.
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository = model.repository
    again = f"go on with: qwill pull {model.name}"
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"{repository} is gated: accept its terms at https://huggingface.co/{repository}, then: hf auth login"
        ) from error
    except DisabledRepoError as error:
        raise ModelNotFound(f"{repository}: the hub has closed this repository; take another one") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise _no_repository(model) from error
    except RevisionNotFoundError as error:
        if model.revision is None:
            raise QwillError(f"{repository} changed while it was loaded; {again}") from error
        raise ModelNotFound(f"{model.name}: {repository} has no revision {model.revision}") from error
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set; unset it to download") from error
    except LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _of_status(model, error.__cause__) from error
        raise QwillError(_unreachable(model)) from error
    except EntryNotFoundError as error:
        raise QwillError(f"{repository} changed while it was loaded; {again}") from error
    except HfHubHTTPError as error:
        raise _of_status(model, error) from error
    except (HTTPError, ConnectionError) as error:
        raise QwillError(_unreachable(model)) from error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise QwillError(
                f"{model.name}: the disk of {cache_folder()} is full; make room, or set HF_HOME to a folder on a larger"
                f" disk; {KEPT}, {again}"
            ) from error
        if error.errno is not None:  # a folder that cannot be written
            raise UserError(f"{model.name}: {error.filename or cache_folder()}: {error.strerror}") from error
        raise QwillError(f"{repository}: the download ended too early; {KEPT}, {again}") from error


def _no_repository(model: HubModel) -> ModelNotFound:
    repository = model.repository
    return ModelNotFound(
        f"{model.name}: the hub has no repository {repository}, or it is private; for a private one: hf auth login"
    )


def _unreachable(model: HubModel) -> str:
    return f"{model.repository}: the hub cannot be reached; check the network and try again, {KEPT}"


def _of_status(model: HubModel, error: Exception) -> QwillError:
    """By the status that the hub answered."""
    from huggingface_hub import get_token

    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    repository, again = model.repository, f"{KEPT}, go on with: qwill pull {model.name}"
    if status == 401 and get_token() is None:
        return _no_repository(model)
    if status == 401:
        return UserError(f"{repository}: the hub does not accept the token of this machine (401): hf auth login")
    if status == 403:
        return UserError(f"{repository}: the hub does not allow it (403); give a token that may read it: hf auth login")
    if status == 404:
        return ModelNotFound(f"{model.name}: the hub has no repository {repository}, or not all of it any more (404)")
    if status == 429:
        seconds = _retry_after(response.headers) if response is not None else None
        when = f"in {seconds} seconds" if seconds else "in a few minutes"
        return QwillError(
            f"{repository}: too many requests of this address (429); try again {when}, or hf auth login; {again}"
        )
    if status is not None and status >= 500:
        return QwillError(
            f"{repository}: the hub answered {status}, it has trouble of its own; try again later; {again}"
        )
    return QwillError(f"{repository}: the hub answered {status or 'an error'}; try again later; {again}")


def _retry_after(headers: "dict[str, str]") -> int | None:
    """Seconds, from Retry-After or the draft of RateLimit that the hub sends (`"api";r=0;t=55`)."""
    if (after := headers.get("Retry-After", "")).isdigit():
        return int(after)
    match = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return int(match[1]) if match else None
