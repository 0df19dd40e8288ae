"""What is counted of requests: metrics for Prometheus, and usage for each key."""

from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from qwill.server.settings import Settings

if TYPE_CHECKING:
    from qwill.server.service import Asked


class Watch:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """An HTTP request is over."""

    def begun(self, asked: "Asked") -> None:
        """Answers were queued."""

    def ended(self, asked: "Asked") -> None:
        """Answers are finished, or given up."""

    def cost(self, asked: "Asked") -> dict[str, Any] | None:
        """What the answers cost so far; None where no prices are told."""
        return None

    def metrics(self) -> bytes:
        return b""

    def close(self) -> None:
        """Writes what is not written yet."""
