"""Trains the demonstration model: `python -m training.train`.

Stop it at any time; the same command goes on from the last checkpoint.
"""

import argparse
import csv
import itertools
import math
import os
import queue
import threading
import time
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer

from training.data import IMAGE_PAD, build_tokenizer, token_id, training_step
from training.layers import TextShape
from training.model import Batch, DemoModel, Loss, initialize
from training.optimizer import build_optimizers
from training.vision import VisionShape

DEFAULT_RUN = Path(__file__).parent / "runs" / "demo"
LOG_FIELDS = ("step", "loss", "next_token", "second_token", "balance", "accuracy", "second_accuracy", "seconds")
CHECKPOINT_SECONDS = 120.0


def learning_rate(step: int, steps: int, warm_up: int = 50, decay_share: float = 0.3) -> float:
    """Factor of the peak rate: linear warm-up, constant, then linear to zero over the last part of the run."""
    return min(1.0, (step + 1) / warm_up, (steps - step) / (decay_share * steps))


def build_model(tokenizer: Tokenizer, dtype: torch.dtype) -> DemoModel:
    shape = TextShape(vocab_size=tokenizer.get_vocab_size())
    return DemoModel(shape, VisionShape(out_hidden_size=shape.hidden_size), token_id(tokenizer, IMAGE_PAD), dtype)


def prepared_steps(seed: int, first: int, last: int, tokenizer: Tokenizer) -> "queue.Queue[list[Batch]]":
    """The steps' batches in order, made by a thread a few steps ahead."""
    ready: queue.Queue[list[Batch]] = queue.Queue(maxsize=4)

    def produce() -> None:
        for step in range(first, last):
            ready.put(training_step(seed, step, tokenizer))

    threading.Thread(target=produce, daemon=True).start()
    return ready


def accumulate(model: DemoModel, batches: list[Batch]) -> list[float]:
    """Gradients of one step; returns the parts of Loss, weighted by each batch's trained tokens."""
    total = sum(int(batch.trained.sum()) for batch in batches)
    sums = [0.0] * len(Loss._fields)
    for batch in batches:
        share = int(batch.trained.sum()) / total
        loss = model.loss(batch)
        (loss.total * share).backward()
        sums = [done + float(part.detach()) * share for done, part in zip(sums, loss, strict=True)]
    return sums


def save_checkpoint(path: Path, state: dict[str, object]) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def keep_steps_before(log: Path, step: int) -> None:
    """Drops what the log says of steps that will be made again."""
    if log.exists():
        with log.open(newline="") as file:
            header, *rows = csv.reader(file)
        with log.open("w", newline="") as file:
            csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) < step)])


def plot(log: Path, picture: Path) -> None:
    """Loss and accuracy of the log as curves, smoothed over a hundredth of the run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    window = max(1, len(rows) // 100)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    steps = [row["step"] for row in rows]

    def smooth(name: str) -> list[float]:
        values = list(itertools.accumulate((row[name] for row in rows), initial=0.0))
        return [(values[i + 1] - values[max(0, i + 1 - window)]) / min(i + 1, window) for i in range(len(rows))]

    left.plot(steps, smooth("next_token"), label="next token")
    left.plot(steps, smooth("second_token"), label="token after the next (MTP)")
    left.set(xlabel="step", ylabel="cross-entropy", yscale="log", title="Training loss, answer tokens")
    right.plot(steps, smooth("accuracy"), label="next token")
    right.plot(steps, smooth("second_accuracy"), label="token after the next (MTP)")
    right.set(xlabel="step", ylabel="share right", title="Token accuracy on training answers")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN, help="folder of checkpoints, log and curve")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--until", type=int, help="stop after this step; the schedule still follows --steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--matrix-lr", type=float, default=5e-3, help="peak rate of Muon")
    parser.add_argument("--other-lr", type=float, default=3e-3, help="peak rate of AdamW")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--no-compile", action="store_true", help="run the layers as they are: slower, but no C++ compiler needed"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)
    tokenizer_file, checkpoint, log_file = (
        options.run / name for name in ("tokenizer.json", "checkpoint.pt", "log.csv")
    )
    if not tokenizer_file.exists():
        build_tokenizer(options.seed, TextShape().vocab_size).save(str(tokenizer_file))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    model = build_model(tokenizer, torch.bfloat16)
    initialize(model, torch.Generator().manual_seed(options.seed))
    optimizers = build_optimizers(model, options.matrix_lr, options.other_lr)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        first = state["step"]
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    keep_steps_before(log_file, first)
    peaks = (options.matrix_lr, options.other_lr)
    if not options.no_compile:
        for layer in [*model.model.language_model.layers, *model.mtp.layers]:
            layer.compile(dynamic=True)

    def save(step: int) -> None:
        states = [optimizer.state_dict() for optimizer in optimizers]
        save_checkpoint(checkpoint, {"step": step, "model": model.state_dict(), "optimizers": states})
        plot(log_file, options.run / "curve.png")

    last = min(options.steps, options.until or options.steps)
    steps = prepared_steps(options.seed, first, last, tokenizer)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with log_file.open("a", newline="") as file, Progress(*columns) as progress:
        log = csv.writer(file)
        if log_file.stat().st_size == 0:
            log.writerow(LOG_FIELDS)
        bar = progress.add_task("training", total=options.steps, completed=first)
        saved = time.monotonic()
        for step in range(first, last):
            started = time.monotonic()
            for optimizer, peak in zip(optimizers, peaks, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = peak * learning_rate(step, options.steps)
            sums = accumulate(model, steps.get())
            norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
            if not math.isfinite(norm):
                raise SystemExit(f"step {step}: the gradient is not finite; lower --matrix-lr or --other-lr")
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            log.writerow([step, *(f"{value:.5f}" for value in sums), f"{time.monotonic() - started:.3f}"])
            file.flush()
            progress.update(bar, advance=1, description=f"loss {sums[1]:.3f} accuracy {sums[4]:.3f}")
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save(step + 1)
                saved = time.monotonic()
    save(last)


if __name__ == "__main__":
    main()
