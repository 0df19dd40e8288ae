"""How much a model is to reason, as clients word it, and what that means for a model's template.

Templates of Qwen 3.8 take the wish itself, as one of three words. For those that know nothing of it, it is a bound
on the tokens of reasoning.
"""

from qwill.errors import InvalidArgument

VARIABLE = "reasoning_effort"
NO_REASONING = ("none", "minimal")
EFFORTS = (*NO_REASONING, "low", "medium", "high", "xhigh", "max")
_SPELLED = {"high": "xhigh", "max": "xhigh"}  # as templates have it
_BUDGETS = {"low": 1024, "medium": 8192}  # tokens; others have no bound


def reasons(effort: str) -> bool:
    """Whether the model is to reason at all. Raises InvalidArgument for a word that is no effort."""
    if effort not in EFFORTS:
        raise InvalidArgument(f"effort must be {', '.join(EFFORTS[:-1])} or {EFFORTS[-1]}, not {effort!r}")
    return effort not in NO_REASONING


def spelled(effort: str) -> str:
    """The word for it that templates know."""
    return _SPELLED.get(effort, effort)


def budget(effort: str) -> int | None:
    """The most tokens of reasoning, for a model whose template does not know efforts; None is no bound."""
    return _BUDGETS.get(effort)
