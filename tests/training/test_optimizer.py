"""Muon and Adam against what they promise, and the shares of the workers."""

import pytest
import torch
from torch import nn
from training.layers import TextShape
from training.model import DemoModel
from training.optimizer import MUON_DECAY, MUON_MOMENTUM, Optimizer, is_matrix, orthogonalized, shares
from training.vision import VisionShape


@pytest.fixture
def small_model() -> DemoModel:
    text = TextShape(64, 64, 4, 1, 1, 64, 1, 1, num_experts=3, moe_intermediate_size=16)
    return DemoModel(text, VisionShape(2, 32, 48, 2, 16, 64), [[1]], torch.float32)


def fresh(parameters: dict[str, nn.Parameter]) -> Optimizer:
    zeros = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    squares = {name: torch.zeros_like(p) for name, p in parameters.items() if not is_matrix(name, p)}
    return Optimizer(parameters, zeros, squares)


def test_orthogonalized_has_singular_values_near_one(seed: int) -> None:
    matrices = torch.randn(3, 24, 56, generator=torch.Generator().manual_seed(seed))
    values = torch.linalg.svdvals(orthogonalized(matrices.bfloat16()).float())
    # Five iterations with these coefficients bring every singular value into about 0.7 to 1.2, bfloat16 aside.
    assert values.min() > 0.5
    assert values.max() < 1.4


@pytest.mark.parametrize("shape", [(24, 56), (56, 24), (3, 20, 48), (4, 48, 20), (16, 3, 2, 4, 4)])
def test_muon_steps_along_the_orthogonal_part(seed: int, shape: tuple[int, ...]) -> None:
    """Of the first gradient, whose singular vectors it keeps; the same size whatever the gradient's."""
    random = torch.Generator().manual_seed(seed)
    start, gradient = torch.randn(shape, generator=random), torch.randn(shape, generator=random)
    steps = []
    for size in (1.0, 1024.0):  # a power of two, which rounds alike
        parameter = nn.Parameter(start.clone())
        parameter.grad = gradient * size
        fresh({"weight": parameter}).step(1, 0.1, 0.0)
        steps.append((parameter - start * (1 - 0.1 * MUON_DECAY)).detach() / -0.1)
    assert (steps[0] - steps[1]).norm() < 1e-3 * steps[0].norm()
    matrices = (part.view(len(part), *shape[1:]) if len(shape) == 3 else part.flatten(1)[None] for part in steps)
    wanted = gradient if len(shape) == 3 else gradient.flatten(1)[None]
    scale = 0.2 * max(wanted.shape[1:]) ** 0.5
    left, _, right = torch.linalg.svd(wanted, full_matrices=False)
    for step in matrices:
        inside = left.transpose(1, 2) @ (step / scale) @ right.transpose(1, 2)
        values = inside.diagonal(dim1=1, dim2=2)
        assert values.min() > 0.4
        assert values.max() < 1.4
        assert (inside - torch.diag_embed(values)).norm() < 0.1 * values.norm()


def test_muon_follows_its_momentum(seed: int) -> None:
    """A gradient of the past goes on moving the matrix, less and less."""
    random = torch.Generator().manual_seed(seed)
    parameter = nn.Parameter(torch.zeros(8, 8))
    optimizer = fresh({"weight": parameter})
    parameter.grad = torch.randn(8, 8, generator=random)
    expected = torch.zeros(8, 8)
    for step in range(1, 4):
        optimizer.step(step, 0.1, 0.0)
        expected = MUON_MOMENTUM * expected + (1 - MUON_MOMENTUM) * parameter.grad
        assert torch.allclose(optimizer.momentum["weight"], expected)
        parameter.grad = torch.randn(8, 8, generator=random)


def test_adam_equals_pytorchs(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    shapes = {"norm.weight": (7,), "embed_tokens.weight": (9, 5), "conv1d.weight": (6, 1, 4), "gate.weight": (1, 5)}
    ours = {name: nn.Parameter(torch.randn(shape, generator=random)) for name, shape in shapes.items()}
    theirs = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in ours.items()}
    optimizer = fresh(ours)
    reference = torch.optim.Adam(theirs.values(), lr=1.0, betas=(0.9, 0.95), eps=1e-8)
    for step, rate in enumerate((0.01, 0.02, 0.005), 1):
        for name in shapes:
            ours[name].grad = torch.randn(shapes[name], generator=random)
            theirs[name].grad = ours[name].grad.clone()
        optimizer.step(step, 1.0, rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
    for name in shapes:
        assert torch.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6), name


def test_which_parameters_are_matrices(small_model: DemoModel) -> None:
    matrices = {name for name, parameter in small_model.named_parameters() if is_matrix(name, parameter)}
    for name, parameter in small_model.named_parameters():
        linear = name.endswith(("proj.weight", "_proj", "qkv.weight", "fc1.weight", "fc2.weight", "fc.weight"))
        linear = linear or ".in_proj_" in name or name.endswith("mlp.gate.weight")
        few = parameter.shape[0] == 1  # a single head's gates
        assert (name in matrices) == (linear and not few and not name.startswith("auxiliary")), name


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shares_cover_every_parameter_once(small_model: DemoModel, workers: int) -> None:
    parameters = dict(small_model.named_parameters())
    parts = shares(dict(parameters), workers)
    assert sorted(name for part in parts for name in part) == sorted(parameters)
    sizes = [sum(parameters[name].numel() for name in part) for part in parts]
    assert max(sizes) - min(sizes) <= max(parameter.numel() for parameter in parameters.values())
