"""Random weights: their size, their types, and a model that runs on them."""

import secrets
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quant.codec_oracle import reference_decode
from random_members import tiny_family_config

from qwill.errors import CheckpointError
from qwill.fit.family import distinct_members, family_config
from qwill.model.config import model_config
from qwill.model.model import Model
from qwill.model.parameters import parameter_count
from qwill.ops import native_operations
from qwill.quant.codecs import decode
from qwill.quant.recipes import names
from qwill.quant.types import TYPES
from qwill.weights.checkpoint import memory_needed
from qwill.weights.random import EMBEDDING_DEVIATION, plan, random_checkpoint
from qwill.weights.random_blocks import STANDARD_DEVIATION, random_blocks
from qwill.weights.tensor import Tensor

DRAWN = (
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
    "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "MXFP4", "MXFP8",
    *(name for name in TYPES if name.startswith("AFFINE")),
)  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
@given(st.floats(0.005, 0.5))
@settings(max_examples=5, deadline=None)
def test_blocks_decode_to_the_asked_deviation(name: str, deviation: float) -> None:
    seed = secrets.randbits(32)
    print("seed", seed)
    elements = 400 * 256
    stored = random_blocks(TYPES[name], elements, np.random.default_rng(seed), deviation)
    assert stored.dtype == np.uint8
    assert stored.shape == (TYPES[name].row_bytes(elements),)
    values = reference_decode(TYPES[name], stored.reshape(400, -1))
    assert np.isfinite(values).all()
    # At least 3,200 groups share a scale; the mean of their squares, of relative deviation below 2, has one of 3.5%,
    # its root half of that, and 10% are more than 5 of these. Scales of MXFP4 and MXFP8 are the nearest power of two.
    tolerance = 2**0.5 * 1.02 - 1 if name in ("MXFP4", "MXFP8") else 0.1
    assert 1 / (1 + tolerance) < values.std() / deviation < 1 + tolerance
    assert abs(values.mean()) < 0.2 * deviation  # Q4_0 has levels from -8 to 7


def test_draws_differ_and_repeat_with_their_seed() -> None:
    first, same, other = (random_blocks(TYPES["Q4_K"], 2560, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("member", distinct_members())
def test_the_plan_has_every_parameter_of_the_text_model_and_the_draft_head(member: str) -> None:
    config = family_config(member)
    sizes = {tensor.name: int(np.prod(tensor.shape)) for tensor in plan(config["text_config"], "Q4_K_S")}
    drafts = sum(size for name, size in sizes.items() if name.startswith("mtp."))
    count = parameter_count(model_config(config))
    assert (sum(sizes.values()) - drafts, drafts) == (count.text, count.mtp)


@pytest.mark.parametrize("mix", names())
@pytest.mark.parametrize("moe", [False, True])
def test_a_model_takes_every_tensor(mix: str, moe: bool) -> None:
    """Model asks for each tensor by name and shape, once, and for no other."""
    checkpoint = random_checkpoint("tiny", tiny_family_config(moe=moe, tied=not moe), mix)
    assert memory_needed(checkpoint) == sum(t.nbytes for t in plan(checkpoint.config["text_config"], mix))
    model = Model(model_config(checkpoint.config), checkpoint.tensors, native_operations(1), checkpoint.v_heads_tiled)
    model.load()
    assert model.vision is None
    assert model.mtp is None


def types_of(config: dict[str, Any], mix: str) -> dict[str, str]:
    return {tensor.name: tensor.type.name for tensor in plan(config["text_config"], mix)}


def test_types_are_those_of_llama_quantize() -> None:
    tied, untied = tiny_family_config(), tiny_family_config(moe=True, tied=False)
    assert types_of(tied, "Q4_K_S")["embed_tokens.weight"] == "Q6_K"
    assert "lm_head.weight" not in types_of(tied, "Q4_K_S")
    shown = types_of(untied, "Q4_K_S")
    assert (shown["embed_tokens.weight"], shown["lm_head.weight"]) == ("Q4_K", "Q6_K")
    assert shown["layers.0.mlp.gate.weight"] == "F32"
    shown = types_of(untied, "MXFP4_MOE")
    assert (shown["layers.0.mlp.experts.up_proj"], shown["layers.0.mlp.shared_expert.up_proj.weight"]) == (
        "MXFP4",
        "Q8_0",
    )


def test_the_medium_mix_raises_half_of_some_matrices() -> None:
    shown = types_of(family_config("Qwen3.5-0.8B"), "Q4_K_M")
    raised = [layer for layer in range(24) if shown[f"layers.{layer}.mlp.down_proj.weight"] == "Q6_K"]
    assert raised == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]
    assert all(shown[f"layers.{layer}.mlp.up_proj.weight"] == "Q4_K" for layer in range(24))
    assert shown["layers.0.linear_attn.in_proj_qkv.weight"] == "Q6_K"
    assert shown["layers.3.self_attn.v_proj.weight"] == "Q4_K"


def test_tensors_are_drawn_when_they_are_taken() -> None:
    tensors = random_checkpoint("tiny", tiny_family_config(), "Q8_0").tensors
    name = "layers.0.mlp.up_proj.weight"
    assert tensors.peek(name).parts[0].strides == (0,)
    with pytest.raises(CheckpointError, match=r"has shape \[256, 256\], the configuration says \[1, 256\]"):
        tensors.take(name, (1, 256))
    taken: Tensor = tensors.take(name, (256, 256))
    assert len(np.unique(taken.parts[0])) > 200


def test_fewer_layers() -> None:
    checkpoint = random_checkpoint("tiny", tiny_family_config(), "Q8_0", layers=2)
    assert model_config(checkpoint.config).text.layers == 2
    assert not any(tensor.name.startswith("layers.2.") for tensor in checkpoint.tensors)


@pytest.mark.parametrize(
    ("name", "deviation"), [("embed_tokens", EMBEDDING_DEVIATION), ("lm_head", STANDARD_DEVIATION)]
)
def test_embeddings_outweigh_what_the_layers_add(name: str, deviation: float) -> None:
    """Or all tokens would be alike behind the first layer, and go to the same experts."""
    tensors = random_checkpoint("tiny", tiny_family_config(moe=True, tied=False), "Q8_0").tensors
    shape = tensors.peek(f"{name}.weight").shape
    taken = tensors.take(f"{name}.weight", shape)
    assert decode(taken.type, taken.parts[0], shape).std() == pytest.approx(deviation, rel=0.05)
