"""Prices of tokens: amounts computed by hand, and files that say too little or too much."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.errors import InvalidArgument
from qwill.server.prices import Price, read_prices
from qwill.server.settings import Settings
from qwill.server.usage import Tokens
from server.running import Running, running

OWN = """
[own]
input = 0.02
cached_input = 0.005
output = 0.3
currency = "EUR"

["OpenRouter"]
model = "another"
input = 1
output = 2
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "prices.toml"
    file.write_text(text)
    return file


def test_the_prices_that_come_with_qwill() -> None:
    prices = read_prices()
    assert prices.own is None
    assert [(price.name, price.input, price.output, price.currency) for price in prices.providers] == [
        ("Alibaba Cloud", Decimal("0.11"), Decimal("0.44"), "USD"),
        ("OpenRouter", Decimal("0.13"), Decimal("0.52"), "USD"),
        ("NVIDIA NIM", None, None, "USD"),
    ]
    assert {price.model for price in prices.providers} == {"Qwen3.5-397B-A17B"}


def test_amounts_by_hand() -> None:
    prices = read_prices()
    assert prices.told({"demo": Tokens(1_000_000, 400_000, 500_000, 100_000, 50_000)}) == {
        "providers": [
            {"provider": "Alibaba Cloud", "model": "Qwen3.5-397B-A17B", "amount": 0.33, "currency": "USD"},
            {"provider": "OpenRouter", "model": "Qwen3.5-397B-A17B", "amount": 0.39, "currency": "USD"},
        ]
    }
    # one token of a prompt: 0.11 / 1,000,000; and one of an answer more: 0.44 / 1,000,000
    assert prices.told({"demo": Tokens(1)})["providers"][0]["amount"] == 0.00000011
    assert prices.told({"demo": Tokens(1, 0, 1)})["providers"][0]["amount"] == 0.00000055
    assert prices.told({})["providers"][0]["amount"] == 0


def test_prices_of_ones_own(tmp_path: Path) -> None:
    prices = read_prices(written(tmp_path, OWN))
    told = prices.told({"a": Tokens(100, 40, 10), "b": Tokens(200, 0, 20)})
    # (260 * 0.02 + 40 * 0.005 + 30 * 0.3) / 1,000,000
    assert told["own"] == {"amount": 0.0000144, "currency": "EUR"}
    assert [one["provider"] for one in told["providers"]] == ["Alibaba Cloud", "OpenRouter"]
    # 300 * 1 + 30 * 2, cached ones at the full price
    assert told["providers"][1] == {"provider": "OpenRouter", "model": "another", "amount": 0.00036, "currency": "USD"}


def test_an_own_price_of_one_model(tmp_path: Path) -> None:
    prices = read_prices(written(tmp_path, '[own]\nmodel = "a"\ninput = 1\noutput = 1'))
    assert prices.told({"a": Tokens(5), "b": Tokens(7)})["own"] == {"amount": 0.000005, "currency": "USD"}
    assert "own" not in prices.told({"b": Tokens(7)})


@given(
    st.decimals(0, 1000, places=4), st.decimals(0, 1000, places=4), st.decimals(0, 1000, places=4),
    st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9),
)  # fmt: skip
def test_nothing_is_rounded(
    input: Decimal, cached_input: Decimal, output: Decimal, computed: int, cached: int, answered: int
) -> None:
    price = Price("any", "any", input, output, cached_input)
    amount = price.amount(Tokens(computed + cached, cached, answered))
    assert amount is not None
    exact = Fraction(input) * computed + Fraction(cached_input) * cached + Fraction(output) * answered
    assert Fraction(amount) == exact / 1_000_000


