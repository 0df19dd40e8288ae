"""peft 0.21: adapters of every target and kind, unmerged and merged, against peft's own logits."""

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import save_hf, tiny_config

from qwill import LLM
from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import UnsupportedModel
from qwill.quant.recipes import load_recipe
from tools.environments import make

pytestmark = pytest.mark.tools
EVERYWHERE = ("all-linear", "attention", "delta", "feed-forward", "rslora", "dora", "bias", "patterns", "tables",
              "tables-dora", "tokens", "saved")  # fmt: skip
CASES = [
    *(("dense", name) for name in EVERYWHERE),
    *(("mixture", name) for name in (*EVERYWHERE, "experts", "gate-up", "down", "router")),
]
BOUND = 2e-4  # of the spread of the logits


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sources`, `adapters`, and `tokens`."""
    folder = tmp_path_factory.mktemp("peft")
    seed = int(np.random.default_rng().integers(2**31))
    print("seed", seed)
    sizes = {"linear_num_value_heads": 6, "vocab_size": 288}
    for name, moe in (("dense", False), ("mixture", True)):
        # A router's choice must not hang on the last bits of a sum: all experts are taken.
        own = {"num_experts": 4, "num_experts_per_tok": 4} if moe else {}
        save_hf(folder / "sources" / name, tiny_config(moe, True, **sizes, **own), seed=seed, tokenizer=True)
    tokens = np.random.default_rng(seed).integers(0, 288, 50).tolist()
    (folder / "tokens").write_text(json.dumps([*tokens, 3, 4, 9]))
    sources = [folder / "sources" / name for name in ("dense", "mixture")]
    print(make("peft", "peft_adapters", folder / "adapters", folder / "tokens", *sources))
    return folder


def assert_near(got: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(got - expected).max() <= BOUND * (expected.max() - expected.min())


@pytest.mark.parametrize(("member", "name"), CASES)
def test_logits_are_those_of_peft(member: str, name: str, made: Path, tmp_path: Path) -> None:
    source, adapter = made / "sources" / member, made / "adapters" / member / name
    tokens, expected = json.loads((made / "tokens").read_text()), np.load(adapter / "logits.npy")
    plain = LLM(str(source), max_context=64).forward(tokens)
    assert np.abs(plain - expected).max() > 0.01 * (expected.max() - expected.min())
    assert_near(LLM(str(source), lora=str(adapter), max_context=64).forward(tokens), expected)
    if name == "bias":
        with pytest.raises(UnsupportedModel, match="adds a bias"):
            plan_model(source, load_recipe("F32"), lora=[(adapter, 1.0)])
        return
    (merged,) = write_gguf(plan_model(source, load_recipe("F32"), lora=[(adapter, 1.0)]), tmp_path / "merged.gguf")
    assert_near(LLM(str(merged), max_context=64).forward(tokens), expected)
