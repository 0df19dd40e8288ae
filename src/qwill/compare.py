"""How far a file's predictions are from a reference's, over the same tokens.

At each token both models give a distribution of the next one. The Kullback-Leibler divergence, sum of p (log p - log q)
in nats with p the reference's, is 0 where they agree; the perplexity, exp of the mean negative log-probability of the
tokens that did come, tells how well each model predicts the text itself. As llama-perplexity does it, tokens in the
second half of each piece of text count, so that all of them have some context.

A model's hidden states are hundreds of times smaller than its logits. So each model reads everything by itself, its
states wait in a temporary file, and then both output matrices turn them into logits, a few rows at a time: the memory
is that of the larger model, and no logits are ever stored.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from qwill.engine.request import Request
from qwill.errors import InvalidArgument
from qwill.llm import LLM
from qwill.model.config import model_config
from qwill.ops import Operations, native_operations
from qwill.passages import context_for, read_passages
from qwill.system.processors import performance_cores
from qwill.weights.checkpoint import Checkpoint

LOGITS_TOGETHER = 1 << 22  # of one model; in float64, with what is computed from them, some hundred megabytes
TOP = 5
SAMPLE = Path(__file__).with_name("sample_text.txt")  # some 2,500 tokens of many kinds, for a quick look


@dataclass(frozen=True)
class Comparison:
    """One value for each token that counts, of the reference A and of B.

    - divergence: float64 [tokens], in nats
    - log_a, log_b: float64 [tokens], log-probabilities of the token that came next
    - same_top: bool [tokens], whether both think the same token the likeliest
    - overlap: int [tokens], how many of the five likeliest they share
    """

    divergence: np.ndarray
    log_a: np.ndarray
    log_b: np.ndarray
    same_top: np.ndarray
    overlap: np.ndarray

    def summary(self) -> dict[str, Any]:
        """What is told of it; `_error` is a standard error, of independent tokens."""
        difference = self.log_a - self.log_b
        ratio = float(np.exp(difference.mean()))
        return {
            "tokens": len(self.divergence),
            "divergence": {
                "mean": float(self.divergence.mean()),
                "mean_error": standard_error(self.divergence),
                "median": float(np.median(self.divergence)),
                "p90": float(np.percentile(self.divergence, 90)),
                "p99": float(np.percentile(self.divergence, 99)),
                "max": float(self.divergence.max()),
            },
            "perplexity": {
                "a": float(np.exp(-self.log_a.mean())),
                "b": float(np.exp(-self.log_b.mean())),
                "ratio": ratio,
                "ratio_error": ratio * standard_error(difference),
            },
            "same_top_token": float(self.same_top.mean()),
            "top_5_overlap": float(self.overlap.mean()) / TOP,
        }


def standard_error(values: np.ndarray) -> float:
    """Of the mean of independent values; 0 for a single one."""
    return float(values.std(ddof=1)) / sqrt(len(values)) if len(values) > 1 else 0.0


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """float64 [tokens, vocab] of logits of that shape."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return exact


def divergence(log_a: np.ndarray, log_b: np.ndarray) -> np.ndarray:
    """Of each token in nats [tokens], from log-probabilities [tokens, vocab]."""
    result: np.ndarray = np.einsum("tv,tv->t", np.exp(log_a), log_a - log_b)
    return result


def compare_logits(a: np.ndarray, b: np.ndarray, targets: np.ndarray) -> Comparison:
    """Logits [tokens, vocab] of both models, and the tokens that came next [tokens]."""
    rows = np.arange(len(targets))
    log_a, log_b = log_probabilities(a), log_probabilities(b)
    top_a, top_b = (np.argpartition(logits, -TOP, axis=1)[:, -TOP:] for logits in (a, b))
    return Comparison(
        divergence=divergence(log_a, log_b),
        log_a=log_a[rows, targets],
        log_b=log_b[rows, targets],
        same_top=a.argmax(axis=1) == b.argmax(axis=1),
        overlap=(top_a[:, :, None] == top_b[:, None, :]).sum(axis=(1, 2)),
    )


