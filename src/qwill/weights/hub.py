"""What a model's name stands for, and where a downloaded model lies.

Downloads are kept in the hub's shared cache, so what another program fetched is found, and the other way round. Its
layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache); it is read here without
importing `huggingface_hub`, which takes half a second.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qwill.errors import CheckpointError, ModelNotFound

DEMO = "demo"

# Alias -> released name. Also published as an FP8 repository: those marked.
RELEASES = {
    "397b": "Qwen3.5-397B-A17B",
    "122b": "Qwen3.5-122B-A10B",
    "35b": "Qwen3.5-35B-A3B",
    "27b": "Qwen3.5-27B",
    "9b": "Qwen3.5-9B",
    "4b": "Qwen3.5-4B",
    "2b": "Qwen3.5-2B",
    "0.8b": "Qwen3.5-0.8B",
}
RELEASED_IN_FP8 = ("397b", "122b", "35b", "27b")
# Repositories by the kind of file wanted; {} is the released name.
BF16_REPOSITORY, FP8_REPOSITORY, GGUF_REPOSITORY = "Qwen/{}", "Qwen/{}-FP8", "unsloth/{}-GGUF"

# Which one to take when the name does not say; the first that a repository has.
PREFERRED_QUANTS = ("Q4_K_M", "UD-Q4_K_XL", "Q4_0", "Q8_0")
PREFERRED_VISION = ("BF16", "F16", "F32", "Q8_0")

_ALIAS = re.compile(rf"qwen-?3\.5:({'|'.join(map(re.escape, RELEASES))})(?:-a\d+b)?(?:-([a-z0-9_.-]+))?", re.IGNORECASE)
_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::([A-Za-z0-9_.-]+))?")
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
_QUANT = re.compile(r"(?:^|[-.])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|BF16|F16|F32|FP16|MXFP4\w*|NVFP4\w*))$", re.IGNORECASE)


@dataclass(frozen=True)
class HubModel:
    """A model on the hub. `quant` is the tag in a GGUF file's name, in capitals; None: the repository's default."""

    name: str
    repository: str
    quant: str | None = None


def resolve_model(name: str = DEMO) -> Path:
    """The folder or `.gguf` file that a model's name stands for.

    "" or "demo" is the embedded model; then an existing path, an alias such as `qwen3.5:0.8b-q4_k_m`, or
    `org/name[:QUANT]`. Raises ModelNotFound with the mend: for a model not downloaded yet, the command that does it.
    """
    if name in ("", DEMO):
        return _embedded()
    path = os.path.expanduser(name)
    if os.path.exists(path):
        return Path(path)
    model = hub_model(name)
    snapshot = find_snapshot(model.repository)
    if snapshot is None:
        raise ModelNotFound(f"{name} is not on this machine yet; get it with: qwill pull {name}")
    return downloaded_model(model, snapshot)


def hub_model(name: str) -> HubModel:
    """Reads an alias or `org/name[:QUANT]`. Raises ModelNotFound when it is neither."""
    if match := _ALIAS.fullmatch(name):
        size, quant = match[1].lower(), (match[2] or "").upper()
        release = RELEASES[size]
        if quant in ("", "BF16"):
            return HubModel(name, BF16_REPOSITORY.format(release))
        if quant == "FP8":
            if size not in RELEASED_IN_FP8:
                raise ModelNotFound(f"{name}: {release} was not released in FP8; take qwen3.5:{size}-q8_0")
            return HubModel(name, FP8_REPOSITORY.format(release))
        return HubModel(name, GGUF_REPOSITORY.format(release), quant)
    if (match := _REPOSITORY.fullmatch(name)) and not name.lower().endswith((".gguf", ".safetensors")):
        return HubModel(name, match[1], match[2].upper() if match[2] else None)
    if re.match(r"qwen-?3\.5\b", name, re.IGNORECASE):
        raise _no_member(name)
    if "/" in name or "\\" in name or name.endswith((".gguf", ".safetensors")):
        raise ModelNotFound(f"{name}: no such file or folder")
    raise ModelNotFound(f"{name}: no such file, folder or model; try {aliases()[-1]}, or org/name of the hub")


def family_member(name: str) -> tuple[str, str]:
    """The released name behind an alias or a released name, and the quantization that an alias ends in, else "".

    Raises ModelNotFound for anything else.
    """
    if match := _ALIAS.fullmatch(name):
        return RELEASES[match[1].lower()], (match[2] or "").upper()
    for release in RELEASES.values():
        if release.lower() == name.lower():
            return release, ""
    raise _no_member(name)


def aliases() -> list[str]:
    """The aliases of the family, the largest member first."""
    return [f"qwen3.5:{size}" for size in RELEASES]


def cache_folder() -> Path:
    """The hub's cache, as HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME place it."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def find_snapshot(repository: str) -> Path | None:
    """The folder of a repository's newest downloaded files; None when nothing of it was downloaded."""
    folder = cache_folder() / f"models--{repository.replace('/', '--')}"
    reference = folder / "refs" / "main"
    if not reference.is_file():
        return None
    snapshot = folder / "snapshots" / reference.read_text().strip()
    return snapshot if snapshot.is_dir() else None


