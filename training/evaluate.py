"""Measures the demonstration model on held-out examples, through qwill itself: `python -m training.evaluate`.

Prints tables and, with `--card`, writes them into the model card.
"""

import argparse
import time
from collections.abc import Iterator

from rich.console import Console

from qwill import LLM
from training.evaluation import drafts, long_context, tasks
from training.evaluation.card import (
    CARD,
    Table,
    accuracy_table,
    drafts_table,
    facts_table,
    needle_table,
    write_section,
)

LONG, DRAFTS = "long texts", "drafts"  # beside the tasks' rows, what can be asked for


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """The tables that were asked for, each as soon as it is measured."""
    llm = LLM(options.model, mmproj=options.mmproj, threads=options.threads)
    yield facts_table(llm)
    wanted = options.only or [*tasks.ROWS, LONG, DRAFTS]
    rows = [row for row in tasks.ROWS if row in wanted]
    if rows:
        examples = {row: tasks.held_out_examples(row, options.seed, options.count) for row in rows}
        yield accuracy_table(tasks.measure(llm, examples))
    if LONG in wanted:
        yield needle_table(long_context.measure(options.model, options.seed, options.count, options.threads))
    if DRAFTS in wanted:
        # Every answer has many steps, so that fewer answers tell as much.
        yield drafts_table(drafts.measure(llm, options.seed, -(-options.count // 5)))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="demo, an exported folder or a .gguf file")
    parser.add_argument("--mmproj", help="the vision file of a .gguf model, by default the one beside it")
    parser.add_argument("--count", type=int, default=500, help="examples of each task")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--threads", type=int, help="by default one a core")
    names = [*tasks.ROWS, LONG, DRAFTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="TASK", help=f"some of: {'; '.join(names)}")
    parser.add_argument("--card", action="store_true", help="write the tables into the model card")
    options = parser.parse_args(given)
    rows = [name for name in options.only or () if name in tasks.ROWS]
    if options.card and rows and len(rows) < len(tasks.ROWS):
        parser.error("--card wants the accuracy of all tasks or of none")
    return options


def main() -> None:
    options = arguments()
    started = time.monotonic()
    console = Console()
    for table in tables(options):
        console.print(table.rich())
        if options.card:
            write_section(CARD, table)
    console.print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
