"""How many drafts of the multi-token head the text model would accept: speculative decoding, replayed.

The answers are qwill's own greedy ones, so a draft is accepted exactly when it is the answer's next token. A step
begins with the newest token of the answer, drafts `DRAFTS` tokens, keeps those up to the first wrong one, and gets one
more token from the text model. The head drafts further from its own normed hidden state; keys and values of tokens that
are verified are computed anew from the text model's hidden states (llama.cpp, vLLM).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from rich.progress import track

from qwill import LLM
from qwill.engine.engine import PAGE_SIZE
from qwill.model.batch import Batch, Cache, allocate_cache
from qwill.model.config import model_config
from qwill.model.model import Model
from qwill.ops import native_operations
from qwill.prompt import PromptBuilder
from qwill.quant.types import TYPES
from qwill.weights.load import open_checkpoint
from training.evaluation.asking import Turn, answers, turns
from training.evaluation.tasks import TEXT_ROWS, held_out_examples

DRAFTS = 3
TOGETHER = 32  # answers that are replayed at a time


class Spoken(NamedTuple):
    """Token ids of a prompt and of its answer, the stop token included."""

    prompt: list[int]
    answer: list[int]


@dataclass
class Tally:
    """Steps by (drafts that the rest of the answer could verify, drafts accepted)."""

    steps: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, verifiable: int, accepted: int) -> None:
        key = (verifiable, accepted)
        self.steps[key] = self.steps.get(key, 0) + 1

    def count(self, least: int = 1) -> int:
        """Steps with at least so many drafts to verify."""
        return sum(count for (verifiable, _), count in self.steps.items() if verifiable >= least)

    def accepted(self, least: int = 1) -> float:
        """Mean drafts accepted over those steps."""
        total = sum(accepted * count for (verifiable, accepted), count in self.steps.items() if verifiable >= least)
        return total / max(1, self.count(least))


@dataclass
class Replay:
    """One answer on its way: `newest` is the last token that is known, `verified` the tokens whose keys and values
    stand in the head's cache, `hidden` the text model's states [tokens - 1, hidden_size] f32.
    """

    tokens: list[int]
    hidden: np.ndarray
    pages: np.ndarray
    newest: int
    verified: int = 0

    @property
    def verifiable(self) -> int:
        return min(DRAFTS, len(self.tokens) - 1 - self.newest)


def batch(token_ids: Sequence[Sequence[int]], contexts: Sequence[int], pages: Iterable[np.ndarray]) -> Batch:
    """Some tokens of each of several sequences of text, after the `contexts` tokens that each has in the cache."""
    counts = [len(ids) for ids in token_ids]
    positions = np.concatenate([np.arange(first, first + n) for first, n in zip(contexts, counts, strict=True)])
    return Batch(
        token_ids=np.concatenate([np.array(ids, np.int32) for ids in token_ids]),
        positions=np.broadcast_to(positions.astype(np.int32), (3, len(positions))),
        starts=np.array([0, *accumulate(counts)], np.int32),
        contexts=np.array(contexts, np.int32),
        slots=np.arange(len(counts), dtype=np.int32),
        block_tables=np.stack(list(pages)),
        replayed=np.zeros(len(counts), np.int32),
        kept=np.array(counts, np.int32),
    )


def last_rows(given: Batch, hidden: np.ndarray) -> np.ndarray:
    return hidden[given.starts[1:] - 1]


def begin(model: Model, cache: Cache, group: list[Spoken], pages: int) -> list[Replay]:
    """The text model reads prompts and answers; the first token of an answer is known without a draft."""
    for slot in range(len(group)):
        cache.clear_slot(slot)
    tables = np.arange(len(group) * pages, dtype=np.int32).reshape(len(group), pages)
    tokens = [spoken.prompt + spoken.answer for spoken in group]
    # The hidden state of an answer's last token would only draft what comes after its end.
    given = batch([ids[:-1] for ids in tokens], [0] * len(group), tables)
    parts = np.split(model.text.forward(given, cache), given.starts[1:-1])
    return [
        Replay(ids, hidden, table, len(spoken.prompt))
        for ids, hidden, table, spoken in zip(tokens, parts, tables, group, strict=True)
    ]


def step(model: Model, cache: Cache, replays: list[Replay]) -> list[int]:
    """Drafts for each replay and moves it on; returns how many were accepted."""
    assert model.mtp is not None
    contexts = [replay.verified for replay in replays]
    given = batch(
        [replay.tokens[replay.verified + 1 : replay.newest + 1] for replay in replays],
        contexts,
        [replay.pages for replay in replays],
    )
    known = np.concatenate([replay.hidden[replay.verified : replay.newest] for replay in replays])
    hidden = last_rows(given, model.mtp.forward(given, known, cache))
    drafts = [model.text.logits(hidden).argmax(axis=1)]
    for ahead in range(DRAFTS - 1):
        contexts = [replay.newest + ahead for replay in replays]
        given = batch(drafts[-1][:, None].tolist(), contexts, [replay.pages for replay in replays])
        hidden = model.mtp.forward(given, hidden, cache)
        drafts.append(model.text.logits(hidden).argmax(axis=1))
    result = []
    for replay, drafted in zip(replays, np.stack(drafts, axis=1).tolist(), strict=True):
        accepted = 0
        while accepted < replay.verifiable and drafted[accepted] == replay.tokens[replay.newest + accepted + 1]:
            accepted += 1
        replay.verified = replay.newest
        replay.newest += accepted + 1
        result.append(accepted)
    return result


def replay_all(model: Model, spoken: list[Spoken], tally: Tally) -> None:
    """Adds the steps of all answers to the tally."""
    spoken = sorted(spoken, key=lambda one: len(one.prompt) + len(one.answer))
    for first in range(0, len(spoken), TOGETHER):
        group = spoken[first : first + TOGETHER]
        longest = max(len(one.prompt) + len(one.answer) for one in group)
        pages = (longest + DRAFTS) // PAGE_SIZE + 1
        cache = allocate_cache(model.config.text, pages * len(group), PAGE_SIZE, len(group), TYPES["F16"])
        running = begin(model, cache, group, pages)
        while running := [replay for replay in running if replay.verifiable > 0]:
            verifiable = [replay.verifiable for replay in running]
            for most, accepted in zip(verifiable, step(model, cache, running), strict=True):
                tally.add(most, accepted)


def spoken_by(llm: LLM, asked: list[Turn]) -> list[Spoken]:
    """Prompts and qwill's greedy answers, as token ids."""
    prompts = PromptBuilder(llm.checkpoint, llm.tokenizer, False)
    result = []
    for turn, given in zip(asked, answers(llm, asked), strict=True):
        if turn.raw:
            prompt = prompts.tokens(turn.messages[0]["content"])
        else:
            prompt = prompts.conversation(turn.messages, turn.tools or None, turn.thinking).prompt
        result.append(Spoken(prompt.token_ids, given.token_ids))
    return result


def load(llm: LLM) -> Model:
    """The parts of a model that is already loaded, once more: the API hands out no hidden states."""
    checkpoint = open_checkpoint(llm.checkpoint.path)
    config = model_config(checkpoint.config)
    model = Model(config, checkpoint.tensors, native_operations(llm.threads), checkpoint.v_heads_tiled)
    model.load()
    return model


def measure(llm: LLM, seed: int, count: int) -> dict[str, Tally]:
    """The tally of each text task, over the answers to `count` examples each."""
    model = load(llm)
    result = {}
    for row in track(TEXT_ROWS, "drafting"):
        asked = [turn for example in held_out_examples(row, seed, count) for turn in turns(example)]
        result[row] = Tally()
        replay_all(model, spoken_by(llm, asked), result[row])
    return result


def together(tallies: dict[str, Tally]) -> Tally:
    """All tasks in one."""
    result = Tally()
    for tally in tallies.values():
        for key, count in tally.steps.items():
            result.steps[key] = result.steps.get(key, 0) + count
    return result
