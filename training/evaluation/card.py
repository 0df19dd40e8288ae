"""Tables of the measured figures, for the terminal and for the model card."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import rich.table

from qwill import LLM
from qwill.cli.inspect import describe
from training.evaluation import drafts, long_context, tasks

CARD = Path(__file__).parents[2] / "docs" / "demo_model.md"
TARGET_DRAFTS = 2.5


class Table(NamedTuple):
    """`name`: of its section in the card; `figures`: whether all columns but the first are numbers."""

    name: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    figures: bool = True

    def markdown(self) -> str:
        rule = ["---", *["---:" if self.figures else "---"] * (len(self.header) - 1)]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in (self.header, rule, *self.rows))

    def rich(self) -> rich.table.Table:
        table = rich.table.Table()
        table.add_column(self.header[0], no_wrap=True)
        for title in self.header[1:]:
            table.add_column(title, justify="right" if self.figures else "left")
        for row in self.rows:
            table.add_row(*row)
        return table


def percent(share: float) -> str:
    return f"{share:.1%}"


def aim(value: float, target: float | None, form: str = "{:.0%}") -> tuple[str, str]:
    """The target as text, and whether it is reached."""
    return ("", "") if target is None else ("≥ " + form.format(target), "yes" if value >= target else "no")


def score_row(name: str, score: tasks.Score, target: float | None) -> tuple[str, ...]:
    return name, str(score.right), str(score.asked), percent(score.accuracy), *aim(score.accuracy, target)


SCORE_HEADER = ("task", "right", "asked", "accuracy", "target", "reached")


def accuracy_table(scores: dict[str, tasks.Score]) -> Table:
    return Table(
        "accuracy", SCORE_HEADER, [score_row(name, score, tasks.ROWS[name].target) for name, score in scores.items()]
    )


def needle_table(scores: dict[str, tasks.Score]) -> Table:
    targets = {case.name: case.target for case in long_context.CASES}
    rows = [score_row(name, score, targets[name]) for name, score in scores.items()]
    return Table("needle", ("text", *SCORE_HEADER[1:]), rows)


def drafts_table(tallies: dict[str, drafts.Tally]) -> Table:
    """The mean over all tasks first; whole steps are those with as many tokens left as there are drafts."""
    rows: list[tuple[str, ...]] = []
    for name, tally in ("all text tasks", drafts.together(tallies)), *tallies.items():
        whole = tally.accepted(drafts.DRAFTS)
        target = TARGET_DRAFTS if not rows else None
        row = (str(tally.count(drafts.DRAFTS)), f"{whole:.2f}", f"{whole + 1:.2f}", f"{tally.accepted():.2f}")
        rows.append((name, *row, *aim(whole, target, "{}")))
    header = ("answers to", "steps", "accepted", "tokens a step", "with last steps", "target", "reached")
    return Table("drafts", header, rows)


def facts_table(llm: LLM) -> Table:
    """What the checkpoint's own configuration says."""
    described = describe(llm.checkpoint)
    config, text = llm.checkpoint.config["vision_config"], llm.config.text
    moe = text.moe
    assert moe is not None
    kinds = text.layer_types
    size = sum(file.stat().st_size for file in llm.checkpoint.path.parent.glob("*.gguf")) / 1e6
    parameters = described["parameters"]
    images = llm.checkpoint.image_processor["size"]
    rows = [
        (
            "architecture",
            f"`qwen3_5_moe`, {parameters['total'] / 1e6:.2f} million parameters, {size:.1f} MB as GGUF pair",
        ),
        (
            "text model",
            f"{text.layers} layers of width {text.hidden_size}: {kinds.count('linear_attention')} Gated DeltaNet"
            f" ({text.linear_key_heads} key heads, {text.linear_value_heads} value heads, {text.linear_key_dim} wide),"
            f" {kinds.count('full_attention')} gated attention ({text.attention_heads} heads, {text.kv_heads} for keys"
            f" and values, {text.head_dim} wide)",
        ),
        (
            "experts",
            f"{moe.experts} of width {moe.intermediate_size}, {moe.top_k} per token, and a shared one of width"
            f" {moe.shared_intermediate_size}, in each layer",
        ),
        (
            "vision tower",
            f"{config['depth']} blocks of width {config['hidden_size']}, patch {config['patch_size']}, merge"
            f" {config['spatial_merge_size']}, {config['num_position_embeddings']} learned positions",
        ),
        ("multi-token prediction", f"{text.mtp_layers} layer of gated attention and experts"),
        ("vocabulary", f"{text.vocab_size:,} tokens"),
        ("context", f"{text.max_position_embeddings:,} tokens"),
        (
            "pictures",
            f"{images['shortest_edge']:,} to {images['longest_edge']:,} pixels; larger or smaller ones are resized",
        ),
    ]
    return Table("facts", ("part", "what it is"), rows, figures=False)


def write_section(card: Path, table: Table) -> None:
    """Puts the table between its two markers in the card, which is written whole or not at all."""
    start, end = (f"<!-- {table.name}: {edge} -->" for edge in ("begin", "end"))
    before, rest = card.read_text(encoding="utf-8").split(start)
    after = rest.split(end)[1]
    temporary = card.with_suffix(".partial")
    temporary.write_text(f"{before}{start}\n{table.markdown()}\n{end}{after}", encoding="utf-8")
    os.replace(temporary, card)
