"""The Gated DeltaNet kernel against a float64 recurrence written head by head, and against the NumPy reference."""

from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import pytest
from kernels import EPSILON, ISAS, cpu_of, normal, random_starts

from qwill.ops.gated_delta import native, reference

EPS = 1e-6
MOST_PENDING = 4


@dataclass(frozen=True)
class Case:
    """One call's inputs. `arrays` are qkv, z, b, a by token; `parameters` conv_weight, A, dt_bias, norm."""

    arrays: tuple[np.ndarray, ...]
    parameters: tuple[np.ndarray, ...]
    conv_states: np.ndarray
    states: np.ndarray
    pending: np.ndarray
    starts: np.ndarray
    slots: np.ndarray
    replayed: np.ndarray
    kept: np.ndarray
    key_heads: int
    tiled: bool

    def run(self, function: Any, *cpu: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The outputs and the states after the call; the case itself is left as it was."""
        return self.advance(function, *cpu)[:3]

    def advance(self, function: Any, *cpu: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The same, and what is pending after it."""
        conv_states, states, pending = self.conv_states.copy(), self.states.copy(), self.pending.copy()
        out = function(
            *cpu, *self.arrays, *self.parameters, EPS, conv_states, states, pending,
            self.starts, self.slots, self.replayed, self.kept, self.key_heads, self.tiled,
        )  # fmt: skip
        return out, conv_states, states, pending

    def rows(self, first: int, last: int, kept: int | None = None) -> "Case":
        """Some rows of the case's single sequence, all of them kept unless told otherwise."""
        return replace(
            self,
            arrays=tuple(x[first:last] for x in self.arrays),
            starts=np.array([0, last - first], np.int32),
            kept=np.array([last - first if kept is None else kept], np.int32),
        )


def make_case(
    rng: np.random.Generator, tokens: int, sequences: int, heads: tuple[int, int], dims: tuple[int, int], kernel: int,
    tiled: bool,
) -> Case:  # fmt: skip
    (key_heads, value_heads), (key_dim, value_dim) = heads, dims
    channels, slots = 2 * key_heads * key_dim + value_heads * value_dim, sequences + 2
    chosen = rng.choice(slots, sequences, replace=False).astype(np.int32)
    conv_states = np.full((slots, kernel - 1, channels), np.nan, np.float32)
    states = np.full((slots, value_heads, key_dim, value_dim), np.nan, np.float32)  # slots of others stay NaN
    conv_states[chosen] = normal(rng, sequences, kernel - 1, channels)
    states[chosen] = normal(rng, sequences, value_heads, key_dim, value_dim)
    arrays = (
        normal(rng, tokens, channels), normal(rng, tokens, value_heads * value_dim),
        2 * normal(rng, tokens, value_heads), 2 * normal(rng, tokens, value_heads),
    )  # fmt: skip
    parameters = (
        normal(rng, kernel, channels), -np.exp(normal(rng, value_heads)),
        normal(rng, value_heads), normal(rng, value_dim),
    )  # fmt: skip
    starts = random_starts(rng, tokens, sequences)
    return Case(
        arrays=arrays, parameters=parameters,
        conv_states=conv_states, states=states,
        pending=np.full((slots, MOST_PENDING, channels + 2 * value_heads), np.nan, np.float32),
        starts=starts, slots=chosen, replayed=np.zeros(sequences, np.int32), kept=np.diff(starts),
        key_heads=key_heads, tiled=tiled,
    )  # fmt: skip


def exact(case: Case) -> tuple[np.ndarray, np.ndarray, float]:
    """Outputs and states in float64, one head and one token at a time; the most that the output norm multiplied by."""
    qkv, z, b, a = (x.astype(np.float64) for x in case.arrays)
    conv_weight, A, dt_bias, norm = (x.astype(np.float64) for x in case.parameters)
    states = case.states.astype(np.float64)
    _, value_heads, key_dim, value_dim = states.shape
    kernel, key_width = len(conv_weight), case.key_heads * key_dim
    out, most = np.empty((len(qkv), value_heads * value_dim)), 0.0
    for sequence, slot in enumerate(case.slots):
        first, last = case.starts[sequence : sequence + 2]
        inputs = np.concatenate([case.conv_states[slot].astype(np.float64), qkv[first:last]])
        for t in range(first, last):
            x = sum(inputs[t - first + tap] * conv_weight[tap] for tap in range(kernel))
            x = x / (1 + np.exp(-x))
            for head in range(value_heads):
                key_head = head % case.key_heads if case.tiled else head // (value_heads // case.key_heads)
                q, k = x[key_head * key_dim :][:key_dim], x[key_width + key_head * key_dim :][:key_dim]
                v = x[2 * key_width + head * value_dim :][:value_dim]
                q, k = q / sqrt(q @ q + 1e-6) / sqrt(key_dim), k / sqrt(k @ k + 1e-6)
                beta, g = 1 / (1 + np.exp(-b[t, head])), A[head] * np.logaddexp(0, a[t, head] + dt_bias[head])
                state = np.exp(g) * states[slot, head]
                state += np.outer(k, beta * (v - state.T @ k))
                states[slot, head] = state
                o, gate = state.T @ q, z[t, head * value_dim :][:value_dim]
                factor = 1 / sqrt(o @ o / value_dim + EPS)
                most = max(most, factor)
                o = o * factor * norm * gate / (1 + np.exp(-gate))
                out[t, head * value_dim :][:value_dim] = o
    return out, states, most


def tolerance(dims: tuple[int, int], most: float = 0.0) -> float:
    """Errors of a state of magnitude 1: each product with a key adds key_dim terms, the recurrence itself forgets (its
    decay is below 1, its keys have length 1): some 16 steps count. The output norm multiplies by 1 / rms(o), some 10,
    but by more where a narrow output is nearly zero.
    """
    return max(10, most) * 16 * sqrt(dims[0]) * EPSILON


SHAPES = [
    ((1, 1), (1, 1), 1, False),
    ((1, 3), (5, 7), 2, False),
    ((2, 4), (24, 40), 3, True),
    ((2, 4), (16, 32), 4, False),
    ((3, 3), (33, 17), 5, True),
    ((1, 2), (128, 128), 4, False),
    ((2, 8), (20, 144), 4, True),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("heads", "dims", "kernel", "tiled"), SHAPES)
@pytest.mark.usefixtures("poisoned_memory")
def test_equals_the_recurrence(
    isa: str, heads: tuple[int, int], dims: tuple[int, int], kernel: int, tiled: bool, rng: np.random.Generator
) -> None:
    case = make_case(rng, 23, 3, heads, dims, kernel, tiled)
    expected, expected_states, most = exact(case)
    out, conv_states, states = case.run(native.gated_delta, cpu_of(isa))
    np.testing.assert_allclose(out, expected, atol=tolerance(dims, most) * (1 + np.abs(expected).max()))
    np.testing.assert_allclose(states, expected_states, atol=tolerance(dims))
    reference_out, reference_conv, reference_states = case.run(reference.gated_delta)
    np.testing.assert_allclose(out, reference_out, atol=2 * tolerance(dims, most) * (1 + np.abs(expected).max()))
    np.testing.assert_allclose(states, reference_states, atol=2 * tolerance(dims))
    np.testing.assert_array_equal(conv_states, reference_conv)


def pieces(case: Case, cuts: list[int]) -> list[Case]:
    """The case of a single sequence as several, to be run one after another."""
    return [case.rows(begin, end) for begin, end in pairwise([0, *cuts, len(case.arrays[0])])]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("heads", "dims", "kernel", "tiled"), [SHAPES[1], SHAPES[3], SHAPES[5], SHAPES[6]])
