"""Members of the family made small, for tests with random weights."""

from typing import Any

from qwill.fit.family import family_config


def tiny_family_config(moe: bool = False, tied: bool = True) -> dict[str, Any]:
    """A released configuration made small; rows are whole blocks of every type."""
    config = family_config("Qwen3.5-35B-A3B" if moe else "Qwen3.5-0.8B")
    text = config["text_config"] | {
        "vocab_size": 512,
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 64,
        "linear_value_head_dim": 64,
        "tie_word_embeddings": tied,
    }
    sizes = ("moe_intermediate_size", "shared_expert_intermediate_size") if moe else ("intermediate_size",)
    text |= dict.fromkeys(sizes, 256)
    if moe:
        text |= {"num_experts": 4, "num_experts_per_tok": 2}
    return config | {"text_config": text, "tie_word_embeddings": tied}