def downloaded_model(model: HubModel, snapshot: Path) -> Path:
    """The folder or first `.gguf` file to open in a downloaded snapshot. Raises ModelNotFound when part is missing."""
    present = sorted(file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file())
    missing = f"{model.name} is only partly downloaded; go on with: qwill pull {model.name}"
    try:
        chosen = choose_files(model, present)
    except ModelNotFound as error:
        raise ModelNotFound(missing) from error
    weights = [file for file in chosen if file.endswith((".gguf", ".safetensors"))]
    if weights[0].endswith(".safetensors"):
        if "config.json" not in present or not _shards(snapshot) <= set(present):
            raise ModelNotFound(missing)
        return snapshot
    if match := _SPLIT.fullmatch(PurePosixPath(weights[0]).stem):
        parts = sum(not _is_vision(file) for file in weights)
        if parts != int(match[3]):
            raise ModelNotFound(missing)
    return snapshot / weights[0]


def choose_files(model: HubModel, files: Iterable[str]) -> list[str]:
    """Which of a repository's files make up the model, those with its language weights first.

    A GGUF repository: the file or parts of the wanted quantization, and the vision file. Otherwise all
    safetensors, JSON and template files of the top folder. Raises ModelNotFound when the repository has no such model.
    """
    files = sorted(files)
    gguf: dict[str, list[str]] = {}
    for file in files:
        if file.lower().endswith(".gguf") and not _is_vision(file) and "imatrix" not in file.lower():
            gguf.setdefault(_quant_of(file), []).append(file)
    tensors = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    if tensors and model.quant is None:
        return tensors + [file for file in files if file.endswith((".json", ".jinja")) and "/" not in file]
    if not gguf:
        what = f"GGUF file of type {model.quant}" if model.quant else "safetensors or GGUF file"
        raise ModelNotFound(f"{model.name}: {model.repository} has no {what}")
    vision = {_quant_of(file): file for file in files if _is_vision(file)}
    preferred = [vision[quant] for quant in (*PREFERRED_VISION, *vision) if quant in vision][:1]
    return gguf[_choose_quant(model, list(gguf))] + preferred


def _no_member(name: str) -> ModelNotFound:
    return ModelNotFound(f"{name}: no such member of the family; there are {', '.join(aliases())}")


def _choose_quant(model: HubModel, present: list[str]) -> str:
    # The guide and others write Q4_K_XL for UD-Q4_K_XL.
    wanted = (*PREFERRED_QUANTS, *present) if model.quant is None else (model.quant, f"UD-{model.quant}")
    for quant in wanted:
        if quant in present:
            return quant
    there = ", ".join(quant for quant in present if quant)
    raise ModelNotFound(f"{model.name}: {model.repository} has no {model.quant}; it has {there}")


def _quant_of(file: str) -> str:
    """The quantization in a GGUF file's name, else in its folder's, in capitals; "" when neither says."""
    path = PurePosixPath(file)
    split = _SPLIT.fullmatch(path.stem)
    for text in (split[1] if split else path.stem, path.parent.name):
        if match := _QUANT.search(text):
            return match[1].upper()
    return ""


def _is_vision(file: str) -> bool:
    name = PurePosixPath(file).name.lower()
    return name.endswith(".gguf") and "mmproj" in name


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
    file = Path(__file__).parent.parent / DEMO / "demo.gguf"  # its vision file is found beside it
    if file.is_file():
        return file
    raise ModelNotFound(f"the demonstration model is not in this installation ({file}); install qwill again")
