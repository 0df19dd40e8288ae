"""The paged attention kernel against float64 attention over its own pages, and against the NumPy reference."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from kernels import EPSILON, ISAS, cpu_of, normal, random_starts

from qwill.ops.attention import native, reference

EPS = 1e-6


@dataclass(frozen=True)
class Case:
    """One call's inputs; `rows` are q_gate, k, v, cos, sin by token."""

    rows: tuple[np.ndarray, ...]
    norms: tuple[np.ndarray, np.ndarray]
    k_pages: np.ndarray
    v_pages: np.ndarray
    block_tables: np.ndarray
    starts: np.ndarray
    contexts: np.ndarray
    heads: int

    def run(self, function: Any, *cpu: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The outputs and the pages after the call; the case itself is left as it was."""
        k_pages, v_pages = self.k_pages.copy(), self.v_pages.copy()
        q_gate, k, v, cos, sin = self.rows
        out = function(
            *cpu, q_gate, k, v, *self.norms, EPS, cos, sin, k_pages, v_pages,
            self.block_tables, self.starts, self.contexts, self.heads,
        )  # fmt: skip
        return out, k_pages, v_pages


def make_case(
    rng: np.random.Generator, counts: list[int], contexts: list[int], heads: tuple[int, int], dim: int, rotary: int,
    page: int, dtype: type,
) -> Case:  # fmt: skip
    """Sequences of `counts` new tokens after `contexts` cached ones. Page rows that hold no key are NaN."""
    (query_heads, kv_heads), tokens = heads, sum(counts)
    used = [-(-(count + context) // page) for count, context in zip(counts, contexts, strict=True)]
    pages = sum(used) + 3
    free = rng.permutation(pages).astype(np.int32)
    block_tables = np.full((len(counts), max(used) + 1), -1, np.int32)
    if dtype is np.uint8:  # blocks whose scale is a NaN
        k_pages, v_pages = (np.full((pages, kv_heads, page, dim // 32 * 34), 255, dtype) for _ in range(2))
    else:
        k_pages, v_pages = (np.full((pages, kv_heads, page, dim), np.nan, dtype) for _ in range(2))
    for sequence, context in enumerate(contexts):
        table, free = free[: used[sequence]], free[used[sequence] :]
        block_tables[sequence, : len(table)] = table
        positions = np.arange(context)
        for pool in (k_pages, v_pages):
            rows = reference.encode_rows(normal(rng, context, kv_heads, dim), np.dtype(dtype))
            pool[table[positions // page], :, positions % page] = rows
    angles = rng.uniform(0, 6.3, (tokens, rotary // 2))
    return Case(
        rows=(
            normal(rng, tokens, query_heads * 2 * dim),
            normal(rng, tokens, kv_heads * dim), normal(rng, tokens, kv_heads * dim),
            np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32),
        ),
        norms=(1 + normal(rng, dim) / 4, 1 + normal(rng, dim) / 4),
        k_pages=k_pages, v_pages=v_pages, block_tables=block_tables,
        starts=np.cumsum([0, *counts]).astype(np.int32), contexts=np.array(contexts, np.int32), heads=query_heads,
    )  # fmt: skip


def exact(case: Case, k_pages: np.ndarray, v_pages: np.ndarray) -> np.ndarray:
    """Attention in float64 over the keys and values that lie in the pages after the step, one query at a time."""
    q_gate, _, _, cos, sin = (x.astype(np.float64) for x in case.rows)
    _, kv_heads, page, _ = k_pages.shape
    dim = len(case.norms[0])
    half, out = cos.shape[1], np.empty((len(q_gate), case.heads, dim))
    for sequence, context in enumerate(case.contexts):
        for t in range(*case.starts[sequence : sequence + 2]):
            positions = np.arange(context + t - case.starts[sequence] + 1)
            table = case.block_tables[sequence, positions // page]
            for head in range(case.heads):
                kv_head = head // (case.heads // kv_heads)
                keys, values = (
                    reference.decode_rows(x[table, kv_head, positions % page]).astype(np.float64)
                    for x in (k_pages, v_pages)
                )
                q, gate = q_gate[t].reshape(case.heads, 2, dim)[head]
                q = q / np.sqrt((q**2).mean() + EPS) * case.norms[0]
                pairs = (q[:half] + 1j * q[half : 2 * half]) * (cos[t] + 1j * sin[t])
                q = np.concatenate([pairs.real, pairs.imag, q[2 * half :]])
                scores = keys @ q / np.sqrt(dim)
                weights = np.exp(scores - scores.max())
                out[t, head] = weights @ values / weights.sum() / (1 + np.exp(-gate))
    return out.reshape(len(out), -1)


# A score is a sum of dim / 16 products in each of sixteen lanes: at most some 20 roundings of terms that together stay
# below |q| |k| / sqrt(dim), about 4 to 16 here. An error d of the scores moves the result, an average of values up to
# about 5, by 5 d.
TOLERANCE = 5 * 16 * 20 * EPSILON

# counts, contexts, heads, dim, rotary, page, dtype
CASES: list[Any] = [
    ([1], [0], (1, 1), 16, 2, 16, np.float32),
    ([1, 19, 1], [33, 0, 5], (4, 2), 32, 8, 16, np.float16),
    ([5, 40], [16, 7], (8, 1), 48, 48, 32, np.float32),
    ([3, 1, 1], [515, 1100, 511], (2, 2), 64, 16, 48, np.float16),
    ([70], [580], (6, 2), 16, 4, 80, np.float32),
    ([1, 2], [100, 64], (8, 2), 256, 64, 64, np.float16),
    ([9], [130], (8, 1), 32, 0, 128, np.float16),
    ([1, 19, 1], [33, 0, 5], (4, 2), 32, 8, 16, np.uint8),
    ([3, 1, 30], [515, 1100, 0], (8, 2), 256, 64, 32, np.uint8),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("arguments", CASES)
@pytest.mark.usefixtures("poisoned_memory")
def test_equals_exact_attention(isa: str, arguments: tuple[Any, ...], rng: np.random.Generator) -> None:
    case = make_case(rng, *arguments)
    out, k_pages, v_pages = case.run(native.attention, cpu_of(isa))
    np.testing.assert_allclose(out, exact(case, k_pages, v_pages), atol=TOLERANCE, rtol=0)
    reference_out, reference_k, reference_v = case.run(reference.attention)
    np.testing.assert_array_equal(v_pages, reference_v)
    if arguments[-1] is np.uint8:
        # A key on the border between two codes may round either way: by a step, its block's greatest magnitude / 127.
        keys, reference_keys = reference.decode_rows(k_pages), reference.decode_rows(reference_k)
        np.testing.assert_allclose(keys, reference_keys, atol=1.001 * np.nanmax(np.abs(reference_keys)) / 127, rtol=0)
        if np.array_equal(k_pages, reference_k):
            np.testing.assert_allclose(out, reference_out, atol=2 * TOLERANCE, rtol=0)
        return
    # A key on the border between two halves may round either way.
    half = arguments[-1] is np.float16
    np.testing.assert_allclose(k_pages, reference_k, rtol=2**-10 if half else 32 * EPSILON, atol=1e-6)
    # A rounded key moves a score by 2^-11 |q| |k| / dim, which is below 2^-11.
    np.testing.assert_allclose(out, reference_out, atol=2 * TOLERANCE + (5 * 2**-11 if half else 0), rtol=0)


def advance(case: Case, begin: int, end: int, k_pages: np.ndarray, v_pages: np.ndarray) -> Case:
    """Tokens begin:end of a case of one sequence, over the pages as they are by then."""
    return replace(
        case, rows=tuple(x[begin:end] for x in case.rows), k_pages=k_pages, v_pages=v_pages,
        starts=np.array([0, end - begin], np.int32), contexts=case.contexts + np.int32(begin),
    )  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("heads", [(2, 2), (6, 2), (8, 1)])
def test_chunks_and_threads_give_the_same_bits(
    isa: str, dtype: type, heads: tuple[int, int], rng: np.random.Generator
) -> None:
    """Tokens that end inside and beyond the second span of keys; many tokens on one thread, one token over several."""
    tokens = 60
    whole = make_case(rng, [tokens], [990], heads, 32, 16, 32, dtype)
    expected = whole.run(native.attention, cpu_of(isa, 1))
    for cuts in ([], [1], [31, 34], sorted(rng.choice(np.arange(1, tokens), 6, replace=False)), list(range(1, tokens))):
        bounds, outs, pages = [0, *cuts, tokens], [], (whole.k_pages, whole.v_pages)
        for begin, end in pairwise(bounds):
            out, *pages = advance(whole, begin, end, *pages).run(native.attention, cpu_of(isa, 3))
            outs.append(out)
        for result, wanted in zip((np.concatenate(outs), *pages), expected, strict=True):
            np.testing.assert_array_equal(result, wanted)


def test_a_sequence_does_not_depend_on_the_others(rng: np.random.Generator) -> None:
    counts, contexts = [1, 90, 1, 17], [1030, 0, 3, 500]
    case = make_case(rng, counts, contexts, (4, 2), 32, 8, 16, np.float16)
    out, k_pages, _ = case.run(native.attention, cpu_of(ISAS[-1]))
    for sequence, (first, last) in enumerate(pairwise(case.starts)):
        alone = replace(
            case, rows=tuple(x[first:last] for x in case.rows), starts=np.array([0, last - first], np.int32),
            contexts=case.contexts[sequence : sequence + 1], block_tables=case.block_tables[sequence : sequence + 1],
        )  # fmt: skip
        lone_out, lone_k, _ = alone.run(native.attention, cpu_of(ISAS[-1], 4))
        np.testing.assert_array_equal(lone_out, out[first:last])
        pages = alone.block_tables[alone.block_tables >= 0]
        np.testing.assert_array_equal(lone_k[pages], k_pages[pages])


@pytest.mark.parametrize("isa", ISAS)
def test_scores_far_apart(isa: str, rng: np.random.Generator) -> None:
    """Norm weights that make scores of some hundreds: one key takes all, others underflow."""
    case = make_case(rng, [12], [150], (2, 1), 16, 4, 16, np.float32)
    case = replace(case, norms=(case.norms[0] * 40, case.norms[1] * 40))
    out, k_pages, v_pages = case.run(native.attention, cpu_of(isa))
    expected = exact(case, k_pages, v_pages)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, expected, atol=TOLERANCE * 400, rtol=0)  # scores are 40 * 40 / 4 times as large


def test_instruction_sets_with_fused_products_agree_to_the_bit(rng: np.random.Generator) -> None:
    fused = [isa for isa in ISAS if isa != "scalar"]
    if len(fused) < 2:
        pytest.skip("fewer than two such instruction sets here")
    case = make_case(rng, [3, 1, 50], [700, 20, 0], (8, 2), 64, 16, 32, np.float16)
    first, *others = (case.run(native.attention, cpu_of(isa)) for isa in fused)
    for other in others:
        for x, y in zip(first, other, strict=True):
            np.testing.assert_array_equal(x, y)


def test_arguments_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    case, cpu = make_case(rng, [4, 1], [20, 0], (4, 2), 32, 8, 16, np.float32), cpu_of(ISAS[-1])
    unknown_page = case.block_tables.copy()
    unknown_page[0, 1] = len(case.k_pages)
    bad = {
        "page that does not exist": replace(case, block_tables=unknown_page),
        "longer than its block table": replace(case, contexts=np.array([60, 0], np.int32)),
        "starts": replace(case, starts=random_starts(rng, 6, 2)),
        "differ in shape": replace(case, v_pages=case.v_pages[1:].copy()),
        "multiple of the key-value heads": replace(case, heads=3),
        "norm": replace(case, norms=(case.norms[0][1:].copy(), case.norms[1])),
    }
    for message, broken in bad.items():
        with pytest.raises(ValueError, match=message):
            broken.run(native.attention, cpu)
