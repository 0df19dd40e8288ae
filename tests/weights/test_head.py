"""The head of a folder's model, against the one that transformers computes with."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from canonical import by_name, decoded
from checkpoints import TinyCheckpoint, dequantize_fp8, quantize_fp8, save_hf, tiny_config, write_shards
from gguf_checkpoints import save_gguf
from hypothesis import given
from hypothesis import strategies as st
from model.harness import BACKENDS, Ours, assert_same_logits, random_prompt, reference_logits

from qwill.compare import compare
from qwill.convert.fp8 import plan_fp8, write_fp8
from qwill.convert.quantize import plan_model, write_gguf
from qwill.model.config import model_config
from qwill.model.parameters import parameter_count
from qwill.quant.recipes import load_recipe
from qwill.quant.types import TYPES
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.folders import head
from qwill.weights.folders.head import same_values
from qwill.weights.load import open_checkpoint
from qwill.weights.tensor import Tensor

USED = "the stored lm_head.weight differs from the embeddings; it is used"
NONE = "no lm_head.weight is stored; the embeddings are used for it"
HEAD, TIE = "lm_head.weight", "tie_word_embeddings"


@pytest.fixture
def seed() -> int:
    number = int(np.random.SeedSequence().generate_state(1)[0] % 2**31)
    print("seed", number)
    return number


def embeddings_of(made: TinyCheckpoint) -> torch.Tensor:
    return next(tensor for name, tensor in made.state.items() if name.endswith("embed_tokens.weight"))


def one_row_changed(embeddings: torch.Tensor) -> torch.Tensor:
    """As after tokens were added: all the others are as they were."""
    changed = embeddings.clone()
    changed[-17] += 0.5
    return changed


def other(embeddings: torch.Tensor) -> torch.Tensor:
    return torch.randn(embeddings.shape).to(embeddings.dtype)


def rewrite(made: TinyCheckpoint, stored: torch.Tensor | None, flags: dict[str, bool | None]) -> None:
    """`flags`: of the configuration ("") and of its text_config; None leaves one out."""
    state = {name: tensor for name, tensor in made.state.items() if name != HEAD}
    write_shards(made.folder, state if stored is None else state | {HEAD: stored.clone()}, 1)
    config = json.loads((made.folder / "config.json").read_text())
    for section, flag in flags.items():
        where = config[section] if section else config
        where.pop(TIE, None)
        if flag is not None:
            where[TIE] = flag
    (made.folder / "config.json").write_text(json.dumps(config))


def tied_in(checkpoint: Checkpoint) -> bool:
    return model_config(checkpoint.config).text.tie_word_embeddings


@pytest.mark.parametrize("make_head", [one_row_changed, other])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("overrides", [{}, {"vision": True}, {"moe": True}], ids=["dense", "vision", "experts"])
def test_a_head_that_differs_is_used(
    overrides: dict[str, Any],
    dtype: torch.dtype,
    make_head: Callable[[torch.Tensor], torch.Tensor],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
) -> None:
    every = {"num_experts_per_tok": 8} if overrides.get("moe") else {}
    made = save_hf(tmp_path / "hf", tiny_config(**overrides, **every, tie_word_embeddings=True), dtype=dtype, seed=seed)
    stored = make_head(embeddings_of(made))
    rewrite(made, stored, {})
    auto = transformers.AutoModelForImageTextToText if overrides.get("vision") else transformers.AutoModelForCausalLM
    reference = auto.from_pretrained(made.folder, dtype=torch.float32).eval()
    assert torch.equal(reference.lm_head.weight, stored.float())
    prompt = random_prompt(np.random.default_rng(seed), 40, 288)
    ours = Ours(made.folder, BACKENDS[-1] if dtype is torch.float32 else "reference")
    if dtype is torch.float32:
        assert_same_logits(ours.logits(prompt), reference_logits(reference, prompt))
    np.testing.assert_array_equal(decoded(by_name(ours.checkpoint.tensors)[HEAD]), stored.float().numpy())
    assert caplog.text.count(USED) == 1
    assert not tied_in(ours.checkpoint)
    count = parameter_count(model_config(ours.checkpoint.config))
    assert count.text + count.vision == sum(p.numel() for p in reference.parameters())


FLAGS = [
    ({"": True, "text_config": True}, True),
    ({"": True, "text_config": False}, True),
    ({"": True, "text_config": None}, True),
    ({"": None, "text_config": True}, True),
    ({"": False, "text_config": True}, False),
    ({"": False, "text_config": False}, False),
    ({"": None, "text_config": None}, False),
]


@pytest.mark.parametrize(("flags", "tied"), FLAGS)
def test_flags_that_disagree(
    flags: dict[str, bool | None], tied: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    """A stored head is the head whatever they say; the same as the embeddings is none where they are tied; where none
    is stored the embeddings are it, and a flag that says otherwise is contradicted. The configuration is made true.
    """
    made = save_hf(tmp_path / "hf", tiny_config(vision=True), seed=seed)
    for stored, lines, is_there in (
        (made.state[HEAD], [USED] if tied else [], True),
        (embeddings_of(made), [], not tied),
        (None, [] if tied else [NONE], False),
    ):
        rewrite(made, stored, flags)
        caplog.clear()
        checkpoint = open_checkpoint(made.folder)
        assert (HEAD in checkpoint.tensors) == is_there
        assert tied_in(checkpoint) == (not is_there)
        assert checkpoint.config["text_config"].get(TIE, not is_there) == (not is_there)
        messages = [record.getMessage() for record in caplog.records if record.name == "qwill"]
        assert len(messages) == len(lines)
        assert all(line in message for line, message in zip(lines, messages, strict=True))
        if stored is not None:
            reference = transformers.AutoModelForImageTextToText.from_pretrained(made.folder)
            assert torch.equal(reference.lm_head.weight, stored)


def test_a_head_without_embeddings_is_both(tmp_path: Path, seed: int) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(tie_word_embeddings=True), seed=seed)
    table = embeddings_of(made)
    state = {name: tensor for name, tensor in made.state.items() if "embed_tokens" not in name}
    write_shards(made.folder, state | {HEAD: table}, 1)
    reference = transformers.AutoModelForCausalLM.from_pretrained(made.folder).eval()
    assert torch.equal(reference.get_input_embeddings().weight, table)
    prompt = random_prompt(np.random.default_rng(seed), 24, 288)
    assert_same_logits(Ours(made.folder, "reference").logits(prompt), reference_logits(reference, prompt))


def test_other_types_are_compared_by_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A copy in F32 of a table in BF16 is the same; in E4M3 it is where nothing was rounded."""
    made = save_hf(tmp_path / "hf", tiny_config(tie_word_embeddings=True), dtype=torch.bfloat16)
    name, table = next((name, tensor) for name, tensor in made.state.items() if "embed_tokens" in name)
    rewrite(made, table.float(), {})
    assert HEAD not in open_checkpoint(made.folder).tensors
    rounded = quantize_fp8({"model.x.weight": table})
    codes, scales = rounded["model.x.weight"], rounded["model.x.weight_scale_inv"]
    values = dequantize_fp8(codes, scales)
    fp8 = {HEAD: codes.clone(), f"{HEAD}_scale_inv": scales.clone()}
    for embeddings, differs in ((values, False), (one_row_changed(values), True), (table, True)):
        caplog.clear()
        write_shards(made.folder, made.state | {name: embeddings} | fp8, 1)
        assert (HEAD in open_checkpoint(made.folder).tensors) == differs
        assert (USED in caplog.text) == differs
    write_shards(made.folder, made.state | {name: codes, f"{name}_scale_inv": scales} | fp8, 1)
    assert HEAD not in open_checkpoint(made.folder).tensors
    write_shards(made.folder, made.state | {name: codes, f"{name}_scale_inv": scales * 2} | fp8, 1)
    assert HEAD in open_checkpoint(made.folder).tensors


