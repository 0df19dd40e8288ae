"""How fast a placed model decodes and reads prompts, from the bytes that it reads and the operations that it computes.

Each piece of work has two times: that of its bytes at the bandwidth of what holds them, and that of its operations at
the rate of what computes them. They overlap, but not wholly: together they take the root of the sum of their squares.
That rule stands between what was measured on two cores, where memory is slow for each and hides most of the computing,
and on one alone, where less is hidden: there Q5_K and Q6_K are a quarter slower than it says.
It holds for few rows of activations and for many: kernels fetch a panel of a matrix while they multiply the one before.

An expert is multiplied with the rows that choose it. Their number is binomial, if each token's choice is as good as
random: in a step of 512 tokens an expert of 256, of which each takes 8, has 16 on average and some have 8.

On the CPU both times are those of qwill's kernels (kernels.toml). qwill does not compute on graphics processors; for
them the estimate is a roofline: GPU_READS of the bandwidth, GPU_COMPUTES of the tensor rate, and GPU_LAYER_SECONDS for
the launches of a layer, for an engine that does.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from qwill.fit.kernels import kernels, packed_bytes, read_shares, value_operations
from qwill.fit.machines import Gpu, Host
from qwill.fit.weights import EMBEDDING, EXPERTS, FEED_FORWARD, HEAD, MIXERS, Part, Weights
from qwill.model.config import MoeConfig, TextConfig
from qwill.model.parameters import kv_bytes_per_token, state_bytes
from qwill.quant.types import TYPES, TensorType

STEP_TOKENS = 512  # of prompts that a step computes at most; engine.TOKEN_BUDGET
PROMPT_TOKENS = 512  # of the prompt whose speed is told, as `qwill bench` measures it

# The CPU's own time around the kernels, on a Zen 4 core: Python and the hand-over to threads, from the share
# "Python" of docs/performance.md (4.9% of 18.4 ms with 24 layers, 1.9% of 100 ms with 32), and sampling.
CPU_STEP_SECONDS, CPU_LAYER_SECONDS = 0.3e-3, 30e-6

RARE = 1e-9  # chances below that do not count

# Stated, not measured here.
GPU_READS, GPU_COMPUTES = 0.7, 0.5
GPU_LAYER_SECONDS = 60e-6  # a dozen launches of kernels
EXCHANGE_SECONDS = 15e-6  # of adding up what several cards computed, twice a layer
LINK_SHARE = 0.8


@dataclass(frozen=True)
class Term:
    """A piece of work: seconds that its bytes and its operations take at least."""

    what: str
    where: str
    memory: float = 0.0
    compute: float = 0.0

    @property
    def seconds(self) -> float:
        return math.hypot(self.memory, self.compute)


@dataclass(frozen=True)
class Speed:
    """Of one kind of step. tokens: of all sequences together."""

    tokens: float
    terms: tuple[Term, ...]

    @property
    def seconds(self) -> float:
        return sum(term.seconds for term in self.terms)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def limit(self) -> str:
        """What takes most of the time, and how much of it."""
        by: dict[str, float] = {}
        for term in self.terms:
            kind = "reading" if term.memory >= term.compute else "computing"
            if term.memory == term.compute == 0:
                continue
            by[f"{kind} {term.what} ({term.where})"] = by.get(f"{kind} {term.what} ({term.where})", 0) + term.seconds
        first = max(by, key=lambda name: by[name])
        return f"{first}: {by[first] / self.seconds:.0%} of the time"


class Device(Protocol):
    """What holds a share of a model and computes with it."""

    @property
    def name(self) -> str: ...
    def matrices(self, part: Part, elements: float, rows: int) -> tuple[float, float]:
        """Seconds for reading `elements` of a part once, and for multiplying them with `rows` rows."""

    def states(self, nbytes: float, operations: float) -> tuple[float, float]:
        """Seconds for recurrent states of so many bytes, of which so many elements are updated."""

    def attention(self, nbytes: float, operations: float, queries: float) -> tuple[float, float]:
        """Seconds for keys and values of so many bytes."""

    def step_seconds(self, layers: int, values: int, routed: int) -> float:
        """That a step takes in so many layers beside all that, with so many elements of hidden states; `routed` of
        them go into experts and come back.
        """


@dataclass(frozen=True)
class Cpu:
    """qwill's kernels on a host."""

    host: Host

    @property
    def name(self) -> str:
        return "CPU"

    def matrices(self, part: Part, elements: float, rows: int) -> tuple[float, float]:
        nbytes = packed_bytes(part.type, part.nbytes) * elements / part.elements
        cost = kernels(self.host.isa).matrix_cost(part.type, rows)
        return nbytes / (self.host.bandwidth * read_shares().weights), elements * cost / self.host.rate

    def states(self, nbytes: float, operations: float) -> tuple[float, float]:
        cost = kernels(self.host.isa).delta
        return nbytes / (self.host.bandwidth * read_shares().states), operations * cost / self.host.rate

    def attention(self, nbytes: float, operations: float, queries: float) -> tuple[float, float]:
        cost = kernels(self.host.isa).attention_cost(queries)
        return nbytes / (self.host.bandwidth * read_shares().keys_and_values), operations * cost / self.host.rate

    def step_seconds(self, layers: int, values: int, routed: int) -> float:
        operations = values * value_operations() + routed * kernels(self.host.isa).routed
        return CPU_STEP_SECONDS + layers * (CPU_LAYER_SECONDS + operations / self.host.rate)


