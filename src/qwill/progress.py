"""Progress of loading and of answering, for callers and for people at a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def answers_bar(shown: bool, count: int) -> Iterator[Callable[[], None]]:
    """Counts answers on stderr, if `shown`; yields what is to be called after each."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("answers", total=count)
        yield lambda: bar.advance(task)


def report_to(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None] | None:
    """What is called with the bytes of each tensor that was loaded; `progress` gets their sum and `total`."""
    if progress is None:
        return None
    done = 0

    def report(loaded: int) -> None:
        nonlocal done
        done += loaded
        progress(done, total)

    return report
