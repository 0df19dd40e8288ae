"""The members of the family, by their released names, as configurations that need no download."""

import tomllib
from pathlib import Path
from typing import Any

from qwill.errors import ModelNotFound

_SHAPED_AS = "shaped_as"


def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("family.toml").read_text("utf-8"))


def members() -> tuple[str, ...]:
    """Released names, the largest first, of one size the newest first."""
    return tuple(_table()["members"])


def distinct_members() -> tuple[str, ...]:
    """The members that no earlier release has the shapes of, the largest first."""
    return tuple(name for name, own in _table()["members"].items() if _SHAPED_AS not in own)


def family_config(name: str) -> dict[str, Any]:
    """A member's configuration, in the shape of a released config.json; of a text model without `vision_config`.

    Raises ModelNotFound for another name.
    """
    table = _table()
    own = table["members"].get(name)
    if own is None:
        raise ModelNotFound(f"{name}: no such member of the family; there are {', '.join(members())}")
    own = table["members"].get(own.get(_SHAPED_AS), own)
    vision = own.pop("vision", None)
    kind, model_type = ("Moe", "qwen3_5_moe") if "num_experts" in own else ("", "qwen3_5")
    head = "ForCausalLM" if vision is None else "ForConditionalGeneration"
    config = {
        "architectures": [f"Qwen3_5{kind}{head}"],
        "model_type": model_type,
        "text_config": {"model_type": f"{model_type}_text", **table["text"], **own},
        "tie_word_embeddings": own["tie_word_embeddings"],
    }
    if vision is not None:
        config |= {"vision_config": {"model_type": model_type, **table["vision"], **vision}, **table["tokens"]}
    return config
