"""Trains the demonstration model: `python -m training.train`.

Stop it at any time; the same command goes on from the last checkpoint.
"""

import argparse
import csv
import functools
import os
import threading
import time
from pathlib import Path
from typing import Any, Self

import torch
import torch.multiprocessing
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer

from training.curve import plot
from training.data import FIRST_STEPS, MICRO_BATCH_TOKENS, PARTS, build_tokenizer
from training.layers import TextShape
from training.model import DemoModel, Loss, initialize
from training.sight import WORDS
from training.start import start_from, tokenizer_of
from training.vision import VisionShape
from training.workers import Plan, Shared, end_with_parent, run_worker

DEFAULT_RUN = Path(__file__).parent / "runs" / "demo"
LOG_FIELDS = ("step", *Loss._fields, "seconds")
CHECKPOINT_SECONDS = 120.0


def learning_rate(step: int, steps: int, warm_up: int = 100, decay_share: float = 0.3) -> float:
    """Factor of the peak rate: linear warm-up, constant, then linear to zero over the last part of the run."""
    return min(1.0, (step + 1) / warm_up, (steps - step) / (decay_share * steps))


def rates(steps: int, peaks: tuple[float, float], step: int) -> tuple[float, float]:
    """Rates of Muon and Adam at a step."""
    factor = learning_rate(step, steps)
    return peaks[0] * factor, peaks[1] * factor


def build_model(tokenizer: Tokenizer, dtype: torch.dtype) -> DemoModel:
    shape = TextShape(vocab_size=tokenizer.get_vocab_size())
    # As questions write them; a character as answers write it. The first form wins where both are as short.
    forms = [(word,) if len(word) == 1 else (f" {word}", word) for word in WORDS]
    words = [min((tokenizer.encode(form).ids for form in each), key=len) for each in forms]
    return DemoModel(shape, VisionShape(out_hidden_size=shape.hidden_size), words, dtype)


def save_checkpoint(path: Path, step: int, shared: Shared) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    state = {"step": step, "model": shared.model.state_dict(), "momentum": shared.momentum, "square": shared.square}
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, shared: Shared) -> int:
    """Fills the shared memory; returns the step to go on with."""
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    shared.model.load_state_dict(state["model"])
    for name in ("momentum", "square"):
        for key, tensor in getattr(shared, name).items():
            tensor.copy_(state[name][key])
    return int(state["step"])


def keep_steps_before(log: Path, step: int) -> None:
    """Drops what the log says of steps that will be made again."""
    if log.exists():
        with log.open(newline="") as file:
            rows = list(csv.reader(file))
        temporary = log.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            csv.writer(file).writerows([*rows[:1], *(row for row in rows[1:] if int(row[0]) < step)])
        os.replace(temporary, log)


class Recorder:
    """Log, progress bar and checkpoints, kept by the first worker."""

    def __init__(self, run: Path, shared: Shared, first: int, steps: int) -> None:
        self.run, self.shared = run, shared
        log = run / "log.csv"
        keep_steps_before(log, first)
        self.file = log.open("a", newline="")
        self.log = csv.writer(self.file)
        if log.stat().st_size == 0:
            self.log.writerow(LOG_FIELDS)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns)
        self.bar = self.progress.add_task("training", total=steps, completed=first)
        self.started = self.saved = time.monotonic()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
        self.file.close()

    def __call__(self, step: int, figures: list[float]) -> None:
        now = time.monotonic()
        self.log.writerow([step, *(f"{value:.5f}" for value in figures), f"{now - self.started:.3f}"])
        self.file.flush()
        self.started = now
        loss = Loss(*figures)  # type: ignore[arg-type]
        description = f"loss {loss.next_token:.3f} accuracy {loss.accuracy:.3f}"
        self.progress.update(self.bar, advance=1, description=description)
        if now - self.saved > CHECKPOINT_SECONDS:
            self.save(step + 1)

    def save(self, step: int) -> None:
        save_checkpoint(self.run / "checkpoint.pt", step, self.shared)
        plot(self.run / "log.csv", self.run / "curve.png")
        self.saved = time.monotonic()


def work(worker: int, plan: Plan, shared: Shared, tokenizer_json: str, barrier: Any, run: Path, steps: int) -> None:
    """One worker from start to end; the first also keeps the records."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // plan.workers))
    if plan.workers > 1:
        end_with_parent()
    torch.set_flush_denormal(True)  # the optimizer's averages of what is zero fade into them, and they are slow
    if worker:
        run_worker(worker, plan, shared, tokenizer_json, barrier, None)
        return
    with Recorder(run, shared, plan.first, steps) as recorder:
        run_worker(worker, plan, shared, tokenizer_json, barrier, recorder)
        recorder.save(plan.last)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder of checkpoints, log and curve")
    parser.add_argument("--steps", type=int, default=16000)
    parser.add_argument("--until", type=int, help="stop after this step; the schedule still follows --steps")
    parser.add_argument("--start", type=Path, metavar="GGUF", help="begin with the weights and tokenizer of this model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--matrix-lr", type=float, default=5e-3, help="peak rate of Muon")
    parser.add_argument("--other-lr", type=float, default=3e-3, help="peak rate of Adam")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=min(PARTS, os.cpu_count() or 1), help="processes, on a CPU")
    parser.add_argument("--micro-batch-tokens", type=int, default=MICRO_BATCH_TOKENS)
    parser.add_argument(
        "--no-compile", action="store_true", help="run the layers as they are: slower, but no C++ compiler needed"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")  # the batches' shapes are many
    options.run.mkdir(parents=True, exist_ok=True)
    tokenizer_file, checkpoint = options.run / "tokenizer.json", options.run / "checkpoint.pt"
    if not tokenizer_file.exists():
        vocab_size = TextShape().vocab_size
        made = tokenizer_of(options.start) if options.start else build_tokenizer(options.seed, vocab_size)
        made.save(str(tokenizer_file))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    workers = 1 if options.device != "cpu" else max(1, min(options.workers, PARTS))
    model = build_model(tokenizer, torch.bfloat16)
    initialize(model, torch.Generator().manual_seed(options.seed))
    if options.start:
        start_from(options.start, model)
    model.to(options.device)
    shared = Shared.of(model, workers)
    first = load_checkpoint(checkpoint, shared) if checkpoint.exists() else 0
    last = max(first, min(options.steps, options.until or options.steps))
    peaks = functools.partial(rates, options.steps, (options.matrix_lr, options.other_lr))
    simple = 0 if options.start else FIRST_STEPS
    plan = Plan(first, last, options.seed, workers, options.micro_batch_tokens, not options.no_compile, simple, peaks)
    common = (plan, shared, tokenizer.to_str())
    if workers == 1:
        work(0, *common, threading.Barrier(1), options.run, options.steps)
        return
    barrier = torch.multiprocessing.get_context("spawn").Barrier(workers)
    arguments_of_all = (*common, barrier, options.run, options.steps)
    torch.multiprocessing.spawn(work, arguments_of_all, nprocs=workers)


if __name__ == "__main__":
    main()
