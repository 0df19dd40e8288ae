"""Reading a peft folder, `adapter_config.json` and `adapter_model.safetensors`, as peft and those upon it write it.

Names are `base_model.model.` and a module of the base model, then what the tensor is: `.lora_A.weight`,
`.lora_embedding_B`, `.lora_magnitude_vector`, ... . One parameter of all experts is wrapped in another one's wrapper:
`experts.base_layer.lora_A.weight`, told apart by their shapes.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.adapters.adapter import LowRank, TokenRows
from qwill.weights.adapters.experts import Shapes, fused_experts, single_experts, split_gate_up
from qwill.weights.adapters.module import Module
from qwill.weights.adapters.peft_config import CONFIG_NAME, PeftConfig, read_peft_config
from qwill.weights.folders.safetensors import read_safetensors
from qwill.weights.mapped import RawTensor
from qwill.weights.names import Kind, Place, place_hf

WEIGHTS_NAME = "adapter_model.safetensors"
PREFIX = "base_model.model."
# A module, what the tensor is to it, the name of the adapter if it stands there, and what the tensor is of that.
_PART = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector"
    r"|token_adapter\.trainable_tokens_delta)(?:\.(?!weight$|bias$)[^.]+)?(?:\.(?P<end>weight|bias))?"
)
_SAVED = re.compile(r"(?P<module>.+?)\.modules_to_save\.(?:[^.]+\.)?(?P<end>weight|bias)")
_WRAPPERS = re.compile(r"(?:\.base_layer)+$")
_EXPERTS = re.compile(r".*\.mlp\.experts")
_MATRICES = (Kind.MATRIX, Kind.GATE_ROW, Kind.EXPERTS, Kind.GATE_UP)


@dataclass(frozen=True)
class PeftFolder:
    """What a folder holds: matrices, rows of tokens, and tensors that stand in place of the model's, as stored."""

    config: PeftConfig
    low_rank: dict[str, LowRank]
    rows: dict[str, TokenRows]
    replaced: list[RawTensor]
    base_tables: list[RawTensor]


def is_peft_folder(path: Path) -> bool:
    return (path / CONFIG_NAME).is_file()


def read_peft(folder: Path, shapes: Shapes) -> PeftFolder:
    """Reads a folder. shapes: of the base's matrices, by which parameters of experts are told apart.

    Raises ModelNotFound, CheckpointError and UnsupportedModel.
    """
    config = read_peft_config(folder)
    if not (folder / WEIGHTS_NAME).is_file():
        if (folder / "adapter_model.bin").is_file():
            raise UnsupportedModel(f"{folder}: adapter_model.bin is a pickle; have peft save it as {WEIGHTS_NAME}")
        raise CheckpointError(f"{folder}: has no {WEIGHTS_NAME}; download the adapter again")
    modules: dict[str, Module] = {}
    whole: dict[str, RawTensor] = {}
    tables: list[RawTensor] = []
    for raw in read_safetensors(folder / WEIGHTS_NAME):
        name = raw.name.removeprefix(PREFIX)
        if match := _PART.fullmatch(name):
            part = match["part"] if match["end"] in (None, "weight") else f"{match['part']} {match['end']}"
            module = modules.setdefault(match["module"], Module(match["module"]))
            if part in module.tensors:
                raise CheckpointError(f"{raw.source}: stands twice, as {module.tensors[part].name} too")
            module.tensors[part] = raw
        elif ".lora_" in name:
            raise UnsupportedModel(
                f"{raw.source}: is part of a kind of LoRA that is not known here; merge it with peft"
            )
        elif name.endswith(".base_layer.weight"):
            tables.append(raw._replace(name=name.removesuffix("base_layer.weight") + "weight"))
        elif ".original_module." not in name:
            match = _SAVED.fullmatch(name)
            whole[name] = raw._replace(name=f"{match['module']}.{match['end']}" if match else name)
    low_rank, rows = _placed(list(modules.values()), config, shapes)
    return PeftFolder(config, low_rank, rows, list(whole.values()), tables)


def _placed(
    modules: list[Module], config: PeftConfig, shapes: Shapes
) -> tuple[dict[str, LowRank], dict[str, TokenRows]]:
    low_rank: dict[str, LowRank] = {}
    rows: dict[str, TokenRows] = {}
    single: dict[str, dict[int, LowRank]] = defaultdict(dict)

    def add(name: str, matrix: LowRank) -> None:
        if name in low_rank:
            raise CheckpointError(f"{matrix.source}: {name} is changed twice, by {low_rank[name].source} too")
        low_rank[name] = matrix

    for module in modules:
        if "token_adapter.trainable_tokens_delta" in module.tensors:
            place = place_of(module, module.name)
            rows[place.name] = _token_rows(module, config)
            continue
        path = _WRAPPERS.sub("", module.name)
        if _EXPERTS.fullmatch(path):
            place = place_of(module, f"{path}.gate_up_proj")
            for name, matrix in fused_experts(module, path, place.name, config, shapes).items():
                add(name, matrix)
            continue
        place = place_of(module, path)
        matrix = _matrix(module, path, config)
        if place.part is not None:
            single[place.name][place.part] = matrix
        elif place.kind is Kind.GATE_UP:
            for name, half in split_gate_up(place.name, matrix).items():
                add(name, half)
        else:
            add(place.name, matrix)
    for name, parts in single.items():
        add(name, single_experts(name, parts, shapes))
    return low_rank, rows


def place_of(module: Module, path: str) -> Place:
    """Where a module stands in the model. Raises CheckpointError for one that is none of it, UnsupportedModel for one
    whose changes are not supported.
    """
    place = place_hf(f"{path}.weight")
    if place is None:
        raise CheckpointError(
            f"{module.source}: belongs to no part of this model; the adapter was made for another one"
        )
    if place.kind not in _MATRICES or place.name.startswith("mtp."):
        raise UnsupportedModel(f"{module.source}: changes of {path} are not supported; train without it as a target")
    return place


def _matrix(module: Module, path: str, config: PeftConfig) -> LowRank:
    """Of a linear module, or of a table, whose matrices lie the other way round."""
    if "lora_embedding_A" in module.tensors or "lora_embedding_B" in module.tensors:
        a, b = module.array("lora_embedding_B"), module.array("lora_embedding_A")
        if a.ndim == b.ndim == 2:
            a, b = a.T, b.T
    else:
        a, b = module.array("lora_A"), module.array("lora_B")
    if a.ndim != b.ndim or a.ndim not in (2, 3) or a.shape[-2] != b.shape[-1] or a.shape[:-2] != b.shape[:-2]:
        raise CheckpointError(f"{module.source}: its matrices have shapes {list(a.shape)} and {list(b.shape)}")
    factor = np.float32(config.factor(path, a.shape[-2]))
    bias = module.optional("lora_B bias")
    return LowRank(
        np.ascontiguousarray(a),
        np.ascontiguousarray(b * factor),
        module.source,
        None if bias is None else bias * factor,
        module.optional("lora_magnitude_vector"),
    )


def _token_rows(module: Module, config: PeftConfig) -> TokenRows:
    values = module.array("token_adapter.trainable_tokens_delta")
    ids = config.token_ids.get(module.name.rpartition(".")[2], [])
    if values.ndim != 2 or len(values) != len(ids) or len(set(ids)) != len(ids):
        raise CheckpointError(
            f"{module.source}: has shape {list(values.shape)} for {len(ids)} tokens of trainable_token_indices"
        )
    return TokenRows(np.array(ids, np.int64), values, module.source)
