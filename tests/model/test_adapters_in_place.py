"""What adapters put in place of the model's tensors: trained tables, rows of tokens, norms, and the vision tower."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, save_hf, save_tokenizer, tiny_config
from gguf_checkpoints import save_gguf
from harness import assert_same_logits, random_prompt, reference_logits
from peft_folders import Recipe, save_peft
from safetensors.torch import load_file, save_file

from qwill import LLM
from qwill.convert.quantize import plan_model, write_gguf
from qwill.errors import InvalidArgument, UnsupportedModel
from qwill.quant.recipes import load_recipe

PREFIX = "base_model.model."
TOWER = ("qkv", "proj", "linear_fc1", "linear_fc2")


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed)


def made(tmp_path: Path, rng: np.random.Generator, tied: bool, **config: Any) -> TinyCheckpoint:
    seed = int(rng.integers(2**31))
    return save_hf(tmp_path / "model", tiny_config(tie_word_embeddings=tied, **config), seed=seed, tokenizer=True)


def adapter_with(
    folder: Path, model: torch.nn.Module, seed: int, more: dict[str, torch.Tensor], **config: Any
) -> torch.nn.Module:
    """An adapter of some matrices that holds more tensors beside them. Returns the model with the former."""
    merged = save_peft(folder, model, Recipe(["q_proj", "down_proj"], config=config), seed)
    file = folder / "adapter_model.safetensors"
    state = load_file(file) | {PREFIX + name: tensor.contiguous() for name, tensor in more.items()}
    file.unlink()
    save_file(state, file)
    return merged


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_trained_tables_and_norms(tied: bool, form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """Trained embeddings leave a tied head as it was."""
    checkpoint = made(tmp_path, rng, tied)
    model = checkpoint.model
    table = torch.randn(288, 64) * 0.2
    norm = torch.randn(64) * 0.2
    more = {"model.embed_tokens.weight": table, "model.norm.modules_to_save.default.weight": norm,
            "model.norm.original_module.weight": norm + 1}  # fmt: skip
    merged = adapter_with(tmp_path / "adapter", model, 5, more)
    merged.get_input_embeddings().weight = torch.nn.Parameter(table)
    merged.model.norm.weight = torch.nn.Parameter(norm)
    source = checkpoint.folder
    if form == "gguf":
        source = tmp_path / "model.gguf"
        save_gguf(source, checkpoint)
    prompt = random_prompt(rng, 30, 288)
    expected = reference_logits(merged, prompt)
    lora = str(tmp_path / "adapter")
    assert_same_logits(LLM(str(source), lora=lora, max_context=64).forward(prompt.token_ids), expected)
    conversion = plan_model(source, load_recipe("F32"), lora=[(tmp_path / "adapter", 1.0)])
    (file,) = write_gguf(conversion, tmp_path / "merged.gguf")
    assert_same_logits(LLM(str(file), max_context=64).forward(prompt.token_ids), expected)
    with pytest.raises(UnsupportedModel, match="which all answers share; give it no name"):
        LLM(str(source), lora={"named": lora})
    with pytest.raises(InvalidArgument, match=r"replaces embed_tokens\.weight too"):
        LLM(str(source), lora=[lora, lora])


@pytest.mark.parametrize("tied", [False, True])
def test_rows_of_tokens(tied: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    checkpoint = made(tmp_path, rng, tied)
    ids = [7, 3, 250]
    rows = torch.randn(3, 64) * 0.3
    more = {"model.embed_tokens.token_adapter.trainable_tokens_delta": rows}
    merged = adapter_with(tmp_path / "adapter", checkpoint.model, 5, more, trainable_token_indices=ids)
    changed = [merged.get_input_embeddings(), *([merged.get_output_embeddings()] if tied else [])]
    for table in changed:
        with torch.no_grad():
            table.weight[ids] = rows
    prompt = random_prompt(rng, 30, 288)
    prompt.token_ids[5:8] = ids
    expected = reference_logits(merged, prompt)
    llm = LLM(str(checkpoint.folder), lora={"named": str(tmp_path / "adapter")}, max_context=64)
    request = llm.answer(prompt.token_ids, lora="named").request
    assert_same_logits(llm.engine.prompt_logits(request), expected)
    (file,) = write_gguf(
        plan_model(checkpoint.folder, load_recipe("F32"), lora=[(tmp_path / "adapter", 1.0)]), tmp_path / "merged.gguf"
    )
    assert_same_logits(LLM(str(file), max_context=64).forward(prompt.token_ids), expected)


def test_a_vocabulary_that_has_grown(tmp_path: Path, rng: np.random.Generator) -> None:
    checkpoint = made(tmp_path, rng, tied=False)
    larger = copy.deepcopy(checkpoint.model)
    larger.resize_token_embeddings(304)
    with torch.no_grad():
        for table in (larger.get_input_embeddings(), larger.get_output_embeddings()):
            table.weight[288:] = torch.randn(16, 64) * 0.2
    folder = tmp_path / "adapter"
    merged = save_peft(folder, larger, Recipe(["q_proj", "embed_tokens", "lm_head"]), 5)
    save_tokenizer(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    added = {**tokenizer["added_tokens"][0], "id": 288, "content": "<|new|>"}
    tokenizer["added_tokens"].append(added)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    prompt = random_prompt(rng, 30, 304)
    prompt.token_ids[3] = 288
    expected = reference_logits(merged, prompt)
    llm = LLM(str(checkpoint.folder), lora=str(folder), max_context=64)
    assert llm.config.text.vocab_size == 304
    assert_same_logits(llm.forward(prompt.token_ids), expected)
    assert llm.tokenizer is not None
    assert llm.tokenizer.added_tokens["<|new|>"] == 288
    (file,) = write_gguf(plan_model(checkpoint.folder, load_recipe("F32"), lora=[(folder, 1.0)]), tmp_path / "m.gguf")
    again = LLM(str(file), max_context=64)
    assert_same_logits(again.forward(prompt.token_ids), expected)
    assert again.tokenizer is not None
    assert again.tokenizer.added_tokens["<|new|>"] == 288
    save_gguf(tmp_path / "base.gguf", checkpoint)
    with pytest.raises(UnsupportedModel, match="has other tokens than the GGUF file"):
        plan_model(tmp_path / "base.gguf", load_recipe("F32"), lora=[(folder, 1.0)])


@pytest.mark.parametrize("form", ["folder", "gguf"])
@pytest.mark.parametrize("dora", [False, True])
def test_the_vision_tower(form: str, dora: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    checkpoint = made(tmp_path, rng, tied=False, vision=True)
    merged = save_peft(tmp_path / "adapter", checkpoint.model, Recipe([*TOWER, "v_proj"], dora=dora, scale=0.5), 5)
    source = checkpoint.folder
    if form == "gguf":
        source = tmp_path / "gguf" / "model.gguf"
        source.parent.mkdir()
        save_gguf(source, checkpoint, mmproj=source.parent / "mmproj.gguf")
    lora = f"{tmp_path / 'adapter'}=0.5"
    llm = LLM(str(source), lora=lora, max_context=64)
    tower = merged.model.visual
    grid = torch.tensor([[1, 4, 4]])
    pixels = torch.from_numpy(rng.normal(size=(16, 3 * 2 * 16 * 16)).astype(np.float32))
    with torch.no_grad():
        expected = tower(pixels, grid_thw=grid).pooler_output.numpy()
    vision = llm._model.vision
    assert vision is not None
    got = vision.forward(pixels.numpy(), grid[0].tolist())
    assert np.abs(got - expected).max() <= 2e-4 * np.ptp(expected)
    with pytest.raises(UnsupportedModel, match="changes the vision tower"):
        LLM(str(source), lora={"named": lora})
