"""The training log as a picture."""

import csv
import math
from pathlib import Path


def smooth(values: list[float], window: int) -> list[float]:
    """Mean of the last `window` values that are known, at every place."""
    result = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - window) : end] if not math.isnan(value)]
        result.append(sum(known) / len(known) if known else math.nan)
    return result


def plot(log: Path, picture: Path) -> None:
    """Loss and accuracy of the log as curves, smoothed over a hundredth of the run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    window = max(1, len(rows) // 100)
    steps = [row["step"] for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for axis, curves in (
        (left, (("next_token", "next token"), ("drafts", "drafts (MTP)"), ("sight", "patches' contents"))),
        (right, (("accuracy", "next token"), ("draft_accuracy", "drafts (MTP)"))),
    ):
        for name, label in curves:
            axis.plot(steps, smooth([row[name] for row in rows], window), label=label)
        axis.grid(alpha=0.3)
        axis.legend()
    left.set(xlabel="step", ylabel="cross-entropy", yscale="log", title="Training loss")
    right.set(xlabel="step", ylabel="share right", title="Token accuracy on training answers")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
