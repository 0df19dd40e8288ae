"""What an answer must and must not say, token by token: the end of its reasoning, its structure, no endless loops."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qwill.engine.loops import LoopDetector
from qwill.engine.reasoning import CLOSING, GAP, Part, Reasoning
from qwill.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # llguidance takes a tenth of a second to import
    from qwill.engine.structure import Constraint


class Rules:
    """Consulted before each draw of one request and told each token, in order; so the tokens that come out do not
    depend on how many drafts a step verifies.

    `forced` is the next token where there is no choice. `left_out` names what of its schemas the answer is not held to.
    `finish_reason` says why the answer has ended: "stop" at the
    end of its structure, "loop", or "error" when its structure could not be followed.
    """

    def __init__(self, loops: LoopDetector | None = None, forbidden: Iterable[int] = ()) -> None:
        """`forbidden`: tokens that the answer never has."""
        self._loops = loops
        self._forbidden = np.fromiter(forbidden, np.int64)
        self._queue: deque[int] = deque()
        self.finish_reason: str | None = None
        self.left_out: tuple[str, ...] = ()

    @property
    def forced(self) -> int | None:
        return self._queue[0] if self._queue else None

    def restrict(self, logits: np.ndarray) -> np.ndarray:
        """The logits [vocab_size] f32 themselves, or a copy in which tokens that may not follow have -inf."""
        return _without(logits, self._forbidden)

    def foresee(self, logits: np.ndarray, drafts: Sequence[int]) -> np.ndarray:
        """Logits for a guess at the token after `drafts`: what seems to be forbidden there has -inf in a copy."""
        return logits

    def commit(self, token: int) -> None:
        """Takes the token that followed."""
        if self._queue and self._queue.popleft() != token:
            self._queue.clear()  # the caller gave other tokens
        if self._loops is not None:
            self._loops.add(token)
            if self._loops.looping:
                self.finish_reason = "loop"


class ReasoningRules(Rules):
    """Rules that depend on the part of the answer: the reasoning has a budget, the content a structure."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        reasoning: Reasoning,
        budget: int | None = None,
        structure: "Structure | None" = None,
        loops: LoopDetector | None = None,
        forbidden: Iterable[int] = (),
    ) -> None:
        """`budget`: the most tokens of reasoning, after which it is closed."""
        super().__init__(loops, forbidden)
        self._tokenizer = tokenizer
        self._reasoning = reasoning
        self._budget = budget
        self._structure = structure
        self._keep_budget()

    @classmethod
    def beside(cls, rules: Rules | None, tokenizer: Tokenizer, reasoning: Reasoning) -> "ReasoningRules":
        """Rules of an answer that had others, or none, which hold as well."""
        if rules is None:
            return cls(tokenizer, reasoning)
        return cls(tokenizer, reasoning, loops=rules._loops, forbidden=rules._forbidden)

    def restrict(self, logits: np.ndarray) -> np.ndarray:
        logits = super().restrict(logits)
        return logits if self._structure is None else self._structure.restrict(logits, self._reasoning)

    def foresee(self, logits: np.ndarray, drafts: Sequence[int]) -> np.ndarray:
        if len(drafts) < len(self._queue):
            return _only(logits, self._queue[len(drafts)])
        if self._structure is None or self._reasoning.part is not Part.CONTENT:
            return logits
        return self._structure.foresee(logits, drafts[len(self._queue) :])

    def commit(self, token: int) -> None:
        part, forced = self._reasoning.part, bool(self._queue)
        super().commit(token)
        structure = self._structure
        if part is Part.BEGINNING and structure is not None and structure.immediate and token != structure.opening:
            part = self._reasoning.part = Part.CONTENT
        if part is not Part.CONTENT:
            self._reasoning.add(token)
            self._keep_budget()
            ended = part is Part.REASONING and self._reasoning.part is Part.CONTENT
            if ended and not self._queue and structure is not None and structure.immediate:
                self._queue.extend(self._tokenizer.encode(GAP))
        if structure is not None and not forced and (part is Part.CONTENT or not structure.immediate):
            structure.add(token)
            self.finish_reason = structure.ended or self.finish_reason

    def end_reasoning(self) -> bool:
        """Closes the reasoning with the next tokens. False where there is none, or it ends already."""
        if self._queue or self._reasoning.part is not Part.REASONING:
            return False
        self._budget = 0
        self._keep_budget()
        return True

    def _keep_budget(self) -> None:
        """Closes the reasoning, on a line of its own, when its tokens are used up."""
        reasoning = self._reasoning
        if self._budget is None or self._queue or reasoning.part is not Part.REASONING:
            return
        if reasoning.count >= self._budget:
            line = "" if reasoning.at_line_start else "\n"
            self._queue.extend(self._tokenizer.encode(line + CLOSING.decode() + GAP, allow_special=True))


