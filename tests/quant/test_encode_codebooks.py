"""Encoders of the codebook types (IQ1, IQ2 and IQ3), against exhaustive searches of the `gguf` package's codebooks."""

import secrets
from dataclasses import dataclass

import gguf
import numpy as np
import pytest
from qwill._native import available_isas

from qwill.quant.codecs import decode, encode
from qwill.quant.types import TYPES


def codewords(name: str, dimensions: int) -> np.ndarray:
    """float64 [codewords, dimensions], as the package has them."""
    quants = getattr(gguf.quants, name)
    quants.init_grid()
    words: np.ndarray = quants.grid.reshape(-1, dimensions).astype(np.float64)
    return words


@dataclass(frozen=True)
class Codebook:
    """A type of magnitudes and signs: `group` values share a scale, `dimensions` of them a codeword.

    `even`: seven bits hold the signs of eight values. `step` times a half times an odd number up to 31 is a scale.
    `llama` is llama.cpp's squared error on normal values of equal importance, as a share of their squares.
    """

    name: str
    group: int
    dimensions: int
    even: bool
    step: float
    llama: float

    def words(self) -> np.ndarray:
        """float64 [codewords, dimensions], all positive."""
        return codewords(self.name, self.dimensions)


CODEBOOKS = [
    Codebook("IQ2_XXS", 32, 8, True, 0.125, 0.1178),
    Codebook("IQ2_XS", 16, 8, True, 0.125, 0.0897),
    Codebook("IQ2_S", 16, 8, False, 0.125, 0.0620),
    Codebook("IQ3_XXS", 32, 4, True, 0.25, 0.0329),
    Codebook("IQ3_S", 32, 4, False, 1.0, 0.0188),
]
every_book = pytest.mark.parametrize("book", CODEBOOKS, ids=lambda book: book.name)


@pytest.fixture
def rng() -> np.random.Generator:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def there_and_back(
    book: Codebook, values: np.ndarray, importance: np.ndarray | None = None, isa: str = ""
) -> np.ndarray:
    return decode(TYPES[book.name], encode(TYPES[book.name], values, importance, isa=isa), values.shape)


def relative_error(values: np.ndarray, back: np.ndarray, weights: np.ndarray | float = 1.0) -> float:
    return float(
        (weights * (back.astype(np.float64) - values) ** 2).sum() / (weights * values.astype(np.float64) ** 2).sum()
    )


def least_errors(values: np.ndarray, scales: np.ndarray, book: Codebook) -> np.ndarray:
    """The least squared error of every eight [n, 8] under its scale [n], over all codewords and storable signs."""
    words = book.words() * scales[:, None, None]  # [n, codewords, dimensions]
    parts = values.reshape(len(values), -1, 1, book.dimensions)
    right = (np.abs(parts) - words[:, None]) ** 2  # [n, parts, codewords, dimensions]
    best = right.sum(axis=3).min(axis=2)  # [n, parts]
    if not book.even:
        return best.sum(axis=1)
    flipped = (np.abs(parts) + words[:, None]) ** 2 - right
    best_flipped = (right.sum(axis=3) + flipped.min(axis=3)).min(axis=2)
    odd = (values < 0).sum(axis=1) % 2 == 1
    with_one_wrong = (best.sum(axis=1, keepdims=True) - best + best_flipped).min(axis=1)
    return np.where(odd, with_one_wrong, best.sum(axis=1))


