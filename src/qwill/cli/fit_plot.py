"""The plot of `qwill fit --plot FILE`. Needs matplotlib, which qwill itself does not."""

from pathlib import Path
from typing import Any

from qwill.errors import InvalidArgument

ENDINGS = (".png", ".svg", ".pdf")


def draw(described: dict[str, Any], file: Path) -> None:
    """Speeds of decode and prefill by the context, and what each memory holds. Raises InvalidArgument."""
    if file.suffix.lower() not in ENDINGS:
        raise InvalidArgument(f"--plot {file}: the name must end in {', '.join(ENDINGS)}")
    try:
        import matplotlib
    except ImportError as error:
        raise InvalidArgument("--plot needs matplotlib; install it with: pip install matplotlib") from error
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    memory, speed = figure.subplots(1, 2)
    _draw_memory(memory, described)
    _draw_speed(speed, described)
    figure.suptitle(f"{described['model']} {described['quant']} on {described['hardware']}")
    try:
        figure.savefig(file)
    except OSError as error:
        raise InvalidArgument(f"--plot {file}: cannot be written ({error.strerror})") from error


def _draw_memory(axes: Any, described: dict[str, Any]) -> None:
    places = described["placement"]
    names = list(dict.fromkeys(name for place in places for name in place["parts"]))
    bottoms = [0.0] * len(places)
    for name in names:
        sizes = [place["parts"].get(name, 0) / 1e9 for place in places]
        axes.bar(range(len(places)), sizes, bottom=bottoms, label=name)
        bottoms = [bottom + size for bottom, size in zip(bottoms, sizes, strict=True)]
    for index, place in enumerate(places):
        if "capacity_bytes" in place:
            axes.hlines(place["capacity_bytes"] / 1e9, index - 0.45, index + 0.45, colors="black", linestyles="dashed")
        else:
            axes.bar([index], [place["used_bytes"] / 1e9], color="lightgrey", label="does not fit")
    axes.set_xticks(range(len(places)), [place["name"] for place in places])
    axes.set_ylabel("GB")
    axes.legend(fontsize="small")


def _draw_speed(axes: Any, described: dict[str, Any]) -> None:
    points = described["by_context"]
    for key, label in (("prefill_tokens_per_second", "prefill"), ("decode_tokens_per_second", "decode")):
        axes.plot([point["context"] for point in points], [point[key] for point in points], label=label, marker="o")
    axes.set_xlabel("tokens of context")
    axes.set_ylabel("tokens/s")
    axes.set_ylim(bottom=0)
    if points:
        axes.legend(fontsize="small")