def test_chunks_give_the_same_bits(
    isa: str, heads: tuple[int, int], dims: tuple[int, int], kernel: int, tiled: bool, rng: np.random.Generator
) -> None:
    tokens = 41
    whole = make_case(rng, tokens, 1, heads, dims, kernel, tiled)
    expected = whole.run(native.gated_delta, cpu_of(isa))
    for cuts in ([1], [2, 3], sorted(rng.choice(np.arange(1, tokens), 5, replace=False)), list(range(1, tokens))):
        conv_states, states, outs = whole.conv_states, whole.states, []
        for piece in pieces(whole, cuts):
            piece = replace(piece, conv_states=conv_states, states=states)
            out, conv_states, states = piece.run(native.gated_delta, cpu_of(isa, 1))
            outs.append(out)
        for result, wanted in zip((np.concatenate(outs), conv_states, states), expected, strict=True):
            np.testing.assert_array_equal(result, wanted)


def test_a_long_prompt_beside_other_sequences(rng: np.random.Generator) -> None:
    """Longer than the kernel's own chunk of 256, with sequences that begin and end inside chunks."""
    case = make_case(rng, 700, 4, (1, 2), (16, 16), 4, False)
    starts = np.array([0, 100, 101, 640, 700], np.int32)
    case = replace(case, starts=starts, kept=np.diff(starts))
    out, conv_states, states = case.run(native.gated_delta, cpu_of(ISAS[-1]))
    for sequence, slot in enumerate(case.slots):
        first, last = case.starts[sequence : sequence + 2]
        alone = replace(case.rows(first, last), slots=np.array([slot], np.int32), replayed=np.zeros(1, np.int32))
        lone_out, lone_conv, lone_states = alone.run(native.gated_delta, cpu_of(ISAS[-1], 3))
        np.testing.assert_array_equal(out[first:last], lone_out)
        np.testing.assert_array_equal(conv_states[slot], lone_conv[slot])
        np.testing.assert_array_equal(states[slot], lone_states[slot])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("heads", "dims", "kernel", "tiled"), SHAPES)
