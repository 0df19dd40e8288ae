"""A prompt of the family's whole context, 262,144 tokens, against transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import save_hf, tiny_config

from qwill import LLM, SamplingParams

CONTEXT = 262_144
ANSWER = 16


@pytest.mark.slow
def test_the_last_tokens_of_the_longest_context(tmp_path: Path) -> None:
    """The tokens are those of transformers; their log probabilities differ by what adding a quarter of a million
    float32 values in two orders may."""
    config = tiny_config(
        max_position_embeddings=CONTEXT, num_attention_heads=2, num_key_value_heads=1, attn_implementation="sdpa"
    )
    made = save_hf(tmp_path, config, seed=int(np.random.SeedSequence().generate_state(1)[0] % 2**31))
    prompt = np.random.default_rng().integers(0, 256, CONTEXT - ANSWER).tolist()
    params = SamplingParams(temperature=0, max_tokens=ANSWER, logprobs=1, ignore_eos=True)
    answers = [
        LLM(str(tmp_path), max_context=CONTEXT, kv="f32", **options).generate([prompt], params)[0]
        for options in ({}, {"step_tokens": 2048, "speculative": False, "prefix_cache": False})
    ]
    assert answers[0].token_ids == answers[1].token_ids
    assert len(answers[0].token_ids) == ANSWER
    with torch.no_grad():
        ids = torch.tensor([prompt + answers[0].token_ids])
        logits = made.model(input_ids=ids, use_cache=False, logits_to_keep=ANSWER + 1).logits[0, :-1]
    expected = torch.log_softmax(logits, -1)
    assert expected.argmax(-1).tolist() == answers[0].token_ids
    for answer in answers:
        assert answer.logprobs is not None
        ours = np.array([token.logprob for token in answer.logprobs])
        np.testing.assert_allclose(ours, expected.max(-1).values.numpy(), atol=1e-4)
