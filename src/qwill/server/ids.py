"""Names of requests and answers. A system call for each would take a sixth of a millisecond."""

import random
import secrets

_RANDOM = random.Random(secrets.randbits(256))


def new_id(prefix: str) -> str:
    """`prefix` and 24 random hexadecimal digits."""
    return f"{prefix}{_RANDOM.getrandbits(96):024x}"
