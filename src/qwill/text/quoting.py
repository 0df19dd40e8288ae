"""Where in a text a block of quoted code stands."""

_FENCES = ("```", "~~~")
_INDENT = 4  # as much makes a line code


class Quoting:
    """Follows a text that grows, line by line. `at_line_start`: what comes next begins a line that is not code."""

    def __init__(self, at_line_start: bool = True) -> None:
        self._fence = ""
        self._line = "" if at_line_start else "x"  # its beginning; all of it where it may be a fence

    @property
    def at_line_start(self) -> bool:
        return not self._fence and not self._line.strip() and len(self._line) < _INDENT

    def begin_line(self) -> None:
        """What comes next begins a line, whatever stands before it."""
        self._line = ""

    def add(self, text: str) -> None:
        """Takes the next text."""
        *ended, last = text.split("\n")
        for rest in ended:
            self._end_line(self._line + rest)
            self._line = ""
        self._line += last
        words = self._line.lstrip()
        if not words:
            self._line = self._line[:_INDENT]
        elif not any(fence.startswith(words[: len(fence)]) for fence in _FENCES):
            self._line = "x"

    def _end_line(self, line: str) -> None:
        line = line.strip()
        if not line.startswith(_FENCES):
            return
        rest = line.lstrip(line[0])
        mark = line.removesuffix(rest)
        if not self._fence and mark[0] not in rest:  # a line that opens and closes one is none
            self._fence = mark
        elif self._fence and not rest and mark.startswith(self._fence):
            self._fence = ""
