"""Gathering importance: against hooks on transformers' modules, and what does and does not depend on how it is done."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, save_hf, text_config, tiny_config
from gguf_checkpoints import save_gguf
from PIL import Image

from qwill import LLM
from qwill.errors import CheckpointError, InvalidArgument, MediaError, ModelNotFound, PromptTooLong
from qwill.importance import Observer, gather, observed
from qwill.ops import reference_operations
from qwill.passages import read_passages
from qwill.quant.importance import Importance, Statistics
from qwill.weights.load import open_checkpoint
from qwill.weights.names import gguf_name, place_hf

LAYERS = 4
# Both compute in float32; four layers and the recurrence grow its rounding to about 1e-5 of a hidden state (see
# model/harness.py), squares double that.
CLOSE = {"rtol": 1e-3, "atol": 1e-6}


class Hooks:
    """Sums of squares of what transformers' linear modules get, by canonical name; experts' by themselves."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(1))
        for name, module in model.named_modules():
            if name.endswith("mlp.experts"):
                module.register_forward_hook(self._experts(canonical(f"{name}.gate_up_proj")))
            elif isinstance(module, torch.nn.Linear) or name.endswith("mlp.gate"):
                module.register_forward_pre_hook(self._linear(canonical(f"{name}.weight")))

    def _linear(self, name: str):  # noqa: ANN202
        def look(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].double().flatten(0, -2).numpy()
            self.sums[name] = self.sums.get(name, 0) + (x**2).sum(0)[None]
            self.counts[name] += len(x)

        return look

    def _experts(self, name: str):  # noqa: ANN202
        stem = name.removesuffix("gate_up_proj")

        def look(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
            x, chosen = inputs[0], inputs[1]
            number, width = module.down_proj.shape[0], module.down_proj.shape[2]
            into, product = np.zeros((number, x.shape[1])), np.zeros((number, width))
            for token, experts in enumerate(chosen.tolist()):
                for expert in experts:
                    gate, up = (module.gate_up_proj[expert] @ x[token]).split(width)
                    into[expert] += x[token].double().numpy() ** 2
                    product[expert] += (torch.nn.functional.silu(gate) * up).double().numpy() ** 2
            counts = np.bincount(chosen.flatten().numpy(), minlength=number)
            for part, sums in (("gate_proj", into), ("up_proj", into), ("down_proj", product)):
                self.sums[stem + part], self.counts[stem + part] = sums, counts

        return look


def canonical(name: str) -> str:
    place = place_hf(name)
    assert place is not None, name
    return place.name


@pytest.fixture
def token_ids() -> list[int]:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed).integers(0, 256, 67).tolist()


def gathered(path: Path, token_ids: list[int], *, reference: bool = False, **options: object) -> Importance:
    """What one passage brings."""
    if reference:
        observer = Observer(reference_operations())
        llm = LLM(str(path), operations=observer.operations, kv="f32", max_context=96, **options)
    else:
        llm, observer = observed(str(path), threads=2, max_context=96, **options)
    return gather(llm, observer, [llm.answer(token_ids).request], 32)


def tiled(sums: np.ndarray, config: object) -> np.ndarray:
    """Columns of V heads, grouped by their k heads, in the order of GGUF files: written element by element."""
    keys, values, width = config.linear_num_key_heads, config.linear_num_value_heads, config.linear_value_head_dim
    result = np.empty_like(sums)
    for head in range(values):
        key, rank = divmod(head, values // keys)
        place = rank * keys + key
        result[:, place * width : (place + 1) * width] = sums[:, head * width : (head + 1) * width]
    return result


@torch.no_grad()
def expected(made: TinyCheckpoint, token_ids: list[int]) -> dict[str, Statistics]:
    """By GGUF name, the text model's; the head of a vision-language model hangs beside its parts."""
    hooks = Hooks(made.model)
    made.model(input_ids=torch.tensor([token_ids]))
    result = {}
    for name, sums in hooks.sums.items():
        if name.endswith("shared_expert_gate.weight"):  # one row, never quantized
            continue
        if name.endswith("linear_attn.out_proj.weight"):
            sums = tiled(sums, text_config(made.config))
        result[gguf_name(name, LAYERS)] = Statistics(sums, hooks.counts[name])
    return result


def assert_same(got: Importance, wanted: dict[str, Statistics]) -> None:
    assert got.statistics.keys() == wanted.keys()
    for name, own in got.statistics.items():
        np.testing.assert_array_equal(own.counts, wanted[name].counts, err_msg=name)
        np.testing.assert_allclose(own.sums, wanted[name].sums, err_msg=name, **CLOSE)
        assert own.sums.dtype == own.counts.dtype == np.float32


@pytest.mark.parametrize("moe", [False, True])
@pytest.mark.parametrize("reference", [False, True])
def test_equals_hooks_on_transformers(moe: bool, reference: bool, token_ids: list[int], tmp_path: Path) -> None:
    made = save_hf(tmp_path, tiny_config(moe), seed=token_ids[0], tokenizer=True)
    got = gathered(tmp_path, token_ids, reference=reference)
    assert_same(got, expected(made, token_ids))
    assert (got.chunk_count, got.chunk_size) == (2, 32)