@dataclass(frozen=True)
class Cards:
    """Equal graphics processors that share every matrix."""

    gpu: Gpu
    count: int = 1

    @property
    def name(self) -> str:
        return self.gpu.name if self.count == 1 else f"{self.count}x {self.gpu.name}"

    def matrices(self, part: Part, elements: float, rows: int) -> tuple[float, float]:
        rate = self.gpu.fp8 or self.gpu.bf16 if part.type.name == "F8_E4M3" else self.gpu.bf16
        nbytes = part.nbytes * elements / part.elements
        return self._read(nbytes), 2 * elements * rows / (rate * self.count * GPU_COMPUTES)

    def states(self, nbytes: float, operations: float) -> tuple[float, float]:
        return self._read(nbytes), 8 * operations / (self.gpu.bf16 * self.count * GPU_COMPUTES)

    def attention(self, nbytes: float, operations: float, queries: float) -> tuple[float, float]:
        return self._read(nbytes), operations / (self.gpu.bf16 * self.count * GPU_COMPUTES)

    def step_seconds(self, layers: int, values: int, routed: int) -> float:
        exchange = 2 * EXCHANGE_SECONDS if self.count > 1 else 0.0
        return layers * (GPU_LAYER_SECONDS + exchange)

    def _read(self, nbytes: float) -> float:
        return nbytes / (self.gpu.bandwidth * self.count * GPU_READS)


@dataclass(frozen=True)
class Share:
    """A device and what it holds: for each part's name the share of it, from 0 to 1, and the share of the caches. card:
    one that may compute in its place, if bringing the weights there takes less time.
    """

    device: Device
    parts: dict[str, float]
    cache: float = 0.0
    card: Cards | None = None


@dataclass(frozen=True)
class _Work:
    """Tokens that a step computes: `tokens` new ones in `sequences` sequences after `context` cached ones each."""

    tokens: int
    sequences: int
    context: float
    logits: int

    @property
    def queries(self) -> float:
        return self.tokens / self.sequences


def decode(
    weights: Weights, shares: Sequence[Share], context: int, batch: int = 1, kv_type: TensorType = TYPES["F16"]
) -> Speed:
    """Writing one token in each of `batch` sequences of `context` tokens."""
    work = _Work(batch, batch, context, batch)
    return Speed(batch, tuple(_step(weights, shares, work, kv_type)))


def prefill(
    weights: Weights, shares: Sequence[Share], tokens: int, context: int = 0, kv_type: TensorType = TYPES["F16"]
) -> Speed:
    """Reading a prompt of `tokens` tokens after `context` cached ones, with the logits of its last token."""
    terms: list[Term] = []
    for first in range(0, tokens, STEP_TOKENS):
        count = min(STEP_TOKENS, tokens - first)
        # A query of a chunk meets what is cached, and half of the chunk on average.
        chunk = _Work(count, 1, context + first + count / 2, int(first + count == tokens))
        terms += _step(weights, shares, chunk, kv_type)
    return Speed(tokens, tuple(terms))


