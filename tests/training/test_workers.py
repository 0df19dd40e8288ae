"""Several workers train as one does, and a run that was stopped goes on as if it had not been."""

import copy
import csv
import functools
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from training import train, workers
from training.batch import TextBatch
from training.data import FIRST_STEPS, training_part
from training.layers import TextShape
from training.model import DemoModel, Loss, initialize
from training.sight import WORDS
from training.train import rates
from training.vision import VisionShape
from training.workers import Plan, Shared, prepared, run_worker


def small_model(tokenizer: Tokenizer, dtype: torch.dtype = torch.bfloat16) -> DemoModel:
    text = TextShape(tokenizer.get_vocab_size(), 64, 4, 1, 1, 64, 1, 1, num_experts=4, moe_intermediate_size=16)
    return DemoModel(text, VisionShape(1, 32, 32, 2, 16, 64), [[i] for i in range(len(WORDS))], dtype)


@pytest.fixture
def few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.TEXT_EXAMPLES", 5)
    monkeypatch.setattr("training.data.PICTURE_EXAMPLES", 3)
    monkeypatch.setattr("training.data.ORDER_EXAMPLES", 2)


def fresh(tokenizer: Tokenizer, workers: int, dtype: torch.dtype) -> Shared:
    model = small_model(tokenizer, dtype)
    initialize(model, torch.Generator().manual_seed(5))
    return Shared.of(model, workers)


def plan_of(workers: int, last: int) -> Plan:
    return Plan(0, last, 1, workers, 1024, False, FIRST_STEPS, functools.partial(rates, 10, (5e-3, 3e-3)))


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Of the second from the first, relative to its size."""
    ours, theirs = (torch.cat([tensor.flatten() for tensor in state.values()]) for state in (a, b))
    return float((ours - theirs).norm() / ours.norm())


def state_of(shared: Shared) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in shared.model.named_parameters()}


@pytest.mark.usefixtures("few_examples")
def test_two_workers_make_the_steps_of_one(tokenizer: Tokenizer) -> None:
    """Threads stand for the processes: each has modules and gradients of its own over common parameters."""
    one = fresh(tokenizer, 1, torch.float32)
    start = state_of(one)
    run_worker(0, plan_of(1, 2), one, tokenizer.to_str(), threading.Barrier(1), None)

    two = fresh(tokenizer, 2, torch.float32)
    other = copy.copy(two)
    other.model = copy.deepcopy(two.model)
    for mine, common in zip(other.model.parameters(), two.model.parameters(), strict=True):
        mine.data = common.data
    steps, barrier = [], threading.Barrier(2, timeout=60)
    arguments = (plan_of(2, 2), tokenizer.to_str(), barrier)
    second = threading.Thread(target=run_worker, args=(1, arguments[0], other, *arguments[1:], None), daemon=True)
    second.start()
    run_worker(0, arguments[0], two, *arguments[1:], lambda step, figures: steps.append((step, figures)))
    second.join()

    assert [step for step, _ in steps] == [0, 1]
    assert all(len(figures) == len(Loss._fields) for _, figures in steps)
    # The gradients are the same sums in another order; Muon's bfloat16 and its iterations make more of the difference
    # (and Adam, of gradients near zero).
    assert distance(one.momentum, two.momentum) < 1e-2
    moved = {name: tensor - start[name] for name, tensor in state_of(one).items()}
    also_moved = {name: tensor - start[name] for name, tensor in state_of(two).items()}
    assert all(tensor.abs().max() > 0 for tensor in moved.values())
    assert distance(moved, also_moved) < 0.1


@pytest.mark.usefixtures("few_examples")
def test_a_gradient_that_is_not_finite_changes_nothing(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, states = fresh(tokenizer, 1, torch.bfloat16), []
    spoiled = {1, 2}
    measure = workers.accumulate

    def accumulate(model: DemoModel, batches: list[TextBatch], rng: random.Random) -> list[float]:
        figures = measure(model, batches, rng)
        if len(states) in spoiled:
            model.lm_head.weight.grad[3] = torch.nan
        return figures

    def record(step: int, figures: list[float]) -> None:
        states.append([*state_of(shared).values(), *(tensor.clone() for tensor in shared.momentum.values())])

    monkeypatch.setattr(workers, "accumulate", accumulate)
    run_worker(0, plan_of(1, 4), shared, tokenizer.to_str(), threading.Barrier(1), record)
    same = [all(map(torch.equal, one, other)) for one, other in pairwise(states)]
    assert same == [True, True, False]
    assert all(tensor.isfinite().all() for tensor in states[-1])
    monkeypatch.setattr(workers, "MOST_LOST", 1)
    spoiled |= {4, 5}
    with pytest.raises(SystemExit, match="step 1: the gradient is not finite"):
        run_worker(0, plan_of(1, 4), shared, tokenizer.to_str(), threading.Barrier(1), record)


def test_a_workers_examples_are_its_parts(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, and a mistake in the thread that makes them is not lost."""

    def part(seed: int, step: int, part: int, tokenizer: Tokenizer, most: int, first_steps: int) -> tuple[int, ...]:
        if step == 12:
            raise ValueError("no such step")
        return seed, step, part, most

    monkeypatch.setattr("training.workers.training_part", part)
    for count, worker, parts in ((1, 0, [0, 1]), (2, 0, [0]), (2, 1, [1])):
        made = prepared(plan_of(count, 12), worker, tokenizer)
        assert list(made) == [{part: (1, step, part, 1024) for part in parts} for step in range(12)]
    with pytest.raises(ValueError, match="no such step"):
        list(prepared(plan_of(1, 13), 0, tokenizer))


