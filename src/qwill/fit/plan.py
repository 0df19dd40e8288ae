"""Where each part of a model goes on a machine, whether it fits, and the nearest thing that does."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from qwill.fit.estimate import Cards, Cpu, Device, Share
from qwill.fit.family import members
from qwill.fit.kernels import packed_bytes
from qwill.fit.machines import Gpu, Machine
from qwill.fit.weights import (
    DRAFT_HEAD,
    EMBEDDING,
    EXPERTS,
    FEED_FORWARD,
    HEAD,
    MIXERS,
    VISION,
    Part,
    Weights,
    member_weights,
    quantizations,
)
from qwill.model.parameters import kv_bytes_per_token, state_bytes
from qwill.quant.types import TYPES, TensorType

CACHES, PROGRAM = "keys, values and states", "the program"
GPU, RAM, UNIFIED, DISK = "GPU", "RAM", "unified memory", "disk"
# In this order they go to the fastest memory. Of experts a token needs few, of untied embeddings a row.
ORDER = (CACHES, MIXERS, FEED_FORWARD, HEAD, DRAFT_HEAD, VISION, EXPERTS, EMBEDDING)

# Of `qwill bench FILE -p 512` beside packed weights and caches, measured with the 0.8B in three types: interpreter and
# libraries 45 MB, what a step of 512 tokens takes between 60 MB; and for each token of the vocabulary its string and
# merge in the tokenizer's table, and where they lie in the file.
PROGRAM_BYTES = 105_000_000
BYTES_PER_WORD = 100
CARD_BYTES = 800_000_000  # of each card: the driver's context and what kernels need between; stated, not measured here
LEAST_CONTEXT = 256  # below that nobody is helped


@dataclass(frozen=True)
class Wish:
    """What is to run: `batch` sequences of up to `context` tokens each."""

    context: int
    batch: int = 1
    kv_type: TensorType = TYPES["F16"]


@dataclass(frozen=True)
class Place:
    """One memory: what it can hold, and the bytes of each part there."""

    kind: str
    name: str
    capacity: int
    parts: dict[str, int]

    @property
    def used(self) -> int:
        return sum(self.parts.values())

    @property
    def free(self) -> int:
        return self.capacity - self.used


@dataclass(frozen=True)
class Plan:
    """places: from the fastest memory to the slowest; `missing` bytes would have to stay on disk. shares: what
    fit/estimate.py needs.
    """

    places: tuple[Place, ...]
    shares: tuple[Share, ...]
    missing: int

    @property
    def fits(self) -> bool:
        return self.missing == 0

    @property
    def memory_bytes(self) -> int:
        """That weights, caches and program take, wherever they lie."""
        return sum(place.used for place in self.places) + self.missing

    @property
    def free(self) -> int:
        return sum(place.free for place in self.places)


def plan(weights: Weights, machine: Machine, wish: Wish) -> Plan:
    """Fills the machine's memories from the fastest on. What fits nowhere is told as missing, never placed."""
    left = dict.fromkeys(ORDER, 1.0)
    caches = cache_size(weights, wish)
    places: list[Place] = []
    shares: list[Share] = []
    missing = 0
    for memory in _memories(machine, weights):
        held, parts = _fill(memory, weights, caches, left)
        places.append(Place(memory.kind, memory.name, memory.capacity, parts))
        missing += max(-places[-1].free, 0)  # the program alone may be too much
        cards = next((share.device for share in shares if isinstance(share.device, Cards)), None)
        share = Share(memory.device, held, held.pop(CACHES, 0.0), cards if memory.kind == RAM else None)
        if share.parts or share.cache:
            shares.append(share)
    missing += round(left[CACHES] * caches)
    tied = weights.config.text.tie_word_embeddings
    missing += sum(round(left[part.name] * ram_bytes(part, tied)) for part in weights.parts)
    return Plan(tuple(places), tuple(shares), missing)


def _fill(
    memory: "_Memory", weights: Weights, caches: int, left: dict[str, float]
) -> tuple[dict[str, float], dict[str, int]]:
    """Moves what fits from `left`, shares of the parts, into a memory: the shares, and bytes with what is reserved."""
    held: dict[str, float] = {}
    parts = dict(memory.reserved)
    free = memory.capacity - sum(parts.values())
    for name in ORDER:
        own = [part for part in weights.parts if part.name == name]
        size = caches if name == CACHES else sum(map(memory.size, own))
        if size == 0 or left[name] == 0.0:
            continue
        share = min(left[name], max(free, 0) / size)
        if share < left[name] and share * size < _piece(weights, name):
            continue  # not even one layer of it
        held[name] = share
        parts[name] = int(share * size)
        free -= parts[name]
        left[name] -= share  # exactly zero when all of it fits
    return held, parts


