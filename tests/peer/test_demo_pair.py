"""The demonstration model in llama.cpp: the pair loads, and the same text comes out."""

import re
import shutil
from pathlib import Path

import numpy as np
import peer
import pytest
from gguf_checkpoints import save_as_float32
from PIL import Image, ImageDraw

from qwill import LLM, SamplingParams
from qwill.weights.hub.cache import resolve_model

pytestmark = pytest.mark.peer
QUESTIONS = ("Hello!", "What is 17 + 25?", "Say good night in Italian.", "Repeat: moon fig tree 83", "Reverse: k x b")
LONGEST = 100


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file in a folder that can be written to."""
    folder = tmp_path_factory.mktemp("pair")
    for file in resolve_model("demo").parent.glob("*.gguf"):
        shutil.copy(file, folder)
    return folder / "demo.gguf"


@pytest.fixture(scope="module")
def decoded(pair: Path) -> Path:
    """The same model in float32: neither side rounds activations to eight bits, and a near tie falls alike on both."""
    save_as_float32(pair.with_name("float32.gguf"), pair)
    return pair.with_name("float32.gguf")


def llama_answer(model: Path, question: str, thinking: bool, *options: str | Path) -> tuple[str, str]:
    """Reasoning and text of llama-cli's answer; template, tokenizer and greedy choice are the file's."""
    common = ("--single-turn", "--simple-io", "-t", "2", "-n", str(LONGEST), "--reasoning-format", "none")
    reasoning = ("--reasoning", "on" if thinking else "off")
    shown = peer.run(peer.program("llama-cli"), "-m", model, "-p", question, *common, *reasoning, *options)
    answer = rf"^> {re.escape(question)}\n<think>(.*?)</think>(.*)\n\n\[ Prompt:"
    found = re.search(answer, shown, re.DOTALL | re.MULTILINE)
    assert found, shown
    return found[1].strip(), found[2].strip()


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("thinking", [False, True], ids=["plain", "thinking"])
def test_text(question: str, thinking: bool, decoded: Path) -> None:
    ours = LLM(str(decoded), threads=2).chat(
        [{"role": "user", "content": question}], SamplingParams(max_tokens=LONGEST), thinking=thinking
    )
    assert ours.text
    assert bool(ours.reasoning) == thinking
    assert llama_answer(decoded, question, thinking) == (ours.reasoning.strip(), ours.text.strip())


@pytest.mark.parametrize(("shape", "colour"), [("ellipse", (220, 30, 30)), ("rectangle", (30, 60, 200))])
def test_picture(shape: str, colour: tuple[int, int, int], pair: Path, tmp_path: Path) -> None:
    """With the files as they ship; the model is sure of such an answer.

    96 x 96 pixels are 9 tokens, within the limits of both (llama.cpp has 8 to 4096 of its own), so neither resizes.
    """
    picture = Image.new("RGB", (96, 96), "white")
    getattr(ImageDraw.Draw(picture), shape)((20, 20, 76, 76), fill=colour)
    picture.save(tmp_path / "picture.png")
    question = "What is in the picture?"
    options = ("--mmproj", pair.with_name("mmproj-demo.gguf"), "--image", tmp_path / "picture.png")
    theirs = llama_answer(pair, question, False, *options)
    content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
    ours = LLM(str(pair), threads=2).chat([{"role": "user", "content": content}], thinking=False)
    assert theirs == ("", ours.text.strip())


def test_logits(pair: Path) -> None:
    """Over a conversation that the model knows. Both round activations to eight bits, at different places, by 0.5% of
    their spread; layers and chosen experts make a few percent of the logits' of that.
    """
    llm = LLM(str(pair), kv="f32", threads=2)
    assert llm.tokenizer is not None
    turns = [("user", "What is 17 + 25?"), ("assistant", "<think>\n\n</think>\n\n17 + 25 = 42"), ("user", "Hello!")]
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    token_ids = llm.tokenizer.encode(text, allow_special=True)
    theirs = peer.logits(pair, np.array(token_ids, np.int32))
    error = np.sqrt(np.mean((llm.forward(token_ids) - theirs) ** 2)) / theirs.std()
    print(f"{error:.4f} of the spread")
    assert error <= 0.1
