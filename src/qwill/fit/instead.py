"""What to take instead of a model that does not fit, in a clause of one line."""

from typing import Any

from qwill.fit.machines import Host, Machine
from qwill.fit.plan import LEAST_CONTEXT, Wish, fitting_members
from qwill.fit.weights import alias_of, known_member

USUAL_CONTEXT = 4096  # that another file should have room for


def instead(config: dict[str, Any], most_context: int, available: int, name: str = "") -> str:
    """The longest context that fits, if there is one; else the best file of the largest member of the family that fits.

    config: of the model that does not fit. most_context: tokens that fit beside its weights; available: bytes.
    name: of the model, or its path.
    """
    if most_context >= LEAST_CONTEXT:
        return f"a context of {most_context} fits (--ctx {most_context})"
    member = known_member(config, name)
    if member is not None:
        machine = Machine("", Host("", "", 1, available, 1.0, 1.0))  # only its memory matters here
        best = next(fitting_members(member, machine, Wish(USUAL_CONTEXT)), None)
        if best is not None:
            return f"{alias_of(best.model, best.quant)} fits; qwill fit shows what else does"
    return "take a smaller file or context"
