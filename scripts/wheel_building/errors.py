"""What ends scripts/wheels with one line."""


class WheelError(Exception):
    """A wheel cannot be built or does not hold what it must; the message names it and the mend."""