def joined(parts: Sequence[Comparison]) -> Comparison:
    """Several comparisons as one."""
    names = Comparison.__dataclass_fields__
    return Comparison(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class States:
    """What a model thinks before its output matrix, at the tokens that count: float32 [tokens, hidden_size] in a file.

    `token_ids` are those of each passage, `targets` the tokens that came next.
    """

    def __init__(self, llm: LLM, passages: Sequence[Request], advance: Callable[[], None]) -> None:
        self.checkpoint = llm.checkpoint
        self.token_ids = token_ids(passages)
        counted = [counted_rows(request) for request in passages]
        self.targets = np.array(
            [ids[row + 1] for ids, rows in zip(self.token_ids, counted, strict=True) for row in rows], np.int64
        )
        if len(self.targets) == 0:
            raise InvalidArgument("the text is too short to compare anything; give a longer one with -f FILE")
        shape = (len(self.targets), llm.config.text.hidden_size)
        with tempfile.TemporaryFile(prefix="qwill-compare-") as file:  # it goes with the last of its pages
            self.hidden = np.memmap(file, np.float32, "w+", shape=shape)
        done = 0
        for request, rows in zip(passages, counted, strict=True):
            hidden = np.concatenate(list(llm.engine.read(request)))
            self.hidden[done : done + len(rows)] = hidden[rows]
            done += len(rows)
            advance()

    def head(self, operations: Operations) -> Callable[[slice], np.ndarray]:
        """A function that gives the logits [tokens, vocab] f32 of some of the tokens."""
        tensors = self.checkpoint.tensors
        tensor = tensors.peek("lm_head.weight" if "lm_head.weight" in tensors else "embed_tokens.weight")
        weight = operations.plan(tensor)
        operations.pack_planned([(weight, tensor)])
        return lambda rows: operations.linear(np.array(self.hidden[rows]), weight)


def token_ids(passages: Sequence[Request]) -> list[list[int]]:
    """Of each passage."""
    return [list(request.prompt.token_ids) for request in passages]


def counted_rows(request: Request) -> np.ndarray:
    """Tokens in the second half of a passage of which the next one is known, and a word: pictures are not guessed."""
    ids = np.arange(request.length - 1)
    counted = ids >= request.length // 2
    for media in request.prompt.media:
        counted &= (ids + 1 < media.start) | (ids + 1 >= media.start + media.length)
    return ids[counted]


def compare(
    a: str | Checkpoint,
    b: str | Checkpoint,
    files: Sequence[str | Path],
    context: int,
    *,
    most: int | None = None,
    threads: int | None = None,
    load: Callable[..., LLM] = LLM,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Comparison:
    """Compares b with the reference a over texts in pieces of `context` tokens, at most `most`; see `read_passages`.

    load: makes a model as `LLM` does. progress: called with what is done, how much of it, and of how much.
    Raises UserError, among others when the two have not the same vocabulary, or when one does not fit into memory.
    """

    def read(model: str | Checkpoint, what: str, like: States | None = None) -> States:
        """Loads a model, lets it read, and lets go of it."""
        room = context_for(files, context)
        llm = load(model, threads=threads, max_context=room, kv="f32", max_sequences=1, prefix_cache=0)
        passages = read_passages(llm, files, context, most=most)
        if like is not None:
            _check_alike(like, llm, passages)
        done = count(1)
        return States(llm, passages, lambda: progress(what, next(done), len(passages)))

    first = read(a, "A reads")
    second = read(b, "B reads", first)
    return _compare_states(first, second, performance_cores() if threads is None else threads, progress)


def _check_alike(first: States, other: LLM, passages: Sequence[Request]) -> None:
    sizes = [model_config(each.config).text.vocab_size for each in (first.checkpoint, other.checkpoint)]
    if sizes[0] != sizes[1]:
        reason = f"vocabularies of {sizes[0]} and {sizes[1]} tokens"
    elif first.token_ids != token_ids(passages):
        reason = "tokenizers or templates that make other tokens of the text"
    else:
        return
    names = first.checkpoint.path.name, other.checkpoint.path.name
    raise InvalidArgument(f"{names[0]} and {names[1]} have {reason}; compare files of the same model")


def _compare_states(
    first: States, second: States, threads: int, progress: Callable[[str, int, int], None]
) -> Comparison:
    operations = native_operations(threads)
    heads = first.head(operations), second.head(operations)
    total, step = (
        len(first.targets),
        max(threads, LOGITS_TOGETHER // model_config(first.checkpoint.config).text.vocab_size),
    )
    parts: list[Comparison] = []
    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, total, step):
            rows = slice(begin, begin + step)
            logits = [np.array_split(head(rows), threads) for head in heads]
            parts += pool.map(compare_logits, *logits, np.array_split(first.targets[rows], threads))
            progress("compared", min(begin + step, total), total)
    return joined(parts)
