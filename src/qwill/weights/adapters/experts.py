"""Low-rank changes of routed experts: of all in one parameter, as peft's `target_parameters` are, or one by one."""

from collections.abc import Mapping

import numpy as np

from qwill.errors import CheckpointError
from qwill.weights.adapters.adapter import LowRank
from qwill.weights.adapters.module import Module
from qwill.weights.adapters.peft_config import PeftConfig

Shapes = Mapping[str, tuple[int, ...]]


def fused_experts(module: Module, path: str, name: str, config: PeftConfig, shapes: Shapes) -> dict[str, LowRank]:
    """Of a parameter with all experts, [experts, rows, columns]. name: the canonical one of gate_up_proj.

    lora_A is [experts * rank, columns], an expert's rows together; lora_B is [rows, rank * experts], an expert's
    columns that many apart. Which parameter it is, their shapes say. Older versions of peft took rows for columns.
    """
    a, b = module.array("lora_A"), module.array("lora_B")
    stem = name.removesuffix("gate_up_proj")
    base = shapes.get(f"{stem}gate_proj")
    if base is None:
        raise CheckpointError(f"{module.source}: this model has no experts there; the adapter was made for another one")
    experts, width, hidden = base
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or a.shape[0] % experts:
        raise CheckpointError(
            f"{module.source}: its matrices have shapes {list(a.shape)} and {list(b.shape)} for {experts} experts;"
            " the adapter was made for another model"
        )
    forms = {
        ("gate_up_proj", False): (hidden, 2 * width), ("down_proj", False): (width, hidden),
        ("gate_up_proj", True): (2 * width, hidden), ("down_proj", True): (hidden, width),
    }  # fmt: skip
    fitting = [form for form, sizes in forms.items() if sizes == (a.shape[1], b.shape[0])]
    if not fitting:
        raise CheckpointError(
            f"{module.source}: its matrices have shapes {list(a.shape)} and {list(b.shape)}, the model's experts"
            f" {[experts, 2 * width, hidden]} and {[experts, hidden, width]}; the adapter was made for another one"
        )
    projection, turned = next((form for form in fitting if form[1] == config.experts_by_output), fitting[0])
    rank = a.shape[0] // experts
    first = a.reshape(experts, rank, -1)
    last = b.reshape(b.shape[0], rank, experts).transpose(2, 0, 1)
    if turned:
        first, last = last.transpose(0, 2, 1), first.transpose(0, 2, 1)
    factor = np.float32(config.factor(f"{path}.{projection}", rank))
    matrix = LowRank(np.ascontiguousarray(first), np.ascontiguousarray(last * factor), module.source)
    return split_gate_up(name, matrix) if projection == "gate_up_proj" else {f"{stem}down_proj": matrix}


def split_gate_up(name: str, matrix: LowRank) -> dict[str, LowRank]:
    """Gate and up of experts that are stored together, rows of gate first. Raises CheckpointError for an odd number."""
    if matrix.b.shape[-2] % 2 or matrix.bias is not None or matrix.magnitude is not None:
        raise CheckpointError(f"{matrix.source}: has {matrix.b.shape[-2]} rows, gate and up must be equal halves")
    stem = name.removesuffix("gate_up_proj")
    return {
        f"{stem}{projection}": LowRank(matrix.a, np.ascontiguousarray(half), matrix.source)
        for projection, half in zip(("gate_proj", "up_proj"), np.split(matrix.b, 2, axis=-2), strict=True)
    }


def single_experts(name: str, parts: Mapping[int, LowRank], shapes: Shapes) -> LowRank:
    """One matrix of all experts from those of some, which may differ in rank; the others are changed by nothing.

    Raises CheckpointError when the model has fewer experts or of another shape.
    """
    some = next(iter(parts.values()))
    base = shapes.get(name)
    if base is None or len(base) != 3 or max(parts) >= base[0]:
        raise CheckpointError(f"{some.source}: this model has no such expert; the adapter was made for another one")
    experts, rows, columns = base
    rank = max(part.rank for part in parts.values())
    a, b = np.zeros((experts, rank, columns), np.float32), np.zeros((experts, rows, rank), np.float32)
    for number, part in parts.items():
        if part.shape != (rows, columns) or part.bias is not None or part.magnitude is not None:
            raise CheckpointError(
                f"{part.source}: is made for a matrix {list(part.shape)}, the model's is {[rows, columns]};"
                " DoRA and biases of experts are not supported"
            )
        a[number, : part.rank], b[number, :, : part.rank] = part.a, part.b
    return LowRank(a, b, some.source)
