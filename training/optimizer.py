"""Muon for the matrices, Adam for everything else, over buffers that several worker processes share.

Muon steps along the nearest orthogonal matrix to the momentum, found by Newton–Schulz iterations (Keller Jordan and
others, 2024). Matrices of one shape are stacked and iterated together, experts too.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MUON_MOMENTUM, MUON_DECAY = 0.95, 0.05
ADAM_FIRST, ADAM_SECOND, ADAM_EPS = 0.9, 0.95, 1e-8
TABLES = ("embed_tokens.weight", "lm_head.weight", "pos_embed.weight", "conv1d.weight")


def orthogonalized(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices, about; matrices bfloat16 [count, rows, columns] with rows ≤ columns."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(matrices.dtype)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon moves it: true matrices; not tables, single rows or what is thrown away later."""
    return not (name.endswith(TABLES) or name.startswith("auxiliary") or parameter.ndim < 2 or parameter.shape[0] == 1)


def shares(parameters: dict[str, Tensor], workers: int) -> list[list[str]]:
    """The names each worker updates, of about equal size."""
    result: list[list[str]] = [[] for _ in range(workers)]
    sizes = [0] * workers
    for name, parameter in sorted(parameters.items(), key=lambda entry: -entry[1].numel()):
        smallest = sizes.index(min(sizes))
        result[smallest].append(name)
        sizes[smallest] += parameter.numel()
    return result


class Optimizer:
    """Updates some of the parameters in place. `momentum` and `square` hold its state by name, float32."""

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        momentum: dict[str, Tensor],
        square: dict[str, Tensor],
    ) -> None:
        self.parameters = parameters
        self.momentum, self.square = momentum, square

    @torch.no_grad()
    def step(self, count: int, matrix_rate: float, other_rate: float) -> None:
        """One step from the parameters' gradients; `count` is 1 at the first."""
        stacks: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for name, parameter in self.parameters.items():
            gradient = parameter.grad
            assert gradient is not None, name
            momentum = self.momentum[name]
            if not is_matrix(name, parameter):
                self.adam(parameter, gradient, momentum, self.square[name], count, other_rate)
                continue
            momentum.lerp_(gradient, 1.0 - MUON_MOMENTUM)
            update = gradient.lerp(momentum, MUON_MOMENTUM)  # Nesterov's correction
            matrices = update if update.ndim == 3 else update.flatten(1).unsqueeze(0)
            matrices = matrices.transpose(1, 2) if matrices.shape[1] > matrices.shape[2] else matrices
            stacks[matrices.shape[1], matrices.shape[2]].append((parameter, matrices.bfloat16()))
        for (rows, columns), entries in stacks.items():
            updates = orthogonalized(torch.cat([matrices for _, matrices in entries])).float()
            scale = matrix_rate * 0.2 * max(rows, columns) ** 0.5  # the size of an Adam step
            for (parameter, _), update in zip(entries, updates.split([m.shape[0] for _, m in entries]), strict=True):
                shape = parameter.shape if parameter.ndim == 3 else (1, parameter.shape[0], parameter[0].numel())
                update = update.transpose(1, 2) if shape[1] > shape[2] else update
                parameter.mul_(1.0 - matrix_rate * MUON_DECAY)
                parameter.add_(update.reshape(parameter.shape), alpha=-scale)

    @staticmethod
    def adam(parameter: nn.Parameter, gradient: Tensor, first: Tensor, second: Tensor, count: int, rate: float) -> None:
        first.lerp_(gradient, 1.0 - ADAM_FIRST)
        second.lerp_(gradient.square(), 1.0 - ADAM_SECOND)
        scale = (second / (1.0 - ADAM_SECOND**count)).sqrt_().add_(ADAM_EPS)
        parameter.addcdiv_(first, scale, value=-rate / (1.0 - ADAM_FIRST**count))
