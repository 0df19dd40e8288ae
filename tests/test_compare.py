"""Comparing models: figures against definitions written out, states and heads against whole logits, bounded memory."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import TinyCheckpoint, edit_json, save_hf, tiny_config
from gguf_checkpoints import save_gguf

from qwill import LLM
from qwill import compare as module
from qwill.compare import SAMPLE, Comparison, compare, compare_logits, counted_rows, joined
from qwill.errors import InvalidArgument, NotEnoughMemory
from qwill.passages import read_passages

TEXT = "the other and the inner thing, then 12 + 34 = 46; " * 8


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return save_hf(tmp_path_factory.mktemp("compared") / "hf", tiny_config(), seed=3, tokenizer=True)


@pytest.fixture(scope="module")
def quantized(made: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "q8.gguf"
    save_gguf(path, made, types="Q8_0")
    return path


def test_figures_by_their_definitions(rng: np.random.Generator) -> None:
    a = rng.normal(0, 4, (13, 50)).astype(np.float32)
    b = (a + rng.normal(0, 1, a.shape)).astype(np.float32)
    targets = rng.integers(0, 50, 13)
    found = compare_logits(a, b, targets)
    for row in range(13):
        p, q = (softmax(logits[row]) for logits in (a, b))
        wanted = math.fsum(p[token] * math.log(p[token] / q[token]) for token in range(50))
        assert found.divergence[row] == pytest.approx(wanted, rel=1e-9)
        assert found.log_a[row] == pytest.approx(math.log(p[targets[row]]), rel=1e-9)
        assert found.log_b[row] == pytest.approx(math.log(q[targets[row]]), rel=1e-9)
        order_a, order_b = (sorted(range(50), key=lambda token, x=logits[row]: -x[token]) for logits in (a, b))
        assert found.same_top[row] == (order_a[0] == order_b[0])
        assert found.overlap[row] == len(set(order_a[:5]) & set(order_b[:5]))


def softmax(logits: np.ndarray) -> list[float]:
    most = float(logits.max())
    weights = [math.exp(float(logit) - most) for logit in logits]
    return [weight / math.fsum(weights) for weight in weights]


def test_large_logits_do_not_overflow() -> None:
    a = np.array([[1e4, 0, -1e4]] * 2, np.float32)
    b = np.array([[1e4, 1e4, -1e4], [-1e4, 0, 1e4]], np.float32)
    a, b = (np.pad(logits, ((0, 0), (0, 4)), constant_values=-2e4) for logits in (a, b))
    found = compare_logits(a, b, np.array([0, 0]))
    np.testing.assert_allclose(found.divergence, [math.log(2), 2e4])
    assert found.same_top.tolist() == [True, False]


def test_the_summary() -> None:
    divergence = np.arange(101) / 100
    log_a = np.log(np.full(101, 0.5))
    log_b = np.log(np.where(np.arange(101) < 50, 0.25, 0.5))
    half = Comparison(divergence, log_a, log_b, np.arange(101) < 25, np.full(101, 4))
    shown = half.summary()
    assert shown["tokens"] == 101
    spread = shown["divergence"]
    assert (spread["mean"], spread["median"], spread["max"]) == (pytest.approx(0.5), 0.5, 1)
    assert (spread["p90"], spread["p99"]) == (pytest.approx(0.9), pytest.approx(0.99))
    deviation = math.sqrt(math.fsum((x - 0.5) ** 2 for x in divergence) / 100)
    assert spread["mean_error"] == pytest.approx(deviation / math.sqrt(101))
    assert shown["perplexity"]["a"] == pytest.approx(2)
    assert shown["perplexity"]["b"] == pytest.approx(2 * 2 ** (50 / 101))
    assert shown["perplexity"]["ratio"] == pytest.approx(2 ** (50 / 101))
    share = 50 / 101
    error = math.log(2) * math.sqrt(share * (1 - share) / 100)
    assert shown["perplexity"]["ratio_error"] == pytest.approx(2**share * error)
    assert (shown["same_top_token"], shown["top_5_overlap"]) == (pytest.approx(25 / 101), pytest.approx(0.8))
    assert joined([half, half]).summary()["tokens"] == 202


def whole(path: Path, files: list[Path], context: int) -> tuple[list[np.ndarray], list[list[int]]]:
    """Logits of each passage, all of them at once."""
    llm = LLM(str(path), threads=2, kv="f32", max_context=context + 1)
    ids = [request.prompt.token_ids for request in read_passages(llm, files, context)]
    return [llm.forward(each) for each in ids], ids


def test_equals_whole_logits(
    made: TinyCheckpoint, quantized: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each model by itself, its output matrix apart, a few tokens at a time, on two threads."""
    monkeypatch.setattr(module, "LOGITS_TOGETHER", 7 * 288)
    calls: list[tuple[str, int, int]] = []
    found = compare(str(made.folder), str(quantized), [text], 31, threads=2, progress=lambda *call: calls.append(call))
    (a, ids), (b, same) = whole(made.folder, [text], 31), whole(quantized, [text], 31)
    assert ids == same
    rows = slice(31 // 2, 30)
    wanted = [compare_logits(x[rows], y[rows], np.array(each)[16:]) for x, y, each in zip(a, b, ids, strict=True)]
    for name in Comparison.__dataclass_fields__:
        expected = np.concatenate([getattr(part, name) for part in wanted])
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-4, atol=1e-7, err_msg=name)
    assert found.divergence.mean() > 1e-6
    passages = len(ids)
    assert [call for call in calls if call[0] == "A reads"] == [("A reads", n + 1, passages) for n in range(passages)]
    assert [call for call in calls if call[0] == "B reads"] == [("B reads", n + 1, passages) for n in range(passages)]
    assert calls[-1] == ("compared", 15 * passages, 15 * passages)


