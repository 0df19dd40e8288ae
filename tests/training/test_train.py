"""Learning rate, log and curve of a training run."""

import csv
import math
from pathlib import Path

import pytest
from PIL import Image
from training.curve import plot, smooth
from training.train import LOG_FIELDS, keep_steps_before, learning_rate, rates


def test_learning_rate_warms_up_stays_and_ends_at_zero() -> None:
    factors = [learning_rate(step, 1000, warm_up=50, decay_share=0.4) for step in range(1000)]
    assert factors[:3] == pytest.approx([0.02, 0.04, 0.06])
    assert factors[49:601] == [1.0] * 552
    assert factors[602:605] == pytest.approx([1 - 2 / 400, 1 - 3 / 400, 1 - 4 / 400])
    assert factors[-1] == pytest.approx(1 / 400)
    assert rates(1000, (0.3, 0.2), 999) == pytest.approx((0.3 * learning_rate(999, 1000), 0.2 / 300))


def write_log(log: Path, steps: int) -> None:
    with log.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(LOG_FIELDS)
        for step in range(steps):
            # Drafts are measured now and then only.
            drafts = "nan" if step % 3 else f"{5 / (step + 1)}"
            writer.writerow([step, 3 / (step + 1), 2 / (step + 1), drafts, 1.0, 1.5, step / steps, drafts, 2.5])


def test_log_keeps_the_steps_before(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    keep_steps_before(log, 3)
    assert not log.exists()
    write_log(log, 12)
    before = log.read_text().splitlines()
    keep_steps_before(log, 10)
    assert log.read_text().splitlines() == before[:11]
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]
    # A run that was killed before its first step.
    log.write_text("")
    keep_steps_before(log, 0)
    assert log.read_text() == ""


def test_smoothing_leaves_out_what_is_unknown() -> None:
    nan = math.nan
    assert smooth([1.0, 2.0, nan, 6.0], 2) == [1.0, 1.5, 2.0, 6.0]
    assert math.isnan(smooth([nan, 1.0], 1)[0])


@pytest.mark.parametrize("steps", [1, 250])
def test_curve_is_a_picture(tmp_path: Path, steps: int) -> None:
    write_log(tmp_path / "log.csv", steps)
    plot(tmp_path / "log.csv", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 300
        colours = picture.convert("RGB").getcolors(2**20)
    assert colours is not None
    assert len(colours) > 50  # not an empty page
