"""The training model, exported, against qwill and transformers; its losses and gradients."""

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import transformers
from model.harness import BACKENDS, Ours, assert_same_logits
from PIL import Image
from tokenizers import Tokenizer
from training.data import Encoded, collate, encode, prompt_text
from training.decoder import MixtureOfExperts
from training.examples import Example, Mark, Picture, Video
from training.export import export
from training.layers import TextShape, linear, rms_norm
from training.mixers import SHORT
from training.model import DemoModel, initialize
from training.tasks import arithmetic, shapes, tools, video
from training.train import build_model
from training.vision import VisionShape

from qwill.engine.request import Prompt
from qwill.model.batch import Batch
from qwill.prompt import PromptBuilder
from qwill.text.tokenizer import Tokenizer as QwillTokenizer


@dataclass
class Made:
    """A random model, exported and loaded three ways."""

    tokenizer: Tokenizer
    model: DemoModel
    reference: Any
    ours: Ours
    builder: PromptBuilder


def randomize(model: DemoModel) -> None:
    """As training begins, but without the zeros and ones."""
    generator = torch.Generator().manual_seed(12)
    initialize(model, generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or name.startswith("auxiliary"):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


@pytest.fixture(scope="module")
def made(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Made:
    run = tmp_path_factory.mktemp("run")
    tokenizer.save(str(run / "tokenizer.json"))
    model = build_model(tokenizer, torch.float32)
    randomize(model)
    torch.save({"model": model.state_dict()}, run / "checkpoint.pt")
    export(run, run / "exported", "float32")
    reference = transformers.Qwen3_5MoeForConditionalGeneration.from_pretrained(run / "exported", dtype=torch.float32)
    ours = Ours(run / "exported", BACKENDS[-1])
    builder = PromptBuilder(ours.checkpoint, QwillTokenizer.from_file(run / "exported" / "tokenizer.json"), True)
    return Made(tokenizer, model, reference, ours, builder)


def noise(rng: random.Random, *shape: int) -> np.ndarray:
    return np.random.default_rng(rng.getrandbits(32)).integers(0, 256, shape, dtype=np.uint8)


def two_pictures(rng: random.Random) -> Example:
    """Two sizes and two turns."""
    media = [Picture(noise(rng, 64, 96, 3), (Mark(70, 10, "star", "red"),)), Picture(noise(rng, 128, 64, 3))]
    parts = [{"type": "text", "text": "First "}, {"type": "image"}, {"type": "text", "text": " or "}, {"type": "image"}]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "The first."},
        {"role": "user", "content": "Why?"},
    ]
    return Example("", messages, "It is wider.", media=media)


def drawn(seed: int) -> list[Example]:
    rng = random.Random(seed)
    examples = [task(rng, False) for task in (arithmetic.sums_with_thinking, tools.chain, shapes.description)]
    return [*examples, two_pictures(rng), video.order(rng, False)]


def in_order(examples: list[Example], tokenizer: Tokenizer) -> tuple[list[Example], list[Encoded]]:
    """By length, as batches want them."""
    pairs = [(example, encode(example, tokenizer)) for example in examples]
    pairs.sort(key=lambda pair: len(pair[1].ids))
    return [example for example, _ in pairs], [entry for _, entry in pairs]


def write_video(path: Path, clip: Video) -> None:
    """Without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=int(clip.fps))
        stream.height, stream.width, stream.pix_fmt = *clip.frames.shape[1:3], "bgr0"
        for pixels in clip.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def asked(example: Example, builder: PromptBuilder, folder: Path) -> Prompt:
    """qwill's own prompt for the same conversation, with the media as a user gives them."""
    media = iter(example.media)
    messages = []
    for message in example.messages:
        content = message["content"]
        parts = content if isinstance(content, list) else []
        for index, part in enumerate(parts):
            if part["type"] == "image":
                parts = [*parts[:index], part | {"image": Image.fromarray(next(media).pixels)}, *parts[index + 1 :]]
            elif part["type"] == "video":
                write_video(folder / "clip.mkv", next(media))
                parts = [*parts[:index], part | {"video": str(folder / "clip.mkv")}, *parts[index + 1 :]]
        messages.append(message | {"content": parts or content})
    return builder.conversation(messages, example.tools, example.thinking).prompt


