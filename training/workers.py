"""Several processes train one model: the parameters lie in shared memory, each worker computes the gradients of its
share of a step and then updates its share of the parameters."""

import math
import multiprocessing
import os
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.batch import TextBatch
from training.data import PARTS, training_part
from training.layers import Compiled
from training.model import DemoModel, Loss
from training.optimizer import Optimizer, is_matrix, shares

STEPS_AHEAD = 4
MOST_NORM = 1.0
MOST_LOST = 8  # steps in a row whose gradient is not finite: such a step changes nothing
DRAFTS = (0, 1, 3)  # lengths of the multi-token head's run, one drawn for each micro-batch
DRAFT_SHARES = (0.6, 0.25, 0.15)


@dataclass
class Plan:
    """What every worker knows: the steps to make, the seed, and the rates of Muon and Adam at a step."""

    first: int
    last: int
    seed: int
    workers: int
    micro_batch_tokens: int
    compile: bool
    first_steps: int
    rates: Callable[[int], tuple[float, float]]


@dataclass
class Shared:
    """All workers' common memory: the model, its optimizer state, each worker's gradients, figures and norm."""

    model: DemoModel
    momentum: dict[str, Tensor]
    square: dict[str, Tensor]
    gradients: Tensor  # [workers, parameters], or none for a single worker
    figures: Tensor  # [workers, len(Loss._fields)]
    norms: Tensor  # [workers]

    @classmethod
    def of(cls, model: DemoModel, workers: int) -> "Shared":
        """Fresh optimizer state; the model's parameters move into shared memory when there are several workers."""
        parameters = dict(model.named_parameters())
        momentum = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        square = {name: torch.zeros_like(p) for name, p in parameters.items() if not is_matrix(name, p)}
        total = sum(parameter.numel() for parameter in parameters.values())
        device = next(iter(parameters.values())).device
        gradients = torch.zeros(workers, total, device=device)
        figures, norms = torch.zeros(workers, len(Loss._fields)), torch.zeros(workers)
        if workers > 1:
            model.share_memory()
            for tensor in [*momentum.values(), *square.values(), gradients, figures, norms]:
                tensor.share_memory_()
        return cls(model, momentum, square, gradients, figures, norms)


def prepared(plan: Plan, worker: int, tokenizer: Tokenizer) -> Iterator[dict[int, list[TextBatch]]]:
    """The batches of the worker's parts of every step in order, made by a thread a few steps ahead."""

    def made(step: int) -> dict[int, list[TextBatch]]:
        parts = range(worker, PARTS, plan.workers)
        common = tokenizer, plan.micro_batch_tokens, plan.first_steps
        return {part: training_part(plan.seed, step, part, *common) for part in parts}

    waiting: deque[Future[dict[int, list[TextBatch]]]] = deque()
    with ThreadPoolExecutor(1) as thread:
        for step in range(plan.first, plan.last):
            waiting.append(thread.submit(made, step))
            if len(waiting) > STEPS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def accumulate(model: DemoModel, batches: list[TextBatch], rng: random.Random) -> list[float]:
    """Adds the gradients of one part's batches; returns the parts of Loss, weighted by each batch's trained tokens.

    A part that no batch measured is NaN.
    """
    total = sum(int(batch.trained.sum()) for batch in batches)
    sums, weights = [0.0] * len(Loss._fields), [0.0] * len(Loss._fields)
    device = model.lm_head.weight.device
    for batch in batches:
        share = int(batch.trained.sum()) / total
        loss = model.loss(batch.to(device), rng.choices(DRAFTS, DRAFT_SHARES)[0])
        (loss.total * (share / PARTS)).backward()
        for index, part in enumerate(loss):
            value = float(part.detach())
            if not math.isnan(value):
                sums[index] += value * share
                weights[index] += share
    return [value / weight if weight else math.nan for value, weight in zip(sums, weights, strict=True)]


def end_with_parent() -> None:
    """Ends this process when the one that started it has ended, in whatever way: nobody else would stop the workers,
    and a run that is gone on with would write to the same files."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_worker(
    worker: int,
    plan: Plan,
    shared: Shared,
    tokenizer_json: str,
    barrier: Any,
    after: Callable[[int, list[float]], None] | None,
) -> None:
    """The training loop. `after(step, figures)` is called by the first worker when a step is complete."""
    Compiled.enabled = plan.compile
    tokenizer = Tokenizer.from_str(tokenizer_json)
    parameters = dict(shared.model.named_parameters())
    own = shares(dict(parameters), plan.workers)[worker]
    optimizer = Optimizer(
        {name: parameters[name] for name in own},
        {name: shared.momentum[name] for name in own},
        {name: shared.square[name] for name in own if name in shared.square},
    )
    starts: dict[str, tuple[int, int]] = {}
    place = 0
    for name, parameter in parameters.items():
        starts[name] = (place, place + parameter.numel())
        parameter.grad = shared.gradients[worker, place : place + parameter.numel()].view_as(parameter)
        place += parameter.numel()
    lost = 0
    for step, parts in enumerate(prepared(plan, worker, tokenizer), plan.first):
        shared.gradients[worker].zero_()
        figures = [
            accumulate(shared.model, batches, random.Random(f"drafts {plan.seed} {step} {part}"))
            for part, batches in parts.items()
        ]
        shared.figures[worker] = torch.tensor(figures).nanmean(0)
        barrier.wait()
        for name in own:
            part = slice(*starts[name])
            for other in range(plan.workers):
                if other != worker:
                    shared.gradients[worker, part] += shared.gradients[other, part]
        owned = [parameters[name].grad for name in own]
        norms = torch._foreach_norm([gradient for gradient in owned if gradient is not None])
        shared.norms[worker] = torch.stack(norms).norm().cpu()
        barrier.wait()
        norm = float(shared.norms.norm())
        lost = 0 if math.isfinite(norm) else lost + 1
        if lost > MOST_LOST:
            raise SystemExit(f"step {step}: the gradient is not finite; lower --matrix-lr or --other-lr")
        if not lost:
            for gradient in owned:
                assert gradient is not None
                gradient.mul_(min(1.0, MOST_NORM / (norm + 1e-6)))
            optimizer.step(step + 1, *plan.rates(step))
        barrier.wait()
        if worker == 0 and after is not None:
            after(step, torch.nanmean(shared.figures, dim=0).tolist())
