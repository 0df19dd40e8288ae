"""Which model a GGUF file says that it is, or belongs to: by its metadata and its name.

Vision files and draft heads are told apart by it where their shapes are alike: the 2B and the 35B are equally wide, and
so are the 9B and the 397B, and one size of 3.5 and 3.6.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property

from qwill.weights.gguf.file import GgufFile
from qwill.weights.naming.files import subject_of
from qwill.weights.naming.models import RELEASES

_OWN = ("general.name", "general.basename", "general.finetune", "general.size_label")
_BASE = re.compile(r"general\.base_model\.\d+\.(name|repo_url)")
# Billions of parameters; not those that are active (A3B), nor the experts' (256x2.6B) or a vision tower's own (447M).
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bt])(?![a-z0-9])")
_TOWER_SIZE = re.compile(r"\d+(\.\d+)?m")
_VERSION = re.compile(r"qwen[-_ ]?(\d(?:\.\d+)?)(?![\w.])")
# Where a name has no size the converter counts, to two digits: the 4B is 4.2B or 4.3B so, and the 27B is 27B.
SAME_SIZE, SAME_LARGE_SIZE, LARGE = 0.08, 0.01, 10


@dataclass(frozen=True)
class Identity:
    """`own`: what a file says of itself, a text each. `base`: the models that it was made from."""

    own: tuple[str, ...]
    base: tuple[str, ...]

    @cached_property
    def sizes(self) -> frozenset[float]:
        """Billions of parameters."""
        return frozenset(size for text in self.own + self.base for size in _sizes(text))

    @cached_property
    def versions(self) -> frozenset[str]:
        """Of the family, such as "3.5"."""
        return frozenset(match[1] for text in self.own + self.base for match in _VERSION.finditer(text))

    @cached_property
    def words(self) -> frozenset[str]:
        """All words that a file says of itself; a vision tower's own size is none of the model."""
        return frozenset(word for text in self.own for word in text.split("-") if not _TOWER_SIZE.fullmatch(word))

    def contradicts(self, other: "Identity") -> bool:
        """Whether both name members of the family, or versions of it, and have none in common."""
        own, others = (set(filter(_is_members, identity.sizes)) for identity in (self, other))
        if own and others and not any(_alike(a, b) for a in own for b in others):
            return True
        return bool(self.versions and other.versions and not self.versions & other.versions)

    def likeness(self, other: "Identity") -> tuple[float, float]:
        """How many of all words two files have in common, from 0 to 1: of what they say of themselves; of their bases
        too.
        """
        own, base = self.words, Identity(self.own + self.base, ()).words
        return _likeness(own, other.words), _likeness(base, Identity(other.own + other.base, ()).words)

    def __str__(self) -> str:
        return next(iter(self.own), "")


def identity_of(file: GgufFile) -> Identity:
    """What a file's metadata and its name say; texts are in lower case, without quantization and words of its kind."""
    metadata = {key: value for key, value in file.metadata.items() if isinstance(value, str)}
    own = [metadata.get(key, "") for key in _OWN]
    base = [value for key, value in metadata.items() if _BASE.fullmatch(key)]
    return Identity(_subjects([*own, file.path.name]), _subjects(base))


def _subjects(texts: list[str]) -> tuple[str, ...]:
    subjects = (subject_of(text.strip().rstrip("/")) for text in texts)
    return tuple(subject for subject in dict.fromkeys(subjects) if subject)


def _sizes(text: str) -> list[float]:
    found = (match.groups() for match in _SIZE.finditer(text))
    return [float(number) * (1000 if unit == "t" else 1) for number, unit in found]


@cache
def _members() -> tuple[float, ...]:
    return tuple(size for release in RELEASES.values() for size in _sizes(release.lower()))


def _is_members(size: float) -> bool:
    """Whether a member has that size: those that were pruned or merged have others, and keep a member's tower."""
    return any(_alike(size, member) for member in _members())


def _likeness(words: frozenset[str], others: frozenset[str]) -> float:
    return len(words & others) / len(words | others) if words | others else 0.0


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= (SAME_SIZE if min(a, b) < LARGE else SAME_LARGE_SIZE) * max(a, b)
