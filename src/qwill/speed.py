"""Measures how fast a model reads prompts and writes answers, through the steps that every answer takes.

A case is what llama-bench calls a test: so many tokens read at once with the last one's logits (pp), or written one by
one (tg), after so many tokens of context (@d), which are read before the clock starts. Sampling is greedy and counts.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np

from qwill.answer import Answer
from qwill.engine.engine import PAGE_SIZE, TOKEN_BUDGET
from qwill.engine.sampling_params import SamplingParams
from qwill.errors import InvalidArgument, NotEnoughMemory
from qwill.fit.family import family_config
from qwill.llm import LLM
from qwill.model.batch import cache_bytes
from qwill.model.config import TextConfig, model_config
from qwill.quant.recipes import load_recipe, names
from qwill.quant.types import TensorType
from qwill.system.memory import available_memory
from qwill.weights.checkpoint import Checkpoint
from qwill.weights.naming.models import family_member
from qwill.weights.random import DEFAULT_MIX, plan, random_checkpoint

MAX_SEQUENCES = TOKEN_BUDGET // 2  # half of every step is left for prompts while the others wait for the last one
WARM_UP_TOKENS = {"prefill": TOKEN_BUDGET, "decode": 8}
RESERVE_BYTES = 256 << 20  # for the program itself and what kernels need between


@dataclass(frozen=True)
class Case:
    """`tokens` of each of `sequences` sequences together, read or written after `context` tokens, `repeat` times.

    A long context takes longer to read than what is measured in it: an answer goes on from one time to the next, so
    that it is read once.
    """

    kind: Literal["prefill", "decode"]
    tokens: int
    context: int = 0
    sequences: int = 1
    repeat: int = 1

    @property
    def label(self) -> str:
        name = f"{'pp' if self.kind == 'prefill' else 'tg'}{self.tokens}"
        depth = f"@d{self.context}" if self.context else ""
        return name + depth + (f" b{self.sequences}" if self.sequences > 1 else "")

    @property
    def early_tokens(self) -> int:
        """At most so many tokens the first sequence writes before the last one's context is read."""
        if self.context == 0 or self.sequences == 1:
            return 0
        return self.sequences * self.context // (TOKEN_BUDGET - self.sequences) + 2

    @property
    def length(self) -> int:
        """Tokens that a sequence can come to."""
        return max(self.context, 1) + self.early_tokens + self.written + 1

    @property
    def written(self) -> int:
        """Tokens that one answer writes, or reads, behind its context."""
        return self.tokens * (self.repeat if self.kind == "decode" and self.context else 1)


@dataclass(frozen=True)
class Speed:
    """A case and its repetitions, in tokens per second of all sequences together."""

    case: Case
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def all_cases(
    prompts: Sequence[int], answers: Sequence[int], contexts: Sequence[int], sequences: Sequence[int], repeat: int = 1
) -> list[Case]:
    """Every combination; a prompt or an answer of no tokens is no case. Raises InvalidArgument when nothing is left."""
    cases: list[Case] = []
    for context in contexts:
        for count in sequences:
            if count > MAX_SEQUENCES:
                raise InvalidArgument(f"{count} sequences are more than the {MAX_SEQUENCES} that are measured together")
            cases += [Case("prefill", tokens, context, count, repeat) for tokens in prompts if tokens]
            cases += [Case("decode", tokens, context, count, repeat) for tokens in answers if tokens]
    if not cases:
        raise InvalidArgument("nothing to measure: -p and -n are both 0")
    return cases