def cache_size(weights: Weights, wish: Wish) -> int:
    """Keys, values and recurrent states of all sequences, those of the draft head included."""
    text = weights.config.text
    draft = 2 * text.mtp_layers * text.kv_heads * wish.kv_type.row_bytes(text.head_dim)
    token = kv_bytes_per_token(text, wish.kv_type) + draft
    return wish.batch * (wish.context * token + state_bytes(text))


def program_size(weights: Weights) -> int:
    """What qwill takes beside weights and caches."""
    return PROGRAM_BYTES + BYTES_PER_WORD * weights.config.text.vocab_size


def largest_context(weights: Weights, machine: Machine, wish: Wish) -> int:
    """The longest context that fits with the same batch, in steps of LEAST_CONTEXT; 0 when none does."""
    low, high = 0, wish.context // LEAST_CONTEXT + 1
    while high - low > 1:
        middle = (low + high) // 2
        if plan(weights, machine, Wish(middle * LEAST_CONTEXT, wish.batch, wish.kv_type)).fits:
            low = middle
        else:
            high = middle
    return low * LEAST_CONTEXT


def largest_batch(weights: Weights, machine: Machine, wish: Wish) -> int:
    """How many sequences of that context fit; 0 when not even one does."""
    batch = wish.batch
    while batch and not plan(weights, machine, Wish(wish.context, batch, wish.kv_type)).fits:
        batch = batch - 1 if batch <= 16 else batch * 3 // 4
    return batch


def best_quantization(member: str, machine: Machine, wish: Wish) -> Weights | None:
    """The first of a member's quantizations, the best first, that fits."""
    for quant in quantizations(member):
        weights = cached_weights(member, quant)
        if plan(weights, machine, wish).fits:
            return weights
    return None


@dataclass(frozen=True)
class Nearest:
    """Something that does fit where what was wished for does not."""

    weights: Weights
    wish: Wish
    changed: str


def nearest(weights: Weights, member: str | None, machine: Machine, wish: Wish) -> Iterator[Nearest]:
    """What fits instead, each with one thing changed: context, batch, quantization, and if all of that does not help
    the member: the largest one that fits in any quantization.
    """
    context = largest_context(weights, machine, wish)
    if context:
        yield Nearest(weights, Wish(context, wish.batch, wish.kv_type), f"a context of {context:,}")
    batch = largest_batch(weights, machine, wish)
    if 0 < batch < wish.batch:
        yield Nearest(weights, Wish(wish.context, batch, wish.kv_type), f"{batch} at a time")
    if member is None:
        return
    best = next(fitting_members(member, machine, wish), None)
    if best is not None:
        yield Nearest(best, wish, best.quant if best.model == member else f"{best.model} in {best.quant}")


def fitting_members(member: str, machine: Machine, wish: Wish) -> Iterator[Weights]:
    """From that member down to the smallest: those that fit, each in the best quantization that does."""
    for name in members()[members().index(member) :]:
        best = best_quantization(name, machine, wish)
        if best is not None:
            yield best


@cache
def cached_weights(member: str, quant: str) -> Weights:
    """As `member_weights`; each is planned once."""
    return member_weights(member, quant)


@dataclass(frozen=True)
class _Memory:
    kind: str
    name: str
    capacity: int
    device: Device
    reserved: dict[str, int]
    tied: bool

    def size(self, part: Part) -> int:
        return ram_bytes(part, self.tied) if self.kind == RAM else part.nbytes


def _memories(machine: Machine, weights: Weights) -> Iterator[_Memory]:
    """From the fastest to the slowest; equal cards are one, whose matrices are shared."""
    program, tied = {PROGRAM: program_size(weights)}, weights.config.text.tie_word_embeddings
    groups: dict[Gpu, int] = {}
    for gpu in sorted(machine.gpus, key=lambda gpu: -gpu.bandwidth):
        groups[gpu] = groups.get(gpu, 0) + 1
    for gpu, count in groups.items():
        cards = Cards(gpu, count)
        reserved = program if gpu.unified else {PROGRAM: count * CARD_BYTES}
        kind = UNIFIED if gpu.unified else GPU
        yield _Memory(kind, cards.name, count * gpu.memory_bytes, cards, reserved, tied)
    shared = any(gpu.unified for gpu in groups)  # that memory is the host's, too
    if machine.host is not None and not shared and (machine.host.memory_bytes or not groups):
        yield _Memory(RAM, RAM, machine.host.memory_bytes, Cpu(machine.host), program, tied)


def ram_bytes(part: Part, tied: bool) -> int:
    """Of a part that lies packed for qwill's kernels. The table of embeddings is looked up in the file as it is, whose
    pages are given back; if it is tied, which makes it the head, too, it is packed as well.
    """
    return part.nbytes if part.name == EMBEDDING and not tied else packed_bytes(part.type, part.nbytes)


def _piece(weights: Weights, name: str) -> int:
    """Bytes of one layer of a part that has layers; of another part all."""
    size = weights.nbytes(name)
    return size // weights.config.text.layers if name in (MIXERS, FEED_FORWARD, EXPERTS) else size
