"""docs/models.md shows what `qwill fit` computes today."""

from scripts.fit_tables import PAGE, ROWS, SIZES, hardware, sizes, updated


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text("utf-8")
    assert updated(page) == page, "docs/models.md is out of date; run python scripts/fit_tables.py"


def test_every_row_of_the_guide_is_there() -> None:
    assert [row.disk for row in SIZES] == [807, 400, 420, 320, 280, 214, 170, 146]
    assert all(f"| {row.quant} | ~{row.disk:g} |" in sizes() for row in SIZES)
    assert len(ROWS) == 8
    assert all(f"| {row.guide} |" in hardware() for row in ROWS)