def room_for(cases: Sequence[Case], config: TextConfig, name: str) -> dict[str, int]:
    """The options of `LLM` that make room for each of the cases. Raises InvalidArgument for too long a context."""
    longest = max(cases, key=lambda case: case.length)
    limit = config.max_position_embeddings
    if longest.length > limit:
        raise InvalidArgument(f"{longest.label} needs a context of {longest.length} and {name} holds {limit} tokens")
    pages = max(case.sequences * -(-case.length // PAGE_SIZE) for case in cases)
    return {
        "max_context": longest.length,
        "cache_tokens": pages * PAGE_SIZE,
        "max_sequences": max(case.sequences for case in cases),
        "prefix_cache": 0,  # what is measured again must be computed again
    }


def random_model(name: str, quant: str, layers: int | None, cases: Sequence[Case], kv_type: TensorType) -> Checkpoint:
    """The member of the family of that name or alias with random weights: its first `layers`, or as many as fit.

    quant: a recipe's name or file; "" for the alias's own or the default. Raises ModelNotFound, InvalidArgument or
    NotEnoughMemory.
    """
    member, own = family_member(name)
    mix = quant or own or DEFAULT_MIX
    mix = mix.upper() if mix.upper() in names() else mix
    load_recipe(mix)
    config = family_config(member)
    all_layers = config["text_config"]["num_hidden_layers"]
    if layers is not None and layers > all_layers:
        raise InvalidArgument(f"{member} has {all_layers} layers, {layers} were asked for")
    if layers is None:
        layers = fitting_layers(config, mix, cases, kv_type)
    return random_checkpoint(member, config, mix, layers)


def fitting_layers(config: dict[str, Any], mix: str, cases: Sequence[Case], kv_type: TensorType) -> int:
    """How many of the first layers of `config` fit into the free memory with random weights, at most all.

    Raises NotEnoughMemory when not even one does.
    """
    text = config["text_config"] | {"mtp_num_hidden_layers": 0}
    room = room_for(cases, model_config(config).text, "the model")
    pages, sequences = room["cache_tokens"] // PAGE_SIZE + 1, room["max_sequences"]

    def needed(layers: int) -> int:
        text["num_hidden_layers"] = layers
        sizes = [tensor.nbytes for tensor in plan(text, mix)]
        # A tensor lies there twice while it is packed; embeddings that are also the head do for good.
        weights = sum(sizes) + max(sizes) + (sizes[0] if text["tie_word_embeddings"] else 0)
        cache = cache_bytes(model_config(config | {"text_config": text}).text, pages, PAGE_SIZE, sequences, kv_type)
        return weights + cache + RESERVE_BYTES

    available = available_memory()
    for layers in range(text["num_hidden_layers"], 0, -1):
        if needed(layers) <= available:
            return layers
    raise NotEnoughMemory(
        f"one layer needs {needed(1) / 1e9:.1f} GB with embeddings and caches, {available / 1e9:.1f} GB are free;"
        " take a smaller member or --quant, or less of -d and -b"
    )


def measure(llm: LLM, case: Case) -> Speed:
    """Runs a case as often as it says, after a short warm-up without context."""
    rng = np.random.default_rng()
    warm_up = replace(case, tokens=min(case.tokens, WARM_UP_TOKENS[case.kind]), context=0, repeat=1)
    for _ in _seconds(llm, warm_up, rng):
        pass
    return Speed(case, tuple(case.sequences * case.tokens / seconds for seconds in _seconds(llm, case, rng)))


def _seconds(llm: LLM, case: Case, rng: np.random.Generator) -> Iterator[float]:
    """Of each repetition."""
    if case.kind == "decode" and case.context:
        yield from _decode_seconds(llm, case, rng)
        return
    for _ in range(case.repeat):
        if case.kind == "decode":
            yield from _decode_seconds(llm, replace(case, repeat=1), rng)
        elif case.context == 0:
            yield _prompt_seconds(llm, case, rng)
        else:
            yield _extension_seconds(llm, case, rng)


def _prompt_seconds(llm: LLM, case: Case, rng: np.random.Generator) -> float:
    """Prompts that are answered by one token."""
    answers = _answers(llm, case.sequences, case.tokens, 1, rng)
    started = time.perf_counter()
    for _ in llm.steps(answers):
        pass
    elapsed = time.perf_counter() - started
    assert all(len(answer.request.output_ids) == 1 for answer in answers)
    return elapsed


def _extension_seconds(llm: LLM, case: Case, rng: np.random.Generator) -> float:
    """Answers in a context get more tokens at once; each ends with the token drawn after them."""
    room = case.early_tokens + case.tokens + 1
    answers = _answers(llm, case.sequences, case.context, room, rng)
    with closing(llm.steps(answers)) as steps:
        _read_contexts(answers, steps)
        for answer in answers:  # the newest token is not in the cache yet and is the first of them
            answer.request.extend(_tokens(llm, case.tokens - 1, rng))
        unfinished = {answer.request: len(answer.request.output_ids) for answer in answers}
        started = time.perf_counter()
        while unfinished:
            next(steps)
            for request in [request for request, given in unfinished.items() if len(request.output_ids) > given]:
                request.finish_reason = "length"
                del unfinished[request]
        return time.perf_counter() - started


def _decode_seconds(llm: LLM, case: Case, rng: np.random.Generator) -> Iterator[float]:
    """Passes of one token of each sequence; without context the prompt's only token is the first."""
    room = case.early_tokens + case.tokens * case.repeat + (1 if case.context else 0)
    answers = _answers(llm, case.sequences, max(case.context, 1), room, rng)
    with closing(llm.steps(answers)) as steps:
        if case.context:
            _read_contexts(answers, steps)
        for _ in range(case.repeat):
            before = [len(answer.request.output_ids) for answer in answers]
            started = time.perf_counter()
            for _ in range(case.tokens):
                next(steps)
            elapsed = time.perf_counter() - started
            written = [len(answer.request.output_ids) for answer in answers]
            assert written == [count + case.tokens for count in before]
            yield elapsed


def _read_contexts(answers: list[Answer], steps: Iterator[None]) -> None:
    while not all(answer.request.output_ids for answer in answers):
        next(steps)


def _answers(llm: LLM, count: int, prompt: int, room: int, rng: np.random.Generator) -> list[Answer]:
    params = SamplingParams(
        temperature=0, presence_penalty=0, frequency_penalty=0, repetition_penalty=1, max_tokens=room, ignore_eos=True
    )
    return [llm.answer(_tokens(llm, prompt, rng), params) for _ in range(count)]


def _tokens(llm: LLM, count: int, rng: np.random.Generator) -> list[int]:
    return rng.integers(0, llm.config.text.vocab_size, count).tolist()


def weight_bytes_per_token(checkpoint: Checkpoint) -> int:
    """Bytes of the language model's weights that a decoded token reads: of routed experts only those it is sent to."""
    moe = model_config(checkpoint.config).text.moe
    total = 0
    for tensor in checkpoint.tensors:
        if tensor.name.startswith(("visual.", "mtp.")):
            continue
        if tensor.name == "embed_tokens.weight" and "lm_head.weight" in checkpoint.tensors:
            total += tensor.nbytes // tensor.shape[0]
        elif moe is not None and len(tensor.shape) == 3:
            total += tensor.nbytes * moe.top_k // moe.experts
        else:
            total += tensor.nbytes
    return total


def operations_per_token(checkpoint: Checkpoint) -> int:
    """Multiplications and additions of a prompt's token with the language model's matrices, the head left out, and
    those of the experts that it is not sent to: what prefill cannot do without. Attention and the delta rule add to it.
    """
    moe = model_config(checkpoint.config).text.moe
    total = 0
    for tensor in checkpoint.tensors:
        if not tensor.name.startswith("layers.") or len(tensor.shape) < 2 or tensor.name.endswith("conv1d.weight"):
            continue
        elements = prod(tensor.shape)
        total += 2 * (elements * moe.top_k // moe.experts if moe is not None and len(tensor.shape) == 3 else elements)
    return total


def language_weights(checkpoint: Checkpoint) -> tuple[str, int]:
    """The types that take a tenth or more of the language model's weights, most first, and the bytes of all of them."""
    sizes: dict[str, int] = {}
    for tensor in checkpoint.tensors:
        if not tensor.name.startswith(("visual.", "mtp.")):
            sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.nbytes
    total = sum(sizes.values())
    names = sorted((name for name in sizes if 10 * sizes[name] >= total), key=lambda name: -sizes[name])
    return "+".join(names), total
