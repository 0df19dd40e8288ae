"""`python -m qwill.cli` does what `qwill` does."""

import sys

from qwill.cli import main

sys.exit(main())
