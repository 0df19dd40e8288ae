"""A peft adapter's `adapter_config.json`: what kind of adapter it is, and the factor of each of its matrices."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwill.errors import CheckpointError, UnsupportedModel
from qwill.weights.json_file import read_json

CONFIG_NAME = "adapter_config.json"
# Options that change what is computed in ways not known here, and what each is called.
UNKNOWN = {
    "alora_invocation_tokens": "an activated LoRA, which begins within a prompt",
    "layer_replication": "layers that are repeated",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow's routing between adapters",
    "use_qalora": "QALoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
}
OTHER_TASKS = ("SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS")
MOST = 1e30  # of numbers; what is more is damage
# peft wrote the low-rank factors of fused experts the other way round before this version, and not its own before 0.18.
EXPERTS_TURNED = (0, 19)


@dataclass(frozen=True)
class PeftConfig:
    """What the configuration says of how the tensors are meant."""

    path: Path
    base: str
    alpha: float
    alpha_pattern: dict[str, float]
    rank_stabilized: bool
    experts_by_output: bool
    token_ids: dict[str, list[int]]

    def factor(self, module: str, rank: int) -> float:
        """What the product of a module's two matrices is multiplied by. module: its name in the base model.

        Raises CheckpointError for a pattern that is no expression.
        """
        alpha = self.alpha
        for pattern, own in self.alpha_pattern.items():
            try:
                found = re.match(rf"(.*\.)?({pattern})$", module)
            except re.error as error:
                raise CheckpointError(f"{self.path}: alpha_pattern {pattern!r} is no expression ({error})") from error
            if found:
                alpha = own
                break
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def read_peft_config(folder: Path) -> PeftConfig:
    """Reads a folder's configuration. Raises ModelNotFound, CheckpointError, and UnsupportedModel for another kind of
    adapter, which it names.
    """
    path = folder / CONFIG_NAME
    config = read_json(path)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UnsupportedModel(f"{path}: is an adapter of type {kind}; only LORA is supported (with rsLoRA and DoRA)")
    task = config.get("task_type")
    if task in OTHER_TASKS:
        raise UnsupportedModel(f"{path}: was trained for {task}, not to write text (CAUSAL_LM)")
    for option, what in UNKNOWN.items():
        if config.get(option):
            raise UnsupportedModel(f"{path}: {option} is {what}, which is not supported; merge it with peft first")
    base = config.get("base_model_name_or_path")
    return PeftConfig(
        path=path,
        base=base if isinstance(base, str) else "",
        alpha=_number(path, config, "lora_alpha"),
        alpha_pattern=_pattern(path, config),
        rank_stabilized=bool(config.get("use_rslora")),
        experts_by_output=_version(config) < EXPERTS_TURNED,
        token_ids=_token_ids(path, config),
    )


def _number(path: Path, config: dict[str, Any], key: str) -> float:
    value = config.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MOST:
        raise CheckpointError(f"{path}: {key} must be a number, found {value!r}")
    return float(value)


def _pattern(path: Path, config: dict[str, Any]) -> dict[str, float]:
    pattern = config.get("alpha_pattern") or {}
    if not isinstance(pattern, dict):
        raise CheckpointError(f"{path}: alpha_pattern is no object")
    return {key: _number(path, pattern, key) for key in pattern}


def _version(config: dict[str, Any]) -> tuple[int, ...]:
    """The first two numbers of the version that wrote it; nothing where it does not say."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})", str(config.get("peft_version")))
    return (int(found[1]), int(found[2])) if found else ()


def _token_ids(path: Path, config: dict[str, Any]) -> dict[str, list[int]]:
    """Tokens with rows of their own, by the last part of their table's name."""
    stated = config.get("trainable_token_indices") or {}
    if isinstance(stated, list):
        stated = {"embed_tokens": stated}
    if not isinstance(stated, dict) or not all(
        isinstance(ids, list) and all(type(each) is int and 0 <= each < 2**31 for each in ids)
        for ids in stated.values()
    ):
        raise CheckpointError(f"{path}: trainable_token_indices are no lists of token ids")
    return {name.rpartition(".")[2]: ids for name, ids in stated.items()}