@pytest.mark.usefixtures("poisoned_memory")
def test_drafts_leave_no_trace(
    isa: str, heads: tuple[int, int], dims: tuple[int, int], kernel: int, tiled: bool, rng: np.random.Generator
) -> None:
    """Steps of a token and up to four drafts, of which some turn out right: outputs and states are those of the tokens
    that were right one after another, to the bit; and the reference agrees.
    """
    tokens = 40
    whole = make_case(rng, tokens, 1, heads, dims, kernel, tiled)
    wanted_out, wanted_conv, wanted_states = whole.run(native.gated_delta, cpu_of(isa))
    _, _, most = exact(whole)
    slot = whole.slots[0]
    memory = whole.conv_states, whole.states, whole.pending
    done, right = 0, 0  # tokens that were right, of which the last `right` are pending
    while done < tokens - 1:
        drafts = int(rng.integers(0, min(MOST_PENDING, tokens - 2 - done) + 1))
        accepted = int(rng.integers(0, drafts + 1))
        step = whole.rows(done, done + 1 + drafts, kept=1)
        arrays = tuple(x.copy() for x in step.arrays)
        for x in arrays:
            x[1 + accepted :] = normal(rng, *x[1 + accepted :].shape)  # wrong ones
        conv_states, states, pending = memory
        step = replace(
            step, arrays=arrays, conv_states=conv_states, states=states, pending=pending,
            replayed=np.array([right], np.int32),
        )  # fmt: skip
        out, *memory = step.advance(native.gated_delta, cpu_of(isa))
        right_out = out[: 1 + accepted]
        np.testing.assert_array_equal(right_out, wanted_out[done : done + 1 + accepted])
        expected = step.advance(reference.gated_delta)
        scale = 1 + np.abs(expected[0]).max()
        np.testing.assert_allclose(right_out, expected[0][: 1 + accepted], atol=2 * tolerance(dims, most) * scale)
        np.testing.assert_allclose(memory[1][slot], expected[2][slot], atol=2 * tolerance(dims))
        np.testing.assert_array_equal(memory[0], expected[1])
        np.testing.assert_array_equal(memory[2], expected[3])
        done, right = done + 1 + accepted, accepted
    conv_states, states, pending = memory
    last = replace(
        whole.rows(done, tokens), conv_states=conv_states, states=states, pending=pending,
        replayed=np.array([right], np.int32),
    )  # fmt: skip
    out, conv_states, states = last.run(native.gated_delta, cpu_of(isa))
    np.testing.assert_array_equal(out, wanted_out[done:])
    np.testing.assert_array_equal(conv_states, wanted_conv)
    np.testing.assert_array_equal(states, wanted_states)


