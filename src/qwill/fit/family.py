"""The eight members of the family, by their released names, as configurations that need no download."""

import tomllib
from pathlib import Path
from typing import Any

from qwill.errors import ModelNotFound


def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("family.toml").read_text("utf-8"))


def members() -> tuple[str, ...]:
    """Released names, the largest first."""
    return tuple(_table()["members"])


def family_config(name: str) -> dict[str, Any]:
    """A member's configuration, in the shape of its released config.json. Raises ModelNotFound for another name."""
    table = _table()
    if name not in table["members"]:
        raise ModelNotFound(f"{name}: no such member of the family; there are {', '.join(members())}")
    own = table["members"][name]
    vision = own.pop("vision")
    architecture, model_type = (
        ("Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe")
        if "num_experts" in own
        else ("Qwen3_5ForConditionalGeneration", "qwen3_5")
    )
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "text_config": {"model_type": f"{model_type}_text", **table["text"], **own},
        "vision_config": {"model_type": model_type, **table["vision"], **vision},
        "tie_word_embeddings": own["tie_word_embeddings"],
        **table["tokens"],
    }