@every_book
def test_no_codeword_is_better(book: Codebook, rng: np.random.Generator) -> None:
    """Under the scales that were stored, an exhaustive search of the codebook gains next to nothing."""
    values = (rng.standard_t(4, (3, 512)) * 0.05).astype(np.float32)
    back = there_and_back(book, values)
    # A group's scale: what its smallest decoded magnitude and the others are whole multiples of.
    levels = np.unique(book.words())
    groups = np.abs(back).reshape(-1, book.group).astype(np.float64)
    candidates = groups[:, :1] / levels  # the first value is one of the levels times the scale
    quotients = groups[:, None] / candidates[:, :, None]
    misses = np.abs(quotients[..., None] - levels).min(axis=3).max(axis=2)
    assert misses.min(axis=1).max() < 1e-3
    scales = np.take_along_axis(candidates, misses.argmin(axis=1)[:, None], axis=1)
    eights = values.reshape(-1, 8).astype(np.float64)
    least = least_errors(eights, np.repeat(scales[:, 0], book.group // 8), book)
    ours = ((back.reshape(-1, 8) - eights) ** 2).sum(axis=1)
    assert (ours >= least * (1 - 1e-4)).all()
    # The search passes over what gains little; IQ3_XXS chooses which four takes the wrong sign before its codewords.
    assert ours.sum() < {"IQ3_S": 1.02, "IQ3_XXS": 1.04}.get(book.name, 1.003) * least.sum()


@every_book
def test_no_worse_than_llama_cpp(book: Codebook, rng: np.random.Generator) -> None:
    values = rng.standard_normal((64, 1024)).astype(np.float32)
    error = relative_error(values, there_and_back(book, values))
    assert 0.8 * book.llama < error < 0.97 * book.llama


@every_book
@pytest.mark.parametrize("isa", available_isas())
def test_same_bytes_everywhere(book: Codebook, isa: str, rng: np.random.Generator) -> None:
    """Ordinary values, outliers, few that are not zero, equal magnitudes, and sizes at both ends of a half."""
    values = np.concatenate(
        [
            rng.standard_normal((4, 512)),
            rng.standard_t(2, (4, 512)),
            rng.standard_normal((4, 512)) * (rng.random((4, 512)) < 0.03),
            rng.integers(-2, 3, (4, 512)),
            rng.standard_normal((4, 512)) * 10.0 ** rng.integers(-9, 7, (4, 1)),
            rng.standard_normal((2, 512)) * 10.0 ** rng.integers(-38, 37, (2, 512)),
        ]
    ).astype(np.float32)
    importance = rng.gamma(0.3, 1, 512).astype(np.float32)
    expected = encode(TYPES[book.name], values, importance)
    np.testing.assert_array_equal(encode(TYPES[book.name], values, importance, isa=isa), expected)


@every_book
def test_signs(book: Codebook, rng: np.random.Generator) -> None:
    """All right, but for one of eight where seven bits cannot hold them; and then one that costs little."""
    values = rng.standard_normal((16, 512)).astype(np.float32)
    back = there_and_back(book, values)
    wrong = (np.signbit(back) != np.signbit(values)).reshape(-1, 8)
    if not book.even:
        assert not wrong.any()
        return
    odd = np.signbit(values).reshape(-1, 8).sum(axis=1) % 2
    np.testing.assert_array_equal(wrong.sum(axis=1), odd)
    magnitudes = np.abs(values).reshape(-1, 8)
    assert (magnitudes * wrong).sum() < 2.5 * (magnitudes.min(axis=1) * odd).sum()


@every_book
def test_negated_and_scaled(book: Codebook, rng: np.random.Generator) -> None:
    """Negating all values negates what comes back; a power of two goes into the block's scale."""
    values = rng.standard_normal((4, 768)).astype(np.float32)
    back = there_and_back(book, values)
    np.testing.assert_array_equal(there_and_back(book, -values), -back)
    np.testing.assert_array_equal(there_and_back(book, values * np.float32(2**-4)), back * np.float32(2**-4))


@every_book
def test_importance(book: Codebook, rng: np.random.Generator) -> None:
    """The more of the importance a few columns hold, the nearer they come out."""
    values = rng.standard_normal((32, 512)).astype(np.float32)
    chosen = rng.permutation(512)[:100]
    errors = []
    for factor in (1.0, 4.0, 16.0):
        importance = np.ones(512, np.float32)
        importance[chosen] = factor
        back = there_and_back(book, values, importance)
        errors.append(relative_error(values[:, chosen], back[:, chosen]))
    assert errors[0] > 1.1 * errors[1] > 1.2 * errors[2]


@every_book
def test_zero_blocks_and_groups(book: Codebook, rng: np.random.Generator) -> None:
    """A block of zeros stays one beside others. A group of zeros has no zero to store and gets the smallest scale."""
    values = rng.standard_normal((8, 768)).astype(np.float32)
    values[:, 256:512] = 0
    values[:, 32:64] = 0
    back = there_and_back(book, values)
    assert not back[:, 256:512].any()
    assert back[:, :256].any(axis=1).all()
    assert np.abs(back[:, 32:64]).max() < 0.06 * np.abs(back[:, :256]).max()


@every_book
def test_small_and_large(book: Codebook, rng: np.random.Generator) -> None:
    """Small and large values come out as well as others; too large ones stop at the largest that there is."""
    shape = rng.standard_normal((16, 256)).astype(np.float32)
    ordinary = relative_error(shape, there_and_back(book, shape))
    for size in (1e5, 1e-2, 1e-4):
        values = shape * np.float32(size)
        assert relative_error(values, there_and_back(book, values)) < 1.1 * ordinary
    back = there_and_back(book, np.full((1, 256), 3e38, np.float32)).astype(np.float64)
    largest_word = 65504 * 31 * book.step * book.words().sum(axis=1).max()
    np.testing.assert_allclose(back.reshape(-1, book.dimensions).sum(axis=1), largest_word, rtol=1e-6)
    assert not there_and_back(book, shape * np.float32(1e-12)).any()


# As `Codebook.llama`; both types have the codebook that the package calls IQ1_S.
TERNARY = {"IQ1_S": 0.2346, "IQ1_M": 0.2027}


def least_ternary_errors(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The least squared error of every eight [n, 8] under its scale [n]: both shifts, all codewords. float64 [n, 2]."""
    words = codewords("IQ1_S", 8)
    errors = []
    for shift in (0.125, -0.125):
        shifted = words + shift
        cross = values @ shifted.T  # the square apart, to have a product of matrices
        energy = (shifted**2).sum(axis=1)
        error = -2 * scales[:, None] * cross + scales[:, None] ** 2 * energy
        errors.append(error.min(axis=1) + (values**2).sum(axis=1))
    return np.stack(errors, axis=1)


@pytest.mark.parametrize("name", TERNARY)
def test_no_ternary_codeword_is_better(name: str, rng: np.random.Generator) -> None:
    """Under the scales that were stored. IQ1_S has one shift for 32 values, IQ1_M one for eight."""
    values = (rng.standard_t(4, (8, 512)) * 0.05).astype(np.float32)
    back = decode(TYPES[name], encode(TYPES[name], values), values.shape).astype(np.float64)
    # Decoded magnitudes are 1/8, 7/8 and 9/8 of the group's scale.
    levels = np.array([0.125, 0.875, 1.125])
    groups = np.abs(back).reshape(-1, 32 if name == "IQ1_S" else 16)
    candidates = groups[:, :1] / levels
    misses = np.abs((groups[:, None] / candidates[:, :, None])[..., None] - levels).min(axis=3).max(axis=2)
    assert misses.min(axis=1).max() < 1e-3
    scales = np.take_along_axis(candidates, misses.argmin(axis=1)[:, None], axis=1)
    scales = np.repeat(scales[:, 0], groups.shape[1] // 8)
    eights = values.reshape(-1, 8).astype(np.float64)
    least = least_ternary_errors(eights, scales)
    least = least.reshape(-1, 4, 2).sum(axis=1).min(axis=1) if name == "IQ1_S" else least.min(axis=1)
    ours = ((back.reshape(-1, 8) - eights) ** 2).sum()
    assert ours >= least.sum() * (1 - 1e-6)
    assert ours < 1.02 * least.sum()


@pytest.mark.parametrize("name", TERNARY)
def test_ternary_types_no_worse_than_llama_cpp(name: str, rng: np.random.Generator) -> None:
    values = rng.standard_normal((64, 1024)).astype(np.float32)
    error = relative_error(values, decode(TYPES[name], encode(TYPES[name], values), values.shape))
    assert 0.7 * TERNARY[name] < error < 0.9 * TERNARY[name]