def answered(prompt: Prompt, ids: list[int]) -> Prompt:
    """The prompt with the answer behind it, counting on."""
    count = len(ids) - len(prompt.token_ids)
    more = np.broadcast_to(np.arange(count, dtype=np.int32) + prompt.next_position, (3, count))
    return Prompt(ids, np.concatenate((prompt.positions, more), axis=1), prompt.next_position + count, prompt.media)


def media_arguments(prompt: Prompt, tokenizer: Tokenizer) -> dict[str, torch.Tensor]:
    """What transformers' forward takes for the media of a prompt."""
    patches = list({id(rows.patches): rows.patches for rows in prompt.media}.values())
    if not patches:
        return {}
    tokens = torch.tensor([prompt.token_ids])
    videos = tokens == tokenizer.token_to_id("<|video_pad|>")
    kinds = (tokens == tokenizer.token_to_id("<|image_pad|>")).int() + 2 * videos.int()
    names = ("pixel_values_videos", "video_grid_thw") if videos.any() else ("pixel_values", "image_grid_thw")
    pixels = torch.from_numpy(np.concatenate([each.pixels for each in patches]))
    grids = torch.tensor([each.grid for each in patches])
    return {names[0]: pixels, names[1]: grids, "mm_token_type_ids": kinds}


@contextmanager
def watched_routers(model: DemoModel) -> Iterator[list[torch.Tensor]]:
    """Fills a list with the routers' gaps [rows], between the logits of the last expert chosen and the next one."""
    gaps: list[torch.Tensor] = []

    def look(mixture: MixtureOfExperts, arguments: tuple[Any, ...]) -> None:
        x, norm, _ = arguments
        logits = linear(rms_norm(x, norm, mixture.shape.rms_norm_eps), mixture.gate.weight)
        best = logits.topk(mixture.shape.num_experts_per_tok + 1).values
        gaps.append(best[:, -2] - best[:, -1])

    mixtures = [module for module in model.modules() if isinstance(module, MixtureOfExperts)]
    hooks = [mixture.register_forward_pre_hook(look) for mixture in mixtures]
    yield gaps
    for hook in hooks:
        hook.remove()


def before_ties(gaps: list[torch.Tensor], start: int, end: int) -> int:
    """How many of the rows come before one whose router's choice float32 rounding can turn (a gap of 6e-7 was): what
    another expert says differs altogether, and later rows see it."""
    tied = torch.stack(gaps)[:, start:end].amin(0) < 1e-5
    return int(tied.int().argmax()) if tied.any() else end - start


def test_logits_equal_qwills_and_transformers(made: Made, seed: int, tmp_path: Path) -> None:
    """Text, tool calls, one picture, two of different sizes and a video, all in one batch; from the same raw media."""
    long = Example("", [{"role": "user", "content": "Go on. " * 130}], "On and on.")
    examples, entries = in_order([*drawn(seed), long], made.tokenizer)
    batch = collate(entries, made.tokenizer)
    assert len(batch.layout.buckets) > 1
    assert max(bucket.tokens for bucket in batch.layout.buckets) > SHORT
    compared = 0
    with torch.no_grad(), watched_routers(made.model) as gaps:
        logits = made.model.logits(batch).numpy()
        starts = batch.layout.starts.tolist()
        for example, entry, start in zip(examples, entries, starts, strict=False):
            end = start + len(entry.ids)
            question = asked(example, made.builder, tmp_path)
            assert entry.ids[: len(question.token_ids)] == question.token_ids, prompt_text(example)
            prompt = answered(question, entry.ids)
            assert np.array_equal(batch.positions[start:end].T.numpy(), prompt.positions)
            clear = before_ties(gaps, start, end)
            compared += clear
            assert_same_logits(logits[start : start + clear], made.ours.logits(prompt)[:clear])
            media = media_arguments(prompt, made.tokenizer)
            expected = made.reference(input_ids=torch.tensor([entry.ids]), **media).logits[0].numpy()
            assert_same_logits(logits[start : start + clear], expected[:clear])
    assert compared > batch.layout.rows / 4


