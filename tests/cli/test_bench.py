"""`qwill bench` on the demonstration model and on random weights of a member made small."""

import json
from typing import Any

import pytest
from conftest import Run
from random_members import tiny_family_config
from terminal import CTRL_C, terminal

KEYS = {"model", "isa", "threads", "prefill_tokens_per_second", "decode_tokens_per_second", "peak_memory_bytes", "runs"}


@pytest.fixture(autouse=True)
def little_memory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwill.fit.bandwidth.BYTES", 1 << 20)


@pytest.fixture
def small_members(monkeypatch: pytest.MonkeyPatch) -> None:
    def config(name: str) -> dict[str, Any]:
        return tiny_family_config(moe="A3B" in name)

    monkeypatch.setattr("qwill.fit.family.family_config", config)
    monkeypatch.setattr("qwill.speed.family_config", config)


def test_one_object(run: Run) -> None:
    result = run("bench", "-p", "8", "-n", "4,2", "-d", "0,6", "-b", "1,3", "--repeat", "2", "--threads", "2", "--json")
    assert (result.code, result.err) == (0, "")
    shown = json.loads(result.out)
    assert shown.keys() >= KEYS
    assert (shown["model"], shown["threads"], shown["weights_type"]) == ("demo", 2, "Q8_0")
    assert shown["peak_memory_bytes"] > shown["weight_bytes"] >= shown["weight_bytes_per_token"]
    runs = shown["runs"]
    assert [one["test"] for one in runs[:3]] == ["pp8", "tg4", "tg2"]
    assert len({one["test"] for one in runs}) == 12
    for one in runs:
        assert len(one["values"]) == 2
        assert 0 < one["least"] <= one["tokens_per_second"] <= one["most"]
        assert (one["bandwidth_share"] is not None) == (one["kind"] == "decode" and one["sequences"] == 1)
    assert {(one["kind"], one["tokens"], one["context"], one["sequences"]) for one in runs} == {
        (kind, tokens, context, sequences)
        for kind, tokens in (("prefill", 8), ("decode", 4), ("decode", 2))
        for context in (0, 6)
        for sequences in (1, 3)
    }
    assert shown["prefill_tokens_per_second"] == runs[0]["tokens_per_second"]
    assert shown["decode_tokens_per_second"] == runs[1]["tokens_per_second"]


def test_a_table(run: Run) -> None:
    result = run("bench", "-p", "8", "-n", "2", "--repeat", "1", "--threads", "1")
    assert (result.code, result.err) == (0, "")
    header, prefill, decode, memory = result.out.splitlines()
    assert header.split() == ["model", "weights", "isa", "threads", "test", "tokens/s"]
    assert prefill.startswith("demo   Q8_0 ")
    assert " pp8 " in prefill
    assert " tg2 " in decode
    assert "GB/s" in memory
    assert "tg2 reads" in memory


def test_one_kind_alone(run: Run) -> None:
    shown = json.loads(run("bench", "-p", "8", "-n", "0", "--repeat", "1", "--threads", "1", "--json").out)
    assert shown["decode_tokens_per_second"] is None
    assert [one["test"] for one in shown["runs"]] == ["pp8"]


@pytest.mark.usefixtures("small_members")
@pytest.mark.parametrize("model", ["", "qwen3.5:35b-mxfp4_moe"])
def test_random_weights(run: Run, model: str) -> None:
    arguments = ["-p", "8", "-n", "2", "--repeat", "1", "--threads", "1", "--json"]
    shown = json.loads(run("bench", *([model] if model else []), "--random-weights", *arguments).out)
    assert shown["model"] == ("Qwen3.5-35B-A3B-MXFP4_MOE" if model else "Qwen3.5-0.8B-Q4_K_M")
    assert shown["layers"] == 4
    assert min(one["tokens_per_second"] for one in shown["runs"]) > 0


@pytest.mark.usefixtures("small_members")
def test_fewer_layers_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["bench", "--random-weights", "-p", "4", "-n", "0", "--repeat", "1", "--threads", "1"]
    result = run(*arguments, "--layers", "3", "--kv", "q8_0")
    assert result.code == 0
    assert result.err == "qwill: 3 of 4 layers, as asked; the whole model is slower\n"
    monkeypatch.setattr("qwill.speed.fitting_layers", lambda *_: 2)
    assert run(*arguments).err.startswith("qwill: 2 of 4 layers, as many as fit into the free memory; ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "-5"], "-5 is not at least 0"),
        (["-p", "1,x"], "-p/--prompt: invalid list of whole numbers value: '1,x'"),
        (["-n", ""], "-n/--decode"),
        (["-b", "2,0"], "0 is not at least 1"),
        (["-b", "257"], "257 sequences are more than the 256"),
        (["-p", "0", "-n", "0"], "nothing to measure"),
        (["-d", "5000000"], "tg128@d5000000 needs a context of 5000641 and "),
        (["--repeat", "0"], "0 is not at least 1"),
        (["--threads", "0"], "0 is not at least 1"),
        (["--layers", "3"], "add --random-weights"),
        (["--quant", "Q8_0"], "add --random-weights"),
        (["--kv", "q3"], "kv 'q3'"),
        (["nowhere"], "nowhere"),
        (["--random-weights", "qwen3.5:3b"], "qwen3.5:3b: no such member"),
        (["--random-weights", "org/name"], "org/name: no such member"),
        (["--random-weights", "--quant", "Q9"], "Q9: no recipe and no file of that name"),
        (["--random-weights", "--layers", "25"], "has 24 layers, 25 were asked for"),
        (["--random-weights", "qwen3.5:397b", "--layers", "60"], " are free"),
        (["--random-weights", "qwen3.5:397b", "-b", "256", "-d", "32768"], " are free"),
    ],
)
def test_mistakes(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    for module in ("qwill.llm", "qwill.speed"):
        monkeypatch.setattr(f"{module}.available_memory", lambda: 8 * 10**9)
    assert says in run("bench", *arguments).mistake()


def test_at_a_terminal_it_tells_what_it_measures_and_stops_at_ctrl_c() -> None:
    with terminal("-m", "qwill", "bench", "-p", "8", "-n", "4,900", "--repeat", "100000", "--threads", "1") as shown:
        shown.expect("\rpp8 ")
        assert shown.leave(CTRL_C) == 130
        assert "tokens/s" not in shown.seen
