"""Models that Ollama has on this machine: `ollama:NAME[:TAG]` is found by its manifest, and nothing is copied.

A store has `manifests/HOST/NAMESPACE/NAME/TAG`, JSON that lists layers by kind, digest and size, and each layer in
`blobs/sha256-DIGEST`. Used are the model, its vision file, its draft head and, of its parameters, those of sampling.
What else would change answers is told.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, ModelNotFound, UnsupportedModel

PREFIX = "ollama:"
SYSTEM_STORE = Path("/usr/share/ollama/.ollama/models")  # of its service on Linux
HOST, NAMESPACE, TAG = "registry.ollama.ai", "library", "latest"
# Other addresses of the places that manifests are kept under.
SAME_HOSTS = {"ollama.com": HOST, "www.ollama.com": HOST, "ollama.ai": HOST, "huggingface.co": "hf.co"}
MAX_BYTES = 1 << 20  # of a manifest or of parameters
NAMED_AT_MOST = 8
_KIND = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_LINK = re.compile(r"^(?:https?:)?/+", re.IGNORECASE)
_SAMPLING = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
    "repeat_penalty": "repetition_penalty",
}  # fmt: skip

log = logging.getLogger("qwill")


@dataclass(frozen=True)
class StoredModel:
    """Files of one model in the store, and what it says of sampling, by the names of a generation_config."""

    model: Path
    vision: Path | None
    draft_head: Path | None
    sampling: dict[str, Any]


def ollama_manifest(name: str) -> Path:
    """The manifest of `ollama:[[HOST/]NAMESPACE/]NAME[:TAG]`. Raises ModelNotFound, which names what there is."""
    wanted = _parts(name[len(PREFIX) :])
    there: dict[tuple[str, ...], Path] = {}
    unreadable = []
    for store in stores():
        try:
            for path in manifests(store):
                there.setdefault(path.parts[-4:], path)
        except OSError as error:
            unreadable.append(f"{store} cannot be read ({error.strerror})")
    alike = {_comparable(parts): path for parts, path in reversed(there.items())}
    found = there.get(wanted) or alike.get(_comparable(wanted))
    if found is not None:
        return found
    aside = "".join(f"; {text}" for text in unreadable)
    if not there:
        folders = ", ".join(map(str, stores()))
        raise ModelNotFound(f"{name}: Ollama has no models here ({folders}{aside}); OLLAMA_MODELS says where they lie")
    names = sorted((_short(parts) for parts in there), key=lambda text: ("qwen3" not in text.lower(), text))
    more = ", …" if len(names) > NAMED_AT_MOST else ""
    raise ModelNotFound(f"{name}: Ollama has no such model; it has {', '.join(names[:NAMED_AT_MOST])}{more}{aside}")


def is_manifest(path: Path) -> bool:
    """Whether a path is that of a manifest in a store of Ollama's."""
    folders = path.absolute().parents
    return len(folders) > 4 and folders[3].name == "manifests" and path.is_file()


def read_manifest(path: Path) -> StoredModel:
    """Raises CheckpointError when it is damaged or a blob is missing, UnsupportedModel for a model of another form."""
    path = path.absolute()
    blobs, name = path.parents[4] / "blobs", _short(path.parts[-4:])
    layers: dict[str, list[Path]] = {}
    for kind, digest, size in _layers(path):
        layers.setdefault(kind, []).append(_blob(blobs, digest, size, name))
    if "model" not in layers and "tensor" in layers:
        raise UnsupportedModel(f"{PREFIX}{name}: is in the form of Ollama's MLX engine; take a tag that is a GGUF file")
    models, vision, drafts = (layers.get(kind, []) for kind in ("model", "projector", "draft"))
    if len(models) != 1 or len(vision) > 1 or len(drafts) > 1:
        raise UnsupportedModel(f"{path}: lists {len(models)} models and {len(vision)} vision files; only one is read")
    for adapter in layers.get("adapter", []):
        log.warning("%s%s: its adapter is not applied; give it with --lora %s", PREFIX, name, adapter)
    for kind, what in (("system", "system prompt is"), ("messages", "messages are")):
        if kind in layers:
            log.warning("%s%s: its own %s not used", PREFIX, name, what)
    parameters = {key: value for file in layers.get("params", []) for key, value in _object(file).items()}
    unused = sorted(parameters.keys() - _SAMPLING.keys())
    if unused:
        log.warning("%s%s: of its parameters are not used: %s", PREFIX, name, ", ".join(unused))
    sampling = {_SAMPLING[key]: value for key, value in parameters.items() if key in _SAMPLING}
    return StoredModel(models[0], vision[0] if vision else None, drafts[0] if drafts else None, sampling)


