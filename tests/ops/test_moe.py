"""The mixture of experts against its reference, and against its own parts."""

from dataclasses import replace

import numpy as np
import pytest
from kernels import EPSILON, ISAS, cpu_of, normal
from qwill._native import Cpu
from weights import decoded, random_tensor

from qwill.ops.linear import native as linear
from qwill.ops.moe import native, reference
from qwill.ops.norm.native import rms_norm
from qwill.weights.tensor import Tensor

every_isa = pytest.mark.parametrize("isa", ISAS)


class Mixture:
    """Random tensors of one mixture: experts, router, shared expert."""

    def __init__(self, rng: np.random.Generator, name: str, hidden: int, width: int, experts: int, shared: int) -> None:
        self.router = random_tensor(rng, "F32", experts, hidden)
        self.experts = [
            random_tensor(rng, name, width, hidden, experts),
            random_tensor(rng, name, width, hidden, experts),
            random_tensor(rng, name, hidden, width, experts),
        ]
        shapes = ((shared, hidden), (shared, hidden), (hidden, shared)) if shared else ()
        self.shared = [random_tensor(rng, name, *shape) for shape in shapes]
        self.scale = normal(rng, hidden) * np.float32(0.1)
        self.shared_gate = normal(rng, hidden) if shared else None

    def run(self, cpu: Cpu, residual: np.ndarray, top_k: int) -> np.ndarray:
        """The native kernel on a copy of the residual, with scratch memory full of NaN."""
        out = residual.copy()
        experts, shared = ([linear.pack(cpu, tensor) for tensor in group] for group in (self.experts, self.shared))
        cpu.fill_workspace(0xFF)
        native.moe_add(
            cpu, out, self.scale, 1e-6, linear.pack(cpu, self.router), top_k, *experts,
            shared=(shared[0], shared[1], shared[2]) if shared else None, shared_gate=self.shared_gate,
        )  # fmt: skip
        return out


@every_isa
@pytest.mark.parametrize(("experts", "top_k", "shared_width"), [(1, 1, 0), (5, 5, 19), (9, 2, 40), (512, 10, 16)])
def test_moe_equals_the_reference(
    isa: str, experts: int, top_k: int, shared_width: int, rng: np.random.Generator
) -> None:
    mixture = Mixture(rng, "F32", 45, 21, experts, shared_width)
    for tokens in (1, 2, 19):
        residual = normal(rng, tokens, 45)
        expected = residual.copy()
        reference.moe_add(
            expected, mixture.scale, 1e-6, decoded(mixture.router), top_k, *map(decoded, mixture.experts),
            shared=tuple(map(decoded, mixture.shared)) if shared_width else None, shared_gate=mixture.shared_gate,
        )  # fmt: skip
        # Three sums in a row of at most 45 terms, of which each enlarges the error of the one before by its own
        # condition, taken as 4; then up to 11 experts.
        error = (3 * 45 * 4 + top_k) * EPSILON * np.abs(expected).max()
        np.testing.assert_allclose(mixture.run(cpu_of(isa), residual, top_k), expected, atol=error)


@every_isa
@pytest.mark.parametrize("name", ["F32", "Q8_0", "Q4_K", "IQ2_S", "AFFINE4_64"])
def test_a_token_does_not_depend_on_the_others_nor_on_threads(isa: str, name: str, rng: np.random.Generator) -> None:
    mixture = Mixture(rng, name, 256, 256, 6, 256)
    residual = normal(rng, 23, 256)
    together = mixture.run(cpu_of(isa), residual, 3)
    for token in range(0, 23, 5):
        alone = mixture.run(cpu_of(isa, 1), residual[token : token + 1], 3)
        np.testing.assert_array_equal(alone[0], together[token])


def part(tensor: Tensor, expert: int) -> Tensor:
    """One expert's matrix as a tensor of its own."""
    return replace(tensor, shape=tensor.shape[1:], parts=(tensor.parts[expert],))


@every_isa
@pytest.mark.parametrize("name", ["Q8_0", "Q6_K", "MXFP4", "AFFINE3_64", "AFFINE8_32", "MXFP8"])
def test_quantized_experts_are_made_of_their_parts(isa: str, name: str, rng: np.random.Generator) -> None:
    cpu, mixture = cpu_of(isa), Mixture(rng, name, 256, 256, 4, 0)
    residual = normal(rng, 6, 256)
    normed = rms_norm(cpu, residual, mixture.scale, 1e-6)
    chosen, weights = reference.route(linear.linear(cpu, normed, linear.pack(cpu, mixture.router)), 2)
    expected, size = residual.astype(np.float64), np.abs(residual).max()
    for expert in range(4):
        gate, up, down = (linear.pack(cpu, part(tensor, expert)) for tensor in mixture.experts)
        hidden = linear.linear(cpu, normed, gate, activation="silu") * linear.linear(cpu, normed, up)
        out = linear.linear(cpu, hidden, down)
        size = max(size, np.abs(out).max())
        expected += np.where(chosen == expert, weights, 0).sum(-1, keepdims=True) * out.astype(np.float64)
    # The parts are equal to the bit; what differs is the routing weights (softmax: 8 roundings) and three additions.
    np.testing.assert_allclose(mixture.run(cpu, residual, 2), expected, atol=12 * EPSILON * size)


@every_isa
def test_equal_logits_go_to_the_lowest_index(isa: str, rng: np.random.Generator) -> None:
    mixture = Mixture(rng, "F32", 32, 16, 7, 0)
    rows = mixture.router.parts[0].view(np.float32).reshape(7, 32)
    rows[:] = 0
    residual = normal(rng, 3, 32)
    expected = residual.copy()
    experts = [decoded(tensor) for tensor in mixture.experts]
    reference.moe_add(expected, mixture.scale, 1e-6, decoded(mixture.router), 2, *experts)
    np.testing.assert_allclose(
        mixture.run(cpu_of(isa), residual, 2), expected, atol=3 * 32 * 4 * EPSILON * np.abs(expected).max()
    )
    # Only experts 0 and 1 may have counted.
    before = mixture.run(cpu_of(isa), residual, 2)
    for tensor in mixture.experts:
        for unused in tensor.parts[2:]:
            unused[:] = 0
    np.testing.assert_array_equal(mixture.run(cpu_of(isa), residual, 2), before)


def test_shapes_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    mixture = Mixture(rng, "F32", 32, 16, 4, 0)
    with pytest.raises(ValueError, match="top_k"):
        mixture.run(cpu_of(ISAS[-1]), normal(rng, 2, 32), 5)
    mixture.router = random_tensor(rng, "F32", 3, 32)
    with pytest.raises(ValueError, match="does not fit"):
        mixture.run(cpu_of(ISAS[-1]), normal(rng, 2, 32), 1)