def command(monkeypatch: pytest.MonkeyPatch, run: Path, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--run", str(run), "--no-compile", *options])
    train.main()


def checkpoint(run: Path) -> dict[str, Any]:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    flat = {
        f"{part}.{name}": tensor for part in ("model", "momentum", "square") for name, tensor in state[part].items()
    }
    return flat | {"step": state["step"]}


@pytest.mark.usefixtures("few_examples")
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "build_model", small_model)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one thread
    monkeypatch.setattr(train, "plot", lambda log, picture: picture.write_text(log.read_text()))  # for speed
    runs = [tmp_path / "whole", tmp_path / "stopped"]
    for run in runs:
        run.mkdir()
        tokenizer.save(str(run / "tokenizer.json"))
    common = ("--steps", "3", "--workers", "1", "--micro-batch-tokens", "1024")
    command(monkeypatch, runs[0], *common)
    command(monkeypatch, runs[1], *common, "--until", "1")
    stopped = checkpoint(runs[1])
    assert stopped["step"] == 1
    command(monkeypatch, runs[1], *common)
    whole, resumed = (checkpoint(run) for run in runs)
    assert whole["step"] == resumed["step"] == 3
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(tensor, resumed[name]), name
    logs = []
    for run in runs:
        with (run / "log.csv").open(newline="") as file:
            logs.append([{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)])
        assert (run / "curve.png").read_text() == (run / "log.csv").read_text()
    assert logs[0] == logs[1]
    assert [row["step"] for row in logs[0]] == ["0", "1", "2"]
    # A shorter run than the one that was made does not turn back.
    command(monkeypatch, runs[1], *common[2:], "--steps", "2")
    assert checkpoint(runs[1])["step"] == 3


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "build_model", small_model)
    states = []
    for count in ("1", "2"):
        run = tmp_path / count
        run.mkdir()
        tokenizer.save(str(run / "tokenizer.json"))
        command(monkeypatch, run, "--steps", "2", "--workers", count)
        states.append({name: tensor for name, tensor in checkpoint(run).items() if name.startswith("momentum")})
    assert distance(*states) < 0.05  # bfloat16


def test_workers_end_with_the_run(tmp_path: Path) -> None:
    """Also when it is killed; a worker that stays would go on writing checkpoints."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import os, time\nfrom training.workers import end_with_parent\n"
        "end_with_parent()\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"
    )
    start = (
        "import multiprocessing, runpy, sys\n"
        "multiprocessing.get_context('spawn').Process(target=runpy.run_path, args=sys.argv[1:]).start()"
    )
    run = subprocess.Popen([sys.executable, "-c", start, str(worker)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    run.kill()
    try:
        assert run.communicate(timeout=120)[0] == "", "the worker holds the pipe until it ends"
    except subprocess.TimeoutExpired:
        os.kill(pid, signal.SIGKILL)
        raise


@pytest.mark.usefixtures("few_examples")
def test_loss_falls(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same few examples over and over; nothing is known at first."""
    shared, once = fresh(tokenizer, 1, torch.bfloat16), training_part(1, 0, 0, tokenizer, 4096)
    monkeypatch.setattr("training.workers.training_part", lambda *_: once)
    plan = replace(plan_of(1, 9), rates=lambda step: (1e-2, 1e-2))
    losses: list[Loss] = []
    run_worker(0, plan, shared, tokenizer.to_str(), threading.Barrier(1), lambda _, f: losses.append(Loss(*f)))
    assert losses[0].next_token == pytest.approx(7.15, abs=0.1)  # ln 1280
    assert losses[-1].next_token < losses[0].next_token - 1.5
    assert losses[-1].sight < losses[0].sight
    drafts = [loss.drafts for loss in losses if loss.drafts == loss.drafts]
    assert drafts[-1] < drafts[0] - 0.5