def test_drafts_beside_long_prompts(rng: np.random.Generator) -> None:
    """Sequences with drafts that end, begin and lie across the kernel's own chunk of 256; as if each were alone."""
    lengths = [253, 5, 250, 4, 3, 300, 5]
    starts = np.cumsum([0, *lengths]).astype(np.int32)
    drafts = np.array([0, 4, 0, 3, 1, 4, 2], np.int32)
    replayed = np.array([2, 3, 0, 4, 0, 1, 4], np.int32)
    case = make_case(rng, int(starts[-1]), len(lengths), (1, 2), (16, 16), 4, False)
    case.pending[case.slots] = normal(rng, len(lengths), *case.pending.shape[1:])
    case = replace(case, starts=starts, kept=np.diff(starts) - drafts, replayed=replayed)
    out, *memory = case.advance(native.gated_delta, cpu_of(ISAS[-1]))
    for sequence, slot in enumerate(case.slots):
        first, last = starts[sequence : sequence + 2]
        alone = replace(
            case.rows(first, last, case.kept[sequence]),
            slots=np.array([slot], np.int32),
            replayed=replayed[sequence : sequence + 1],
        )
        lone_out, *lone_memory = alone.advance(native.gated_delta, cpu_of(ISAS[-1], 3))
        np.testing.assert_array_equal(out[first:last], lone_out)
        for array, lone in zip(memory, lone_memory, strict=True):
            np.testing.assert_array_equal(array[slot], lone[slot])


def test_instruction_sets_with_fused_products_agree_to_the_bit(rng: np.random.Generator) -> None:
    fused = [isa for isa in ISAS if isa != "scalar"]
    if len(fused) < 2:
        pytest.skip("fewer than two such instruction sets here")
    case = make_case(rng, 19, 2, (2, 4), (40, 72), 4, False)
    first, *others = (case.run(native.gated_delta, cpu_of(isa)) for isa in fused)
    for other in others:
        for x, y in zip(first, other, strict=True):
            np.testing.assert_array_equal(x, y)


def test_arguments_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    case, cpu = make_case(rng, 9, 2, (2, 4), (8, 8), 4, False), cpu_of(ISAS[-1])
    bad = {
        "slot": replace(case, slots=np.array([0, 4], np.int32)),
        "starts": replace(case, starts=np.array([0, 5, 8], np.int32), kept=np.array([5, 3], np.int32)),
        "wrong width": replace(case, key_heads=1),
        "multiple": replace(case, key_heads=3),
        "conv_states": replace(case, conv_states=case.conv_states[:, :2].copy()),
        "pending": replace(case, pending=case.pending[:, :, 1:].copy()),
        "replayed than": replace(case, replayed=np.array([0, 5], np.int32)),
        "left out than": replace(case, kept=case.kept + np.array([0, 1], np.int32)),
        "differ in length": replace(case, kept=case.kept[:1]),
        "parameter": replace(case, parameters=(*case.parameters[:3], np.ones(9, np.float32))),
    }
    for message, broken in bad.items():
        with pytest.raises(ValueError, match=message):
            broken.run(native.gated_delta, cpu)
