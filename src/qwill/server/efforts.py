"""What efforts of reasoning stand for, in all dialects."""

NO_REASONING = ("none", "minimal")
# Tokens of reasoning; None is no limit.
BUDGETS: dict[str, int | None] = {"low": 1024, "medium": 8192, "high": None, "xhigh": None}
