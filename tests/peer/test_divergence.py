"""`qwill.compare` against llama-perplexity on the same pair of files and the same text."""

import re
from pathlib import Path

import numpy as np
import peer
import pytest
from conftest import Converted

from qwill.compare import compare

pytestmark = pytest.mark.peer
CONTEXT = 64
WORDS = ("the", "and", "in", "other", "inner", "Zahl", "42", "x = y;", "(and)", "\n", "né")


def perplexity(model: Path, *options: str | Path) -> str:
    program = peer.program("llama-perplexity")
    return peer.run(
        program,
        "-m",
        model,
        "-c",
        str(CONTEXT),
        "-b",
        str(CONTEXT),
        "-ctk",
        "f32",
        "-ctv",
        "f32",
        "-fa",
        "off",
        *options,
    )


def value(output: str, name: str) -> float:
    found = re.search(rf"{name}\s*:?\s*=?\s*([-\d.]+)", output)
    assert found, (name, output[-3000:])
    return float(found[1])


def test_the_same_as_llama_perplexity(
    converted: dict[str, Converted], tmp_path: Path, rng: np.random.Generator
) -> None:
    """llama-perplexity keeps the reference's logits in 16 bits and rounds activations by its own blocks."""
    model = converted["V = 2 K"].files["f32"]
    text, base = tmp_path / "text.txt", tmp_path / "base.bin"
    text.write_text(" ".join(rng.choice(WORDS, 1000)))
    other = peer.quantize(model, tmp_path / "q4.gguf", "Q4_K")
    plain = perplexity(model, "-f", text, "--kl-divergence-base", base)
    output = perplexity(other, "--kl-divergence", "--kl-divergence-base", base)
    shown = compare(str(model), str(other), [text], CONTEXT, threads=2).summary()
    assert shown["perplexity"]["a"] == pytest.approx(float(re.findall(r"\[\d+\]([\d.]+),", plain)[-1]), rel=0.01)
    assert shown["perplexity"]["b"] == pytest.approx(value(output, r"Mean PPL\(Q\)"), rel=0.03)
    assert shown["divergence"]["mean"] == pytest.approx(value(output, "Mean    KLD"), rel=0.1)
    assert shown["divergence"]["median"] == pytest.approx(value(output, "Median  KLD"), rel=0.2)
    assert 100 * shown["same_top_token"] == pytest.approx(value(output, "Same top p:"), abs=5)
