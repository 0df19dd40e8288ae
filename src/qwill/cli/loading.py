"""Loading a model for the command line, with a progress bar when it takes more than a second."""

import gc
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress

    from qwill.llm import LLM
    from qwill.weights.checkpoint import Checkpoint

PATIENCE = 1.0  # seconds without a bar


def load_model(model: "str | Checkpoint", **options: Any) -> "LLM":
    """The model of that name, or of an open checkpoint; `options` are those of `LLM`."""
    gc.disable()  # what is made from here on stays, so nothing is gained by looking through it
    try:
        from qwill.llm import LLM

        with LoadingBar() as bar:
            return LLM(model, progress=bar.update, **options)
    finally:
        gc.freeze()
        gc.enable()


class LoadingBar:
    """A progress bar on stderr that appears after `PATIENCE`, at a terminal only, and vanishes at the end."""

    def __init__(self, what: str = "loading") -> None:
        self._what = what
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """`done` of `total` bytes are loaded, or whatever is done with them."""
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() - self._started < PATIENCE:
                return
            self._bar = self._open(total)
        self._bar.update(self._bar.task_ids[0], completed=done)

    def _open(self, total: int) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn(self._what),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        bar.add_task(self._what, total=total)
        bar.start()
        return bar