def test_another_shape_is_no_copy(tmp_path: Path) -> None:
    made = save_hf(tmp_path / "hf", tiny_config(tie_word_embeddings=True))
    rewrite(made, embeddings_of(made)[:-16].clone(), {})
    assert HEAD in open_checkpoint(made.folder).tensors


@given(rows=st.integers(1, 700), place=st.integers(0), negative_zero=st.booleans())
def test_any_one_value_makes_the_difference(rows: int, place: int, negative_zero: bool) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, 33)).astype(np.float32)
    row, column = divmod(place % values.size, 33)
    values[row, column] = 0
    copy = values.copy()
    copy[row, column] = -0.0 if negative_zero else 1e-30

    def tensor(array: np.ndarray) -> Tensor:
        return Tensor("x", array.shape, TYPES["F32"], (array.reshape(-1).view(np.uint8),), "x")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "_CHUNK_VALUES", 33 * 128)
        assert same_values(tensor(values), tensor(values.copy()))
        assert same_values(tensor(values), tensor(copy)) == negative_zero


def test_conversions_keep_it(tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    """GGUF has it as output.weight, FP8 as lm_head.weight with true flags; draft head and comparison use it."""
    made = save_hf(
        tmp_path / "hf", tiny_config(vision=True, tie_word_embeddings=True), seed=seed, mtp=True, tokenizer=True
    )
    rewrite(made, one_row_changed(embeddings_of(made)), {})
    prompt = random_prompt(np.random.default_rng(seed), 33, 288)
    expected = Ours(made.folder, "reference").logits(prompt)
    (file,) = write_gguf(plan_model(made.folder, load_recipe("F32")), tmp_path / "it.gguf")
    ours = Ours(file, "reference")
    assert not tied_in(ours.checkpoint)
    assert ours.model.mtp is not None
    assert_same_logits(ours.logits(prompt), expected)
    text = tmp_path / "text.txt"
    text.write_text("the rain and the in an er and the " * 9)
    caplog.set_level(logging.ERROR)
    shown = compare(str(made.folder), str(file), [text], 40, most=1, threads=1).summary()
    assert shown["divergence"]["mean"] < 1e-6
    write_fp8(plan_fp8(made.folder), tmp_path / "fp8", 10**9)
    config = json.loads((tmp_path / "fp8" / "config.json").read_text())
    assert (config[TIE], config["text_config"][TIE]) == (False, False)
    caplog.clear()
    fp8 = open_checkpoint(tmp_path / "fp8")
    assert not caplog.records
    stored = by_name(open_checkpoint(made.folder).tensors)[HEAD]
    np.testing.assert_array_equal(decoded(by_name(fp8.tensors)[HEAD]), decoded(stored))


def test_a_gguf_is_tied_when_it_has_no_output_matrix(tmp_path: Path) -> None:
    for tied in (True, False):
        made = save_hf(tmp_path / f"hf{tied}", tiny_config(tie_word_embeddings=tied))
        save_gguf(tmp_path / f"{tied}.gguf", made)
        checkpoint = open_checkpoint(tmp_path / f"{tied}.gguf")
        assert tied_in(checkpoint) == tied == (HEAD not in checkpoint.tensors)
