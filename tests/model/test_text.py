"""The language model against transformers, on fresh random checkpoints in float32."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import tiny_config
from harness import BACKENDS, Ours, assert_same_logits, make, random_prompt, reference_logits

ROPE = {
    "rope_theta": 10000000.0,
    "partial_rotary_factor": 0.25,
    "mrope_section": [2, 1, 1],
    "mrope_interleaved": True,
}
YARN = ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
MEMBERS = {
    "dense": (tiny_config(), {}),
    "dense tied": (tiny_config(tie_word_embeddings=True), {}),
    "dense with vision": (tiny_config(vision=True), {}),
    "experts packed": (tiny_config(moe=True), {}),
    "experts one by one": (tiny_config(moe=True), {"packed": False}),
    "10 of 512 experts": (tiny_config(moe=True, num_experts=512, num_experts_per_tok=10, moe_intermediate_size=8), {}),
    "with draft head": (tiny_config(moe=True, vision=True), {"mtp": True}),
    "V = K": (tiny_config(linear_num_value_heads=2), {}),
    "V = 3 K": (tiny_config(linear_num_value_heads=6), {}),
    "V = 4 K": (tiny_config(linear_num_value_heads=8), {}),
    "yarn": (tiny_config(rope_parameters=YARN), {}),
    "sharded": (tiny_config(), {"shards": 3}),
}


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed)


@pytest.mark.parametrize("member", MEMBERS)
def test_logits_of_every_member(member: str, tmp_path: Path, rng: np.random.Generator) -> None:
    config, options = MEMBERS[member]
    made = make(tmp_path, config, seed=int(rng.integers(2**31)), **options)
    prompt = random_prompt(rng, 65, 288)
    expected = reference_logits(made.model, prompt)
    for backend in BACKENDS:
        assert_same_logits(Ours(made.folder, backend).logits(prompt), expected)


@pytest.mark.parametrize("moe", [False, True])
@pytest.mark.parametrize("length", [1, 63, 64, 257])
def test_logits_of_every_length(length: int, moe: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    made = make(tmp_path, tiny_config(moe=moe), seed=int(rng.integers(2**31)))
    prompt = random_prompt(rng, length, 288)
    expected = reference_logits(made.model, prompt)
    for backend in BACKENDS[1:]:
        assert_same_logits(Ours(made.folder, backend).logits(prompt), expected)


@pytest.mark.parametrize("moe", [False, True])
def test_decode_after_chunked_prefill(moe: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    made = make(tmp_path, tiny_config(moe=moe), seed=int(rng.integers(2**31)))
    prompt = random_prompt(rng, 70, 288)
    expected = made.model.generate(
        torch.tensor([prompt.token_ids]), max_new_tokens=64, min_new_tokens=64, do_sample=False, eos_token_id=None
    )
    for chunk in (17, 512):
        ours = Ours(made.folder, BACKENDS[-1], chunk)
        assert ours.greedy(prompt, 64) == expected[0, 70:].tolist()


def test_chunking_changes_no_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    made = make(tmp_path, tiny_config(moe=True), seed=int(rng.integers(2**31)))
    prompt = random_prompt(rng, 70, 288)
    for backend in BACKENDS[1:]:
        whole = Ours(made.folder, backend).logits(prompt)
        for chunk in (1, 7, 32):
            np.testing.assert_array_equal(Ours(made.folder, backend, chunk).logits(prompt), whole)


def test_requests_together_answer_as_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    made = make(tmp_path, tiny_config(moe=True), seed=int(rng.integers(2**31)))
    prompts = [random_prompt(rng, int(length), 288) for length in rng.integers(1, 90, 7)]
    ours = Ours(made.folder, BACKENDS[-1], chunk=40)
    alone = [ours.greedy(prompt, 20) for prompt in prompts]
    requests = [ours.request(prompt, 20) for prompt in prompts]
    for request in requests:
        ours.engine.add(request)
    while ours.engine.has_work:
        ours.engine.step()
    assert [request.output_ids for request in requests] == alone
    ours.engine.scheduler.check_integrity()


def test_yarn_by_request_of_the_user(tmp_path: Path, rng: np.random.Generator) -> None:
    """The factor given at load is the same as the one in the configuration."""
    seed = int(rng.integers(2**31))
    plain = make(tmp_path / "plain", tiny_config(), seed=seed)
    scaled = make(tmp_path / "scaled", tiny_config(rope_parameters=YARN), seed=seed)
    prompt = random_prompt(rng, 50, 288)
    expected = reference_logits(scaled.model, prompt)
    assert np.nanmax(np.abs(reference_logits(plain.model, prompt) - expected)) > 1e-3
    assert_same_logits(Ours(plain.folder, BACKENDS[-1], yarn=4.0).logits(prompt), expected)
