"""Which pages and slots are free. Plain integers; the arrays they index are in `model.batch.Cache`."""

from collections.abc import Sequence


class Pool:
    """Indices 0 to size - 1, each held by at most one owner."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = list(range(size - 1, -1, -1))

    @property
    def free(self) -> int:
        """How many can still be taken."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """That many indices. The caller checks `free` first."""
        assert count <= len(self._free), (count, len(self._free))
        return [self._free.pop() for _ in range(count)]

    def give_back(self, indices: Sequence[int]) -> None:
        self._free.extend(reversed(indices))
        assert len(self._free) <= self.size, "an index was given back twice"