def test_the_perplexity_is_transformers_own(made: TinyCheckpoint, text: Path) -> None:
    found = compare(str(made.folder), str(made.folder), [text], 64, most=1, threads=1)
    llm = LLM(str(made.folder), threads=1, max_context=65)
    (request,) = read_passages(llm, [text], 64, most=1)
    ids = torch.tensor([request.prompt.token_ids])
    labels = ids.clone()
    labels[0, :33] = -100  # tokens of the first half, and the one that its last token predicts
    with torch.no_grad():
        loss = made.model(input_ids=ids, labels=labels).loss.item()
    shown = found.summary()
    assert shown["perplexity"]["a"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert shown["divergence"]["max"] == pytest.approx(0, abs=1e-12)
    assert shown["perplexity"]["ratio"] == 1
    assert (shown["same_top_token"], shown["top_5_overlap"], shown["tokens"]) == (1, 1, 31)


def test_a_tied_head(tmp_path: Path, text: Path) -> None:
    folder = tmp_path / "tied"
    save_hf(folder, tiny_config(tie_word_embeddings=True), seed=1, tokenizer=True)
    found = compare(str(folder), str(folder), [text], 40, most=1, threads=1)
    ((logits,), (ids,)) = (each[:1] for each in whole(folder, [text], 40))
    expected = compare_logits(logits[20:39], logits[20:39], np.array(ids)[21:])
    np.testing.assert_allclose(found.log_a, expected.log_a, rtol=1e-4)


def test_pictures_are_not_guessed(tmp_path: Path) -> None:
    from PIL import Image

    save_hf(tmp_path / "hf", tiny_config(vision=True), tokenizer=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    llm = LLM(str(tmp_path / "hf"), threads=1, max_context=256)
    (request,) = read_passages(llm, [], 32, [tmp_path / "black.png"])
    (rows,) = request.prompt.media
    counted = counted_rows(request)
    ids = request.prompt.token_ids
    assert len(counted)
    assert counted[-1] == len(ids) - 2
    placeholder = ids[rows.start]
    assert all(ids[row + 1] != placeholder for row in counted)


def test_another_vocabulary(made: TinyCheckpoint, tmp_path: Path, text: Path) -> None:
    save_hf(tmp_path / "other", tiny_config(vocab_size=304), tokenizer=True)
    with pytest.raises(
        InvalidArgument, match=r"hf and other have vocabularies of 288 and 304 tokens; compare files of"
    ):
        compare(str(made.folder), str(tmp_path / "other"), [text], 32, threads=1)


def test_another_tokenizer(made: TinyCheckpoint, tmp_path: Path, text: Path) -> None:
    save_hf(tmp_path / "other", tiny_config(), tokenizer=True)
    edit_json(tmp_path / "other" / "tokenizer.json", normalizer=None)  # instead of NFC
    text.write_text("cafe\u0301 " * 20)
    with pytest.raises(InvalidArgument, match="hf and other have tokenizers or templates that make other tokens"):
        compare(str(made.folder), str(tmp_path / "other"), [text], 32, threads=1)


def test_too_short(made: TinyCheckpoint, text: Path) -> None:
    text.write_text("the and the")
    assert len(compare(str(made.folder), str(made.folder), [text], 32, threads=1).divergence) == 1
    text.write_text("the and")
    with pytest.raises(InvalidArgument, match="the text is too short"):
        compare(str(made.folder), str(made.folder), [text], 32, threads=1)


def test_no_room_for_one_of_them(made: TinyCheckpoint, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwill.options.available_memory", lambda: 1000)
    with pytest.raises(NotEnoughMemory, match=r"hf: needs .* GB are free; take"):
        compare(str(made.folder), str(made.folder), [text], 32, threads=1)


def test_nothing_is_left_behind(
    made: TinyCheckpoint, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    def interrupt(what: str, _done: int, _total: int) -> None:
        if what == "B reads":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(str(made.folder), str(made.folder), [text], 32, threads=1, progress=interrupt)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_sample_has_many_kinds_of_text() -> None:
    sample = SAMPLE.read_text("utf-8")
    assert 6_000 < len(sample) < 12_000
    assert sum(ord(character) > 0x2FF for character in sample) > 300
