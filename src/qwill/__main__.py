"""`python -m qwill` is the command line."""

import sys

from qwill.cli import main

sys.exit(main())