MISTAKES = [
    ("[own]\ninput = 1", "must have input and output"),
    ("[own]\nnote = 'free'", "must have input and output"),
    ("[x]\ninput = 1\noutput = 1", "must name its model"),
    ("[x]\nmodel = 'm'\ninput = 1", "or neither and a note"),
    ("[x]\nmodel = 'm'\ncached_input = 1\nnote = 'n'", "or neither and a note"),
    ("[x]\nmodel = 'm'", "or neither and a note"),
    ("[x]\nmodel = 'm'\ninput = -0.1\noutput = 1", r"input of \[x\] must be a number from 0"),
    ("[x]\nmodel = 'm'\ninput = nan\noutput = 1", r"input of \[x\] must be a number from 0"),
    ("[x]\nmodel = 'm'\ninput = 1\noutput = inf", r"output of \[x\] must be a number from 0"),
    ("[x]\nmodel = 'm'\ninput = true\noutput = 1", r"input of \[x\] must be a number from 0"),
    ("[x]\nmodel = 'm'\ninput = '1'\noutput = 1", r"input of \[x\] must be a number from 0"),
    ("[x]\nmodel = 'm'\ninput = 1e999999\noutput = 1", r"input of \[x\] must be a number from 0"),
    ("[x]\nmodel = 3\ninput = 1\noutput = 1", r"model of \[x\] must be a text"),
    ("[x]\nmodel = ' '\ninput = 1\noutput = 1", r"model of \[x\] must be a text"),
    ("[x]\nmodel = 'm'\ninput = 1\noutput = 1\ncurrency = '$'", "three capital letters"),
    ("[x]\nmodel = 'm'\ninput = 1\noutput = 1\ncurrency = 3", r"currency of \[x\] must be a text"),
    ("[x]\nmodel = 'm'\nprompt = 1", r"\[x\] must be a table of"),
    ("x = 1", r"\[x\] must be a table of"),
    ("[[x]]\nmodel = 'm'", r"\[x\] must be a table of"),
    ("[x", "cannot be read"),
]


@pytest.mark.parametrize(("text", "complaint"), MISTAKES)
def test_a_mistake_in_the_file_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InvalidArgument, match=complaint) as refused:
        read_prices(file)
    assert str(file) in str(refused.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"[x]\nmodel = '\xe9'")
    for name in ("none", ".", "latin"):
        with pytest.raises(InvalidArgument, match="cannot be read"):
            read_prices(tmp_path / name)


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that tells costs."""
    file = written(tmp_path_factory.mktemp("prices"), OWN)
    with running(Settings(show_cost=True, prices_file=file)) as started:
        yield started


def ask(server: Running, **more: Any) -> Any:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "What is 17 + 25? Think of it as long as you like, and then answer."}]
    return client.chat.completions.create(model="demo", messages=messages, **more)


def check(usage: Any) -> None:
    """The cost that an answer tells, by the tokens that it tells."""
    prompt, answered = usage.prompt_tokens, usage.completion_tokens
    cached = usage.prompt_tokens_details.cached_tokens
    own = Fraction("0.02") * (prompt - cached) + Fraction("0.005") * cached + Fraction("0.3") * answered
    expected = {"Alibaba Cloud": Fraction("0.11") * prompt + Fraction("0.44") * answered}
    expected["OpenRouter"] = Fraction(prompt + 2 * answered)
    assert Fraction(str(usage.cost["own"]["amount"])) == own / 1_000_000
    assert usage.cost["own"]["currency"] == "EUR"
    amounts = {one["provider"]: Fraction(str(one["amount"])) for one in usage.cost["providers"]}
    assert amounts == {name: amount / 1_000_000 for name, amount in expected.items()}


def test_answers_tell_their_cost(telling: Running) -> None:
    check(ask(telling).usage)
    again = ask(telling, n=2).usage
    assert again.prompt_tokens_details.cached_tokens > 0
    check(again)


def test_streams_tell_their_cost(telling: Running) -> None:
    *_, last = ask(telling, stream=True, stream_options={"include_usage": True})
    check(last.usage)


def test_texts_tell_their_cost(telling: Running) -> None:
    client = openai.OpenAI(base_url=f"{telling.url}/v1", api_key="none", max_retries=0)
    check(client.completions.create(model="demo", prompt=["17 + 25 =", "A text"], n=2, max_tokens=4).usage)


def test_nothing_is_told_unless_asked_for(server: Running) -> None:
    assert "cost" not in ask(server).usage.model_dump()
