"""Signatures of thinking blocks.

Anthropic's prove that its model wrote a block. Here nothing is to be proven: a signature only says where the block is
from and, where the client did not want to see the reasoning, carries it to the next request, whose prompt needs it.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode

from qwill.errors import InvalidArgument

MARK = "qwill."
DAMAGED = "Invalid signature in thinking block"  # the words by which clients know that they have to leave reasoning out


def sign(reasoning: str, shown: bool) -> str:
    """The signature of a block that shows its reasoning, or that has to carry it."""
    return MARK if shown else MARK + urlsafe_b64encode(reasoning.encode()).decode()


def carried(signature: str) -> str:
    """The reasoning that a signature carries; empty for signatures of other servers. Raises InvalidArgument."""
    if not signature.startswith(MARK):
        return ""
    try:
        return urlsafe_b64decode(signature.removeprefix(MARK)).decode()
    except ValueError as error:
        raise InvalidArgument(
            f"{DAMAGED}: the signature of a thinking block is damaged; send blocks back as they came"
        ) from error
