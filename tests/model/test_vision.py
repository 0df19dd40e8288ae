"""Images and videos through template, tokens, positions and tower, against transformers."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from checkpoints import tiny_config, token_id
from harness import BACKENDS, Ours, assert_same_logits, make, reference_logits
from PIL import Image

from qwill.engine.request import Prompt
from qwill.prompt import PromptBuilder
from qwill.text.tokenizer import Tokenizer


def noise(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def write_video(path: Path, rng: np.random.Generator, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        for _ in range(frames):
            picture = np.kron(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def media_arguments(prompt: Prompt, kind: str) -> dict[str, torch.Tensor]:
    """What transformers' forward takes for the media of a prompt."""
    patches = list({id(rows.patches): rows.patches for rows in prompt.media}.values())
    pixels = torch.tensor(np.concatenate([each.pixels for each in patches]))
    grids = torch.tensor([each.grid for each in patches])
    pad = token_id(f"<|{kind}_pad|>")
    types = torch.tensor([[(1 if kind == "image" else 2) * (token == pad) for token in prompt.token_ids]])
    names = ("pixel_values", "image_grid_thw") if kind == "image" else ("pixel_values_videos", "video_grid_thw")
    return {names[0]: pixels, names[1]: grids, "mm_token_type_ids": types}


def ask(folder: Path, backend: str, content: list[dict], chunk: int = 512) -> tuple[Ours, Prompt]:
    ours = Ours(folder, backend, chunk)
    tokenizer = Tokenizer.from_file(folder / "tokenizer.json")
    builder = PromptBuilder(ours.checkpoint, tokenizer, has_vision=True)
    prompt = builder.conversation([{"role": "user", "content": content}], None, thinking=True).prompt
    return ours, prompt


@pytest.mark.parametrize("moe", [False, True])
def test_two_images_with_text_between(moe: bool, tmp_path: Path) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    rng = np.random.default_rng(seed)
    made = make(tmp_path, tiny_config(moe=moe, vision=True), seed=seed % 2**31, tokenizer=True)
    content = [
        {"type": "text", "text": "Compare "},
        {"type": "image", "image": noise(rng, 256, 320)},
        {"type": "text", "text": " and then the wide one: "},
        {"type": "image", "image": noise(rng, 192, 512)},
        {"type": "text", "text": "?"},
    ]
    expected = None
    for backend in BACKENDS:
        ours, prompt = ask(made.folder, backend, content)
        if expected is None:
            expected = reference_logits(made.model, prompt, **media_arguments(prompt, "image"))
            assert sum(rows.length for rows in prompt.media) == 80 + 96
        assert_same_logits(ours.logits(prompt), expected)
    # Pictures cut by the pieces in which a prompt is read.
    pieces, prompt = ask(made.folder, BACKENDS[-1], content, chunk=23)
    assert_same_logits(pieces.logits(prompt), expected)
    # What follows: positions go on after the picture's longer side.
    generated = made.model.generate(
        torch.tensor([prompt.token_ids]),
        max_new_tokens=16,
        do_sample=False,
        eos_token_id=None,
        **media_arguments(prompt, "image"),
    )
    assert pieces.greedy(prompt, 16) == generated[0, len(prompt.token_ids) :].tolist()


def test_video(tmp_path: Path) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    rng = np.random.default_rng(seed)
    made = make(tmp_path, tiny_config(vision=True), seed=seed % 2**31, tokenizer=True)
    write_video(tmp_path / "clip.mp4", rng, frames=13)
    content = [
        {"type": "video", "video": str(tmp_path / "clip.mp4")},
        {"type": "text", "text": "What happens?"},
    ]
    expected = None
    for backend in BACKENDS:
        ours, prompt = ask(made.folder, backend, content)
        if expected is None:
            assert len(prompt.media) > 1
            expected = reference_logits(made.model, prompt, **media_arguments(prompt, "video"))
        assert_same_logits(ours.logits(prompt), expected)
