"""Which files of a folder hold a model's weights: what its index names, or what their names say without one."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.json_file import read_json
from qwill.weights.naming.files import FileKind, kind_of, part_of

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
ADAPTERS = ("adapter_model", "adapters.")  # peft's, and MLX's
OTHER_FORMATS = {
    "*.onnx": "a model for ONNX Runtime",
    "openvino_model.*": "a model for OpenVINO",
    "rank*.engine": "an engine of TensorRT-LLM",
    "*.mlpackage": "a model for Core ML",
    "*.litertlm": "a model for LiteRT",
    "*.mnn": "a model for MNN",
    "tf_model.h5": "a model for TensorFlow",
    "flax_model*.msgpack": "a model for Flax",
}
# Folders in which trainers keep weights in parts.
TRAINERS_PARTS = {
    "global_step*": "DeepSpeed's form; make safetensors of it with its zero_to_fp32.py --safe_serialization",
    "pytorch_model_fsdp*": "FSDP's form; make safetensors of it with accelerate merge-weights",
    "*distcp*": "torch's distributed form; save the model with save_pretrained",
}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# What browsers and downloaders call a file that they have not finished.
UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".opdownload")
_HUB_PARTS = ".cache/huggingface/download"  # where the hub's client keeps them, below the folder that it loads into
# States of trainers, which hold no model.
_STATES = re.compile(r"(optimizer|scheduler|training_args|rng_state|scaler|random_states)[\w.-]*")

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})\.safetensors")


@dataclass(frozen=True)
class WeightFiles:
    """Names of files in the order in which they are read.

    `places`: which of them an index says to hold each tensor; empty where none is followed. `strict`: its word counts
    for every tensor. `more`: files that no index speaks of, which may hold a draft head. `notes`: what was decided,
    for the log.
    """

    files: Sequence[str]
    places: dict[str, str] = field(default_factory=dict)
    strict: bool = False
    more: Sequence[str] = ()
    notes: Sequence[str] = ()


def weight_files(folder: Path) -> WeightFiles:
    """The files to read. Only names and the index are looked at.

    Raises CheckpointError naming a file that is missing or an index that is damaged, and UnsupportedModel for weights
    in another format.
    """
    there = sorted(file.name for file in folder.iterdir() if file.is_file())
    adapters = [name for name in there if name.startswith(ADAPTERS) and name.endswith((".safetensors", ".bin"))]
    candidates = [name for name in there if name.endswith(".safetensors") and name not in adapters]
    if not candidates:
        raise _no_weights(folder, adapters)
    index = _index_name(folder)
    if SINGLE_NAME in candidates:
        chosen = _beside_single(folder, index, candidates)
    elif index is not None:
        chosen = _indexed(folder, index, candidates)
    else:
        chosen = _by_names(folder, candidates)
    notes = [f"{folder / name}: is a LoRA adapter, not applied; say --lora {folder} to apply it" for name in adapters]
    return WeightFiles(chosen.files, chosen.places, chosen.strict, chosen.more, (*chosen.notes, *notes))


def _beside_single(folder: Path, index: str | None, candidates: list[str]) -> WeightFiles:
    """model.safetensors is there: alone, or with what an index that names it names beside it."""
    alone = WeightFiles([SINGLE_NAME], more=_others(candidates, [SINGLE_NAME]))
    if index is None:
        return alone
    try:
        places = read_index(folder / index)
    except CheckpointError as error:
        return WeightFiles([SINGLE_NAME], more=alone.more, notes=[f"{error}; {SINGLE_NAME} is read without it"])
    files = list(dict.fromkeys(places.values()))
    missing = [file for file in files if file not in candidates]
    if missing:
        note = f"{folder}: {index} names {missing[0]}, which is not here; {SINGLE_NAME} is read without it"
        return WeightFiles([SINGLE_NAME], more=alone.more, notes=[note])
    if SINGLE_NAME not in files:
        note = f"{folder}: {SINGLE_NAME} is read; the files that {index} names are left out"
        return WeightFiles([SINGLE_NAME], notes=[note])
    return WeightFiles(files, places, more=_others(candidates, files))


def _indexed(folder: Path, index: str, candidates: list[str]) -> WeightFiles:
    places = read_index(folder / index)
    files = list(dict.fromkeys(places.values()))
    missing = [file for file in files if file not in candidates]
    if not missing:
        return WeightFiles(files, places, strict=True, more=_others(candidates, files))
    sets = _complete_sets(candidates)
    if len(sets) != 1:
        raise CheckpointError(f"{folder}: {missing[0]} is missing, {index} names it; download the model again")
    note = f"{folder}: {index} names {missing[0]}, which is not here; the {len(sets[0])} shards that are, are read"
    return WeightFiles(sets[0], more=_others(candidates, sets[0]), notes=[note])


def _by_names(folder: Path, candidates: list[str]) -> WeightFiles:
    """Without an index and model.safetensors: the one complete set of shards, or the only file."""
    sets = _complete_sets(candidates)
    preferred = [files for files in sets if files[0].startswith("model-")]
    sets = preferred if len(preferred) == 1 else sets
    if len(sets) == 1:
        note = f"{folder}: has no {INDEX_NAME}; all {len(sets[0])} shards are here and are read"
        notes = [note] if len(sets[0]) > 1 else []
        return WeightFiles(sets[0], more=_others(candidates, sets[0]), notes=notes)
    if sets:
        raise CheckpointError(f"{folder}: has several sets of shards ({sets[0][0]}, {sets[1][0]}); leave only one")
    for name in candidates:
        if match := _SHARD.fullmatch(name):
            raise CheckpointError(f"{folder}: {_missing_shard(match, candidates)} is missing; download the model again")
    if len(candidates) > 1:
        raise CheckpointError(
            f"{folder}: has {', '.join(candidates[:3])} and no {INDEX_NAME} that says which of them belong together;"
            " download the model again"
        )
    note = f"{folder}: has no {SINGLE_NAME}; its only .safetensors file is read, {candidates[0]}"
    return WeightFiles(candidates, notes=[note])


def read_index(index: Path) -> dict[str, str]:
    """Which file holds each tensor. Raises CheckpointError when it says no such thing."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise CheckpointError(f"{index}: has no weight_map from tensors to files")
    for name, file in places.items():
        if not name.isprintable():
            raise CheckpointError(f"{index}: names a tensor {name!r}; the index is damaged, download it again")
        if Path(file).name != file or not file.isprintable():
            raise CheckpointError(f"{index}: shard {file!r} is not a plain file name")
    return places


