"""What ends a build with one line."""


class BuildError(Exception):
    """Something that the one who builds can mend; the message names it and the mend."""
