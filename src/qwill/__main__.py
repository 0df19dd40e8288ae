"""`python -m qwill` is the command line."""

from qwill.cli import main

main()