def _index_name(folder: Path) -> str | None:
    """The index, under whatever name if it is the only one."""
    if (folder / INDEX_NAME).is_file():
        return INDEX_NAME
    found = [file.name for file in folder.glob("*.safetensors.index.json")]
    return found[0] if len(found) == 1 else None


def _others(candidates: Iterable[str], files: Sequence[str]) -> list[str]:
    return [name for name in candidates if name not in files]


def _complete_sets(names: Iterable[str]) -> list[list[str]]:
    """Shards of which none is missing, numbered from one or from zero, in order."""
    sets: dict[tuple[str, str], dict[int, str]] = {}
    for name in names:
        if match := _SHARD.fullmatch(name):
            sets.setdefault((match["stem"], match["count"]), {})[int(match["number"])] = name
    complete = []
    for (_, count), shards in sets.items():
        if sorted(shards) in ([*range(1, int(count) + 1)], [*range(int(count))]) and shards:
            complete.append([shards[number] for number in sorted(shards)])
    return complete


def _missing_shard(match: re.Match[str], names: Sequence[str]) -> str:
    stem, number, count = match.groups()
    wanted = (f"{stem}-{place:0{len(number)}}-of-{count}.safetensors" for place in range(1, int(count) + 1))
    return next((name for name in wanted if name not in names), f"a file of the {count} shards of {stem}")


def _no_weights(folder: Path, adapters: list[str]) -> CheckpointError:
    if adapters:
        return CheckpointError(
            f"{folder / adapters[0]}: is a LoRA adapter, and there is no model beside it; give the model that it was"
            f" trained on and --lora {folder}"
        )
    if (folder / INDEX_NAME).is_file():
        missing = next(iter(read_index(folder / INDEX_NAME).values()))
        return CheckpointError(f"{folder}: {missing} is missing, {INDEX_NAME} names it; download the model again")
    if gguf := model_ggufs(folder):
        return CheckpointError(f"{folder}: has no {SINGLE_NAME}; {give_gguf(folder, gguf)}")
    for pattern, what in OTHER_FORMATS.items():
        if found := sorted(file.name for file in folder.glob(pattern)):
            return UnsupportedModel(f"{folder}: {found[0]} is {what}; take a release in safetensors or GGUF")
    for pattern, what in TRAINERS_PARTS.items():
        if found := sorted(path.name for path in folder.glob(pattern)):
            return UnsupportedModel(f"{folder}: {found[0]} holds the weights in {what}")
    if loading := unfinished(folder):
        return CheckpointError(f"{folder}: {loading}; let its download finish, or download it again")
    there = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles := [name for name in there if not _STATES.fullmatch(name)]:
        return UnsupportedModel(
            f"{folder}: {pickles[0]} is a pickle, which can hold any program; convert it to {SINGLE_NAME}, as"
            " transformers' save_pretrained does"
        )
    what = f"has neither {SINGLE_NAME} nor {INDEX_NAME}"
    if there:
        return CheckpointError(f"{folder}: {what}, only what a trainer kept ({there[0]}); save the model into it, too")
    return CheckpointError(f"{folder}: {what}; download the model again")


def unfinished(folder: Path) -> str | None:
    """What a folder has of a file that is not downloaded yet: a part of it, or a link to a place where nothing is."""
    for path in sorted(folder.glob("*")):
        name = path.name.lower()
        if path.is_symlink() and not path.exists() and name.endswith((".safetensors", ".gguf")):
            return f"{path.name} is a link to a file that is not there"
        if name.endswith(UNFINISHED) and (".safetensors" in name or ".gguf" in name):
            return f"{path.name} is the beginning of a file"
    if any((folder / _HUB_PARTS).glob("*.incomplete")):
        return f"{_HUB_PARTS} has the beginning of a file"
    return None


def model_ggufs(folder: Path) -> list[str]:
    """The GGUF files of a folder that may be models, the first parts of split ones, else those of the folders below,
    as repositories have one for each quantization; else all that there are."""
    for pattern in ("*", "*/*"):
        there = sorted(path for path in folder.glob(pattern) if path.suffix.lower() == ".gguf" and path.is_file())
        names = [path.relative_to(folder).as_posix() for path in there]
        if models := [name for name in names if kind_of(name) is FileKind.MODEL and part_of(name).number == 1]:
            return models
    return sorted(path.name for path in folder.glob("*") if path.suffix.lower() == ".gguf" and path.is_file())


def give_gguf(folder: Path, names: Sequence[str]) -> str:
    """What to do with a folder of GGUF files."""
    if len(names) == 1:
        return f"give the file instead: {folder / names[0]}"
    others = ", ".join(names[1:4]) + (" …" if len(names) > 4 else "")
    return f"give one of its files instead: {folder / names[0]} ({others})"
