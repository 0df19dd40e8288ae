"""Muon for the matrices, AdamW for everything else.

Muon steps along the nearest orthogonal matrix to the momentum, found by Newton–Schulz iterations (Keller Jordan and
others, 2024). Matrices of one shape are stacked and iterated together, experts too.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices, about; matrices bfloat16 [count, rows, columns] with rows ≤ columns."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(matrices.dtype)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Momentum 0.95 with Nesterov's correction; steps are scaled to the root mean square of an AdamW step (0.2)."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            stacks: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 0.05)
                update = parameter.grad.lerp(state["momentum"], 0.95)
                matrices = update if update.ndim == 3 else update.flatten(1).unsqueeze(0)
                matrices = matrices.transpose(1, 2) if matrices.shape[1] > matrices.shape[2] else matrices
                stacks[matrices.shape[1], matrices.shape[2]].append((parameter, matrices.bfloat16()))
            for (rows, columns), entries in stacks.items():
                updates = orthogonalized(torch.cat([matrices for _, matrices in entries])).float()
                scale = group["lr"] * 0.2 * max(rows, columns) ** 0.5
                for (parameter, _), update in zip(
                    entries, updates.split([m.shape[0] for _, m in entries]), strict=True
                ):
                    shape = parameter.shape if parameter.ndim == 3 else (1, parameter.shape[0], parameter[0].numel())
                    update = update.transpose(1, 2) if shape[1] > shape[2] else update
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    parameter.add_(update.reshape(parameter.shape), alpha=-scale)


def build_optimizers(model: nn.Module, matrix_lr: float, other_lr: float) -> tuple[Muon, torch.optim.AdamW]:
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        table = name.endswith(("embed_tokens.weight", "lm_head.weight", "pos_embed.weight", "conv1d.weight"))
        (others if table or parameter.ndim < 2 or parameter.shape[0] == 1 else matrices).append(parameter)
    return Muon(matrices, matrix_lr, weight_decay=0.05), torch.optim.AdamW(
        others, other_lr, betas=(0.9, 0.95), weight_decay=0.0
    )
