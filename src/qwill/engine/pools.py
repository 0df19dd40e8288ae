"""Which pages and slots are free, and how many hold each of the others. Plain integers; the arrays they index are in
`model.batch.Cache`.
"""

from collections.abc import Sequence


class Pool:
    """Indices 0 to size - 1. Several requests and snapshots can hold the same page; it is free again once none does."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = list(range(size - 1, -1, -1))
        self._holders = [0] * size

    @property
    def free(self) -> int:
        """How many can still be taken."""
        return len(self._free)

    def holders(self, index: int) -> int:
        return self._holders[index]

    def take(self, count: int) -> list[int]:
        """That many indices, each with one holder. The caller checks `free` first."""
        assert count <= len(self._free), (count, len(self._free))
        taken = [self._free.pop() for _ in range(count)]
        for index in taken:
            self._holders[index] = 1
        return taken

    def hold(self, indices: Sequence[int]) -> None:
        """One holder more for each of some that are held."""
        for index in indices:
            assert self._holders[index] > 0, "what is free cannot be shared"
            self._holders[index] += 1

    def release(self, indices: Sequence[int]) -> None:
        """One holder fewer for each."""
        for index in reversed(indices):
            assert self._holders[index] > 0, "an index was given back twice"
            self._holders[index] -= 1
            if self._holders[index] == 0:
                self._free.append(index)
