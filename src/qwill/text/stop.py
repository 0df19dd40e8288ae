"""Stop strings in streamed text."""

from collections.abc import Sequence

from qwill.errors import InvalidArgument


class StopMatcher:
    """Cuts a stream before the first stop string to be complete; among those that end together, before the longest.

    Each stop string is followed by the automaton of Knuth, Morris and Pratt, so the cost is linear in the text and the
    outcome does not depend on how the text is cut into tokens. `matched` names the stop string found, `behind` is how
    many characters came after it with the text that completed it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises InvalidArgument for an empty stop string."""
        if "" in stops:
            raise InvalidArgument("a stop string is empty; leave it out")
        self.matched: str | None = None
        self.behind = 0
        self._stops = sorted(set(stops), key=len, reverse=True)
        self._fallbacks = [_fallbacks(stop) for stop in self._stops]
        self._progress = [0] * len(self._stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Take the next text; return what may be shown and whether a stop string was found. After that nothing
        comes."""
        if self.matched is not None:
            return "", True
        self._held += text
        if not self._stops:
            return self.flush(), False
        for position in range(len(self._held) - len(text), len(self._held)):
            for index, stop in enumerate(self._stops):
                self._progress[index] = self._advance(index, self._held[position])
                if self._progress[index] == len(stop):
                    self.matched, self.behind = stop, len(self._held) - position - 1
                    shown, self._held = self._held[: position + 1 - len(stop)], ""
                    return shown, True
        safe = len(self._held) - max(self._progress)
        shown, self._held = self._held[:safe], self._held[safe:]
        return shown, False

    @property
    def held(self) -> int:
        """How many characters are held back, since they may begin a stop string."""
        return len(self._held)

    def flush(self) -> str:
        """The text held back, once no more will come; what comes after all begins afresh."""
        text, self._held = self._held, ""
        self._progress = [0] * len(self._stops)
        return text

    def _advance(self, index: int, character: str) -> int:
        """How much of the stop string is matched after `character`."""
        stop, fallbacks, matched = self._stops[index], self._fallbacks[index], self._progress[index]
        while matched and stop[matched] != character:
            matched = fallbacks[matched - 1]
        return matched + (stop[matched] == character)


def _fallbacks(stop: str) -> list[int]:
    """For each prefix of `stop`, the length of the longest shorter prefix that also ends it."""
    lengths = [0] * len(stop)
    for position in range(1, len(stop)):
        length = lengths[position - 1]
        while length and stop[length] != stop[position]:
            length = lengths[length - 1]
        lengths[position] = length + (stop[length] == stop[position])
    return lengths
