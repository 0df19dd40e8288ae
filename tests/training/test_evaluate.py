"""The evaluation: which answers count as right, and the table in the model card."""

from types import SimpleNamespace
from typing import Any

import pytest
from training.evaluate import TABLE_END, TABLE_START, held_out_examples, measure, write_card


class Repeater:
    """Stands in for an LLM: looks the right answer up and spoils it on request."""

    def __init__(self, examples: dict[str, list[Any]], spoil: str) -> None:
        self.known = {id(entry.messages): entry for entries in examples.values() for entry in entries}
        self.by_text = {str(entry.messages): entry for entry in self.known.values() if entry.picture is None}
        self.spoil = spoil

    def answer(self, messages: Any) -> SimpleNamespace:
        entry = self.by_text[str(messages)]
        calls = []
        text = entry.answer
        if "<tool_call>" in text:
            name = text.split("<function=")[1].split(">")[0]
            calls = [{"name": name, "arguments": {"city": text.split("\n")[3]}}]
            text = ""
        return SimpleNamespace(text=text + self.spoil * (entry.task == "copy"), tool_calls=calls)

    def chat(self, conversations: Any, params: Any, tools: Any, thinking: bool) -> list[SimpleNamespace]:
        assert all(self.by_text[str(messages)].thinking == thinking for messages in conversations)
        return [self.answer(messages) for messages in conversations]

    def generate(self, prompts: list[str], params: Any) -> list[SimpleNamespace]:
        return [self.answer([{"role": "user", "content": prompt}]) for prompt in prompts]


@pytest.fixture(scope="module")
def examples():
    drawn = held_out_examples(5, 4)
    return {name: entries for name, entries in drawn.items() if not name.startswith("picture")}


@pytest.mark.parametrize("spoil", ["", "!"])
def test_only_the_expected_text_is_right(examples, spoil):
    figures = measure(Repeater(examples, spoil), examples)
    for name, (right, asked) in figures.items():
        assert asked == 4
        assert right == (0 if spoil and name == "copy" else 4), name


def test_card_keeps_the_text_around_its_table(tmp_path):
    card = tmp_path / "card.md"
    card.write_text(f"above\n{TABLE_START}\nold\n{TABLE_END}\nbelow\n")
    for right in (1, 3):
        write_card(card, {"copy": (right, 4)})
    text = card.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "| copy | 3 | 4 | 75.0% |" in text
    assert "old" not in text
    assert "25.0%" not in text