@cache
def expert_rows(moe: MoeConfig, tokens: int) -> tuple[tuple[int, float], ...]:
    """Numbers of rows that an expert of a layer may get of `tokens` tokens, from 1 on, and the chance of each: the
    binomial distribution, without its ends below RARE.
    """
    share = moe.top_k / moe.experts
    if share == 1:
        return ((tokens, 1.0),)
    odds, chances = math.log(share / (1 - share)), math.lgamma(tokens + 1) + tokens * math.log1p(-share)
    logs = ((n, chances + n * odds - math.lgamma(n + 1) - math.lgamma(tokens - n + 1)) for n in range(1, tokens + 1))
    return tuple((n, math.exp(log)) for n, log in logs if log > math.log(RARE))


def _step(weights: Weights, shares: Sequence[Share], work: _Work, kv_type: TensorType) -> Iterable[Term]:
    text = weights.config.text
    for share in shares:
        for part in weights.parts:
            held = share.parts.get(part.name, 0.0)
            if held and not part.vectors:
                yield from _part(share, part, part.elements * held, work, text, _is_head(part, weights))
        if share.cache:
            yield from _mixing(share, work, text, kv_type)
        if share.parts or share.cache:
            layers = text.layers * max(share.parts.get(MIXERS, 0.0), share.parts.get(EXPERTS, 0.0))
            values = work.tokens * text.hidden_size
            routed = values * text.moe.top_k if text.moe is not None and EXPERTS in share.parts else 0
            own = share.device.step_seconds(round(layers), values, routed)
            yield Term("launches and small operations", share.device.name, compute=own)


def _is_head(part: Part, weights: Weights) -> bool:
    """Embeddings are also the head where there is no other."""
    return part.name == (EMBEDDING if weights.config.text.tie_word_embeddings else HEAD)


def _part(share: Share, part: Part, elements: float, work: _Work, text: TextConfig, head: bool) -> Iterable[Term]:
    if head:
        if work.logits:
            yield _matrices(share, part, elements, ((work.logits, 1.0),), "the head")
    elif part.name == EXPERTS and text.moe is not None:
        yield _matrices(share, part, elements, expert_rows(text.moe, work.tokens), "experts")
    elif part.name in (MIXERS, FEED_FORWARD):
        yield _matrices(share, part, elements, ((work.tokens, 1.0),), "weights")


def _matrices(share: Share, part: Part, elements: float, rows: Sequence[tuple[int, float]], what: str) -> Term:
    """rows: with how many, and for which share of the elements."""
    term = Term(what, share.device.name, *_times(share.device, part, elements, rows))
    if share.card is not None:
        # Many tokens pay for bringing weights to the card, which computes faster.
        link = part.nbytes * elements * sum(held for _, held in rows) / part.elements
        read, computed = _times(share.card, part, elements, rows)
        seconds = link / (share.card.gpu.link * LINK_SHARE)
        brought = Term(f"{what} over PCIe", share.card.name, seconds, max(read, computed))
        return min(term, brought, key=lambda each: each.seconds)
    return term


def _times(device: Device, part: Part, elements: float, rows: Sequence[tuple[int, float]]) -> tuple[float, float]:
    each = [device.matrices(part, elements * held, count) for count, held in rows]
    return sum(read for read, _ in each), sum(computed for _, computed in each)


def _mixing(share: Share, work: _Work, text: TextConfig, kv_type: TensorType) -> Iterable[Term]:
    """Recurrent states, read and written once a step; keys and values, read once."""
    linear, full = text.layer_types.count("linear_attention"), text.layer_types.count("full_attention")
    state = text.linear_value_heads * text.linear_key_dim * text.linear_value_dim
    moved, updates = 2 * work.sequences * state_bytes(text), work.tokens * linear * state
    yield Term("states", share.device.name, *share.device.states(moved * share.cache, updates * share.cache))
    cached = work.sequences * work.context * kv_bytes_per_token(text, kv_type)
    products = 4.0 * work.tokens * work.context * full * text.attention_heads * text.head_dim
    seconds = share.device.attention(cached * share.cache, products * share.cache, work.queries)
    yield Term("keys and values", share.device.name, *seconds)