def test_multi_token_head_equals_qwills(made: Made, seed: int) -> None:
    rng = random.Random(seed)
    examples = [arithmetic.products_with_thinking(rng, False), arithmetic.sums_with_thinking(rng, False)]
    _, entries = in_order(examples, made.tokenizer)
    batch = collate(entries, made.tokenizer)
    model, mtp = made.model, made.ours.model.mtp
    assert mtp is not None
    with torch.no_grad():
        embedded, _ = model.embed(batch)
        hidden, _ = model.hidden(embedded, batch)
        starts = batch.layout.starts.tolist()
        states = [hidden[start:end].numpy() for start, end in itertools.pairwise(starts)]
        for draft in (1, 2):  # the second from the first's own states
            arguments = (embedded.roll(-draft, 0), hidden, batch.positions.roll(-draft, 0))
            with watched_routers(model) as gaps:
                hidden, _ = model.mtp(*arguments, batch.layout, torch.float32)
            for index, (start, entry) in enumerate(zip(starts, entries, strict=False)):
                count = len(entry.ids) - draft
                step = Batch(
                    token_ids=np.array(entry.ids[draft:], np.int32),
                    positions=np.ascontiguousarray(batch.positions[start : start + count].T.numpy().astype(np.int32)),
                    starts=np.array([0, count], np.int32),
                    contexts=np.array([0], np.int32),
                    slots=np.array([0], np.int32),
                    block_tables=np.arange(16, dtype=np.int32)[None],
                    replayed=np.array([0], np.int32),
                    kept=np.array([count], np.int32),
                )
                states[index] = mtp.forward(step, states[index][:count], made.ours.engine._runner._cache)
                clear = before_ties(gaps, start, start + count)
                rows = hidden[start : start + clear]
                assert_same_logits(rows.numpy(), states[index][:clear])
                ours = linear(rows, model.lm_head.weight).numpy()
                assert_same_logits(ours, made.ours.model.text.logits(states[index])[:clear])
    assert 16 * made.ours.engine._runner._cache.keys[-1].shape[2] >= max(len(entry.ids) for entry in entries)


def test_loss_is_the_mean_over_what_the_assistant_says(made: Made, seed: int) -> None:
    _, entries = in_order(drawn(seed)[:3], made.tokenizer)
    batch = collate(entries, made.tokenizer)
    with torch.no_grad():
        loss, logits = made.model.loss(batch, 0), made.model.logits(batch)
    surprises, hits = [], []
    for start, entry in zip(batch.layout.starts.tolist(), entries, strict=False):
        for place, trained in enumerate(entry.trained):
            if trained:
                row = logits[start + place - 1]
                surprises.append(-float(row.softmax(-1)[entry.ids[place]].log()))
                hits.append(int(row.argmax()) == entry.ids[place])
    # float32 sums over some hundred tokens, in another order.
    assert float(loss.next_token) == pytest.approx(float(np.mean(surprises)), rel=1e-5)
    assert float(loss.accuracy) == pytest.approx(float(np.mean(hits)))
    assert torch.isnan(loss.drafts)
    assert torch.isnan(loss.draft_accuracy)


def gradients(model: DemoModel, entries: list[Encoded], tokenizer: Tokenizer) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    model.loss(collate(entries, tokenizer), 3).total.backward()
    result = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in result.values())
    return result


def test_bfloat16_has_about_the_gradients_of_float32(tokenizer: Tokenizer, seed: int) -> None:
    """The compiled kernels run in the one, plain PyTorch in the other.

    All experts are chosen, for one that rounding exchanges for another changes everything before it.
    """
    text = TextShape(tokenizer.get_vocab_size(), num_hidden_layers=4, num_experts=4)
    words = build_model(tokenizer, torch.float32).words
    models = [DemoModel(text, VisionShape(depth=2), words, dtype) for dtype in (torch.float32, torch.bfloat16)]
    randomize(models[0])
    models[1].load_state_dict(models[0].state_dict())
    _, entries = in_order(drawn(seed), tokenizer)
    exact, rounded = (gradients(model, entries, tokenizer) for model in models)
    # Every product's inputs are rounded by up to 2^-8, about a dozen one after the other: 0.06 was measured. What is
    # summed to a few numbers, such as the heads' rates, may cancel.
    for name, gradient in rounded.items():
        most = 0.2 if gradient.numel() > 64 else 0.7
        assert (gradient - exact[name]).norm() < most * exact[name].norm(), name