def ending_reasoning(
    rules: Rules | None, tokenizer: Tokenizer, opened: bool, answer: Iterable[int]
) -> ReasoningRules | None:
    """Rules under which the next tokens of an answer close its reasoning, in the place of those that it has; None where
    that changes nothing. opened: whether its prompt ends inside reasoning. answer: its tokens so far.
    """
    if not isinstance(rules, ReasoningRules):
        reasoning = Reasoning(tokenizer, Part.REASONING if opened else Part.BEGINNING)
        for token in answer:
            reasoning.add(token)
        rules = ReasoningRules.beside(rules, tokenizer, reasoning)
    return rules if rules.end_reasoning() else None


class Structure:
    """The constraint of an answer's content, and what keeps the reasoning before it from taking its place.

    With a `trigger` the answer is free up to that token, with which the constraint begins. Without, the constraint is
    `immediate`: it begins with the content, which only the token `opening` can put off.
    """

    def __init__(
        self,
        constraint: "Constraint",
        barred: Iterable[int],
        closings: "SpelledClosings | None" = None,
        trigger: int | None = None,
        opening: int | None = None,
    ) -> None:
        """`barred`: tokens that the reasoning never has. `opening`: the `<think>` with which the answer may begin."""
        self._constraint = constraint
        self._closings = closings
        self._barred = np.fromiter(barred, np.int64)
        self._trigger = trigger
        self.opening = opening
        self.immediate = self._active = trigger is None

    @property
    def ended(self) -> str | None:
        return self._constraint.ended

    def restrict(self, logits: np.ndarray, reasoning: Reasoning) -> np.ndarray:
        """Logits with -inf for tokens that may not follow, or themselves."""
        if reasoning.part is Part.REASONING:
            logits = _without(logits, self._barred)
            return logits if self._closings is None else _without(logits, self._closings.after(reasoning.closing_begun))
        if not self._active:
            return logits
        allowed = self._constraint.allowed
        if reasoning.part is Part.BEGINNING and self.opening is not None:
            allowed = allowed.copy()
            allowed[self.opening] = True
        return np.where(allowed, logits, np.float32(-np.inf))

    def foresee(self, logits: np.ndarray, drafts: Sequence[int]) -> np.ndarray:
        """Logits for a guess at the token of the content after `drafts`."""
        allowed = self._constraint.after(drafts) if self._active else None
        return logits if allowed is None else np.where(allowed, logits, np.float32(-np.inf))

    def add(self, token: int) -> None:
        """Takes the next token, of the content where the constraint is immediate."""
        self._active = self._active or token == self._trigger
        if self._active:
            self._constraint.consume(token)


class SpelledClosings:
    """Tokens that complete a `</think>` spelled in pieces and carry more behind it: where content must follow a
    structure they would begin it with anything."""

    def __init__(self, tokens: list[bytes]) -> None:
        begun_by = {CLOSING[begun]: begun for begun in range(1, len(CLOSING))}  # its bytes are all different
        found: list[list[int]] = [[] for _ in CLOSING]
        for id, token in enumerate(tokens):
            begun = begun_by.get(token[0]) if token else None
            if begun is not None and token.startswith(CLOSING[begun:]) and len(token) > len(CLOSING) - begun:
                found[begun].append(id)
        self._ids = [np.array(ids, np.int64) for ids in found]

    def after(self, begun: int) -> np.ndarray:
        """Those that complete a tag of which `begun` bytes are written."""
        return self._ids[begun]


def _only(logits: np.ndarray, token: int) -> np.ndarray:
    chosen = np.full_like(logits, -np.inf)
    chosen[token] = 0
    return chosen


def _without(logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
    if not len(ids):
        return logits
    restricted = logits.copy()
    restricted[ids] = -np.inf
    return restricted
