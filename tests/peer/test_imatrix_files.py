"""Importance: ours against llama-imatrix's on the same file and text, and files that llama-quantize takes."""

from pathlib import Path

import gguf
import numpy as np
import peer
import pytest
from conftest import Converted

from qwill.convert.importance_file import read_importance, write_importance
from qwill.importance import gather, observed
from qwill.passages import read_passages
from qwill.quant.importance import Importance

pytestmark = pytest.mark.peer
CONTEXT = 64
CHUNKS = 4
WORDS = ("the", "and", "in", "other", "inner", "Zahl", "42", "x = y;", "(and)", "\n", "né")


@pytest.fixture
def text(tmp_path: Path, rng: np.random.Generator) -> Path:
    (tmp_path / "text.txt").write_text(" ".join(rng.choice(WORDS, 400)))
    return tmp_path / "text.txt"


def ours(model: Path, text: Path) -> Importance:
    llm, observer = observed(str(model), 2, max_context=CONTEXT + 1)
    passages = read_passages(llm, [text], CONTEXT, most=CHUNKS)
    return gather(llm, observer, passages, CONTEXT, [text.name])


def theirs(model: Path, text: Path, *options: str) -> Importance:
    if not peer.program("llama-imatrix").is_file():
        pytest.skip("llama-imatrix is not among the programs in QWILL_LLAMA_BIN")
    out = text.with_name("theirs.gguf")
    peer.run(
        peer.program("llama-imatrix"), "-m", model, "-f", text, "-o", out, "-c", str(CONTEXT), "-b", str(CONTEXT),
        "--chunks", str(CHUNKS), "-ctk", "f32", "-ctv", "f32", "-fa", "off", "--process-output", "--no-ppl", *options,
    )  # fmt: skip
    return read_importance(out)


def test_the_same_as_llama_imatrix(member: Converted, text: Path) -> None:
    """Dense tensors to float32's rounding over four layers; experts where tokens went to the same ones."""
    model = member.files["f32"]
    own, other = ours(model, text), theirs(model, text)
    assert (other.chunk_size, other.chunk_count) == (own.chunk_size, own.chunk_count) == (CONTEXT, CHUNKS)
    rows = {name for name in other.statistics if name.endswith("ffn_gate_inp_shexp.weight")}  # vectors for us
    beyond = own.statistics.keys() - other.statistics.keys()
    assert other.statistics.keys() - rows <= own.statistics.keys()
    # A draft head, which llama-imatrix does not run, and an output matrix that is the embedding.
    assert all(name.startswith("blk.4.") or name == "token_embd.weight" for name in beyond)
    same = total = 0
    for name in other.statistics.keys() - rows:
        a, b = own.statistics[name], other.statistics[name]
        assert a.sums.shape == b.sums.shape, name
        alike = a.counts == b.counts
        same, total = same + int(alike.sum()), total + len(alike)
        np.testing.assert_allclose(a.sums[alike], b.sums[alike], rtol=0.02, atol=2e-3 * b.sums.max(), err_msg=name)
    assert same >= 0.9 * total


def quantized(model: Path, importance: Path, kind: str) -> dict[str, np.ndarray]:
    out = peer.quantize(model, importance.with_suffix(f".{kind}.gguf"), kind, "--imatrix", importance)
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(out).tensors}


def test_llama_quantize_takes_ours(member: Converted, text: Path) -> None:
    """Types that cannot be made without the importance of every matrix."""
    model, path = member.files["f32"], text.with_name("ours.gguf")
    importance = ours(model, text)
    write_importance(path, importance)
    seen = all((found.counts > 0).all() for found in importance.statistics.values())
    made = quantized(model, path, "IQ2_XS")
    assert made.keys() == {tensor.name for tensor in gguf.GGUFReader(model).tensors}
    if seen:
        doubled = {name: type(found)(found.sums * 2, found.counts * 2) for name, found in importance.statistics.items()}
        write_importance(path, Importance(doubled), overwrite=True)
        again = quantized(model, path, "IQ2_XS")
        assert all(np.array_equal(again[name], data) for name, data in made.items())


def test_what_llama_wrote_survives_us(converted: dict[str, Converted], text: Path) -> None:
    """Read and written again, in either format, it makes the same file."""
    model = converted["experts, V = 2 K"].files["f32"]
    theirs(model, text)
    expected = quantized(model, text.with_name("theirs.gguf"), "Q2_K")
    write_importance(text.with_name("again.gguf"), read_importance(text.with_name("theirs.gguf")))
    got = quantized(model, text.with_name("again.gguf"), "Q2_K")
    assert got.keys() == expected.keys()
    for name, data in expected.items():
        np.testing.assert_array_equal(got[name], data, err_msg=name)


def test_llamas_older_format(converted: dict[str, Converted], text: Path) -> None:
    model = converted["V = 2 K"].files["f32"]
    newer = theirs(model, text)
    older = theirs(model, text, "--output-format", "dat")
    assert older.datasets[0].endswith("text.txt")
    assert older.statistics.keys() == newer.statistics.keys()
    for name, found in newer.statistics.items():
        columns = found.sums.shape[1]
        np.testing.assert_allclose(older.mean_squares(name, columns), newer.mean_squares(name, columns), rtol=1e-5)
