"""Progress of loading and of answering, for callers and for people at a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress


class StagesBar:
    """Counts what is done on stderr, if `shown`, a bar for one stage of the work after the other."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._stage = ""
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of a stage, such as "answers", are done."""
        if not self._shown:
            return
        if stage != self._stage:
            self._stop()
            self._begin(stage, total)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)
        if done >= total:
            self._stop()

    def _begin(self, stage: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._stage = stage
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._bar.add_task(stage, total=total)
        self._bar.start()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


@contextmanager
def answers_bar(shown: bool, count: int) -> Iterator[Callable[[], None]]:
    """Counts answers on stderr, if `shown`; yields what is to be called after each."""
    with StagesBar(shown) as bar:
        bar("answers", 0, count)
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            bar("answers", done, count)

        yield advance


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