def vision_of_blob(path: Path) -> Path | None:
    """The vision file that the store has with a model's blob, for those who give the blob itself; None when it has none
    or the path is no blob's."""
    path = path.absolute()
    if path.parent.name != "blobs" or not (match := _DIGEST.fullmatch(path.name)):
        return None
    try:
        for manifest in manifests(path.parent.parent):
            digests = {kind: digest for kind, digest, _ in _layers(manifest)}
            vision = path.with_name(f"sha256-{digests.get('projector', '')}")
            if digests.get("model") == match[1].lower() and vision.is_file():
                return vision
    except (OSError, CheckpointError) as error:
        log.warning("the vision file of %s is not looked for: %s", path, error)
    return None


def stores() -> list[Path]:
    """Folders where Ollama may keep models, whether they are there or not."""
    own = os.environ.get("OLLAMA_MODELS")
    chosen = [Path(own).expanduser()] if own else []
    return [*chosen, Path.home() / ".ollama" / "models", SYSTEM_STORE]


def manifests(store: Path) -> Iterator[Path]:
    """Of each model of a store. Raises OSError when a folder cannot be read."""
    folders = [store / "manifests"]
    if not folders[0].exists():
        return
    for _ in range(3):
        folders = [entry for folder in folders for entry in sorted(folder.iterdir()) if entry.is_dir()]
    yield from (entry for folder in folders for entry in sorted(folder.iterdir()) if entry.is_file())


def _parts(name: str) -> tuple[str, str, str, str]:
    """Host, namespace, name and tag, those that are left out as Ollama fills them in; of a link what it names."""
    name = _LINK.sub("", name.strip())
    before, slash, last = name.rpartition("/")
    model, _, tag = last.partition(":")
    host, _, namespace = before.rpartition("/") if slash else ("", "", "")
    return host or HOST, namespace or NAMESPACE, model, tag or TAG


def _comparable(parts: Sequence[str]) -> tuple[str, ...]:
    host, *others = (part.lower() for part in parts)
    return SAME_HOSTS.get(host, host), *others


def _short(parts: tuple[str, ...]) -> str:
    host, namespace, model, tag = parts
    before = f"{host}/{namespace}/" if host != HOST else "" if namespace == NAMESPACE else f"{namespace}/"
    return f"{before}{model}:{tag}"


def _layers(path: Path) -> Iterator[tuple[str, str, int]]:
    """Kind, digest and size in bytes of each layer. Raises CheckpointError."""
    layers = _object(path).get("layers")
    if not isinstance(layers, list):
        raise _damaged(path)
    for layer in layers:
        if not isinstance(layer, dict):
            raise _damaged(path)
        kind, digest, size = (layer.get(key) for key in ("mediaType", "digest", "size"))
        match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if not isinstance(kind, str) or match is None or type(size) is not int:
            raise _damaged(path)
        yield kind.removeprefix(_KIND), match[1].lower(), size


def _blob(blobs: Path, digest: str, size: int, name: str) -> Path:
    blob = blobs / f"sha256-{digest}"
    if not blob.is_file() or blob.stat().st_size != size:
        what = "is missing" if not blob.is_file() else f"has {blob.stat().st_size} bytes instead of {size}"
        raise CheckpointError(f"{blob}: {what}; get it again with: ollama pull {name}")
    return blob


def _object(path: Path) -> dict[str, Any]:
    """A small file of JSON. Raises CheckpointError when it holds no object."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path}: is no manifest or parameters of Ollama's; pull the model again with ollama")
