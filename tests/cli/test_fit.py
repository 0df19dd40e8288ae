"""`qwill fit` on named machines, on this one, and with mistakes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from qwill.engine.engine import PAGE_SIZE
from qwill.engine.scheduler import MOST_LAID_BY
from qwill.fit.machines import Host, Machine
from qwill.model.batch import cache_bytes
from qwill.model.config import model_config
from qwill.quant.types import TYPES
from qwill.weights.checkpoint import memory_needed
from qwill.weights.hub.cache import resolve_model
from qwill.weights.load import open_checkpoint
from qwill.weights.naming.models import RELEASES

KEYS = {
    "fits", "file_bytes", "memory_bytes", "placement", "limits",
    "prefill_tokens_per_second", "decode_tokens_per_second",
}  # fmt: skip
PROVIDERS = ["Alibaba Cloud", "OpenRouter", "NVIDIA NIM"]


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured."""
    host = Host("a processor", "avx512_bf16", 2, 16 * 10**9, 35e9, 937e9)
    machine = Machine("auto", host, disk_bandwidth=1e9, disk_free=10**9)
    monkeypatch.setattr("qwill.fit.detect.this_machine", lambda *_: machine)


def shown(run: Run, *arguments: str) -> Any:
    result = run("fit", *arguments, "--json")
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def test_one_object(run: Run) -> None:
    told = shown(run, "qwen3.5:397b", "--quant", "ud-q4_k_xl", "--hardware", "RTX 4090 + 256GB RAM", "--ctx", "16384")
    assert told.keys() >= KEYS
    assert told["fits"]
    assert (told["model"], told["quant"], told["context"]) == ("Qwen3.5-397B-A17B", "UD-Q4_K_XL", 16384)
    assert told["file_bytes"] == pytest.approx(219e9, rel=0.02)
    assert [place["kind"] for place in told["placement"]] == ["GPU", "RAM"]
    assert sum(place["used_bytes"] for place in told["placement"]) == told["memory_bytes"]
    assert all(sum(place["parts"].values()) == place["used_bytes"] for place in told["placement"])
    assert "experts (CPU)" in told["limits"]["decode"]
    assert told["engine"] == "roofline"
    assert 2 < told["cpu_alone"]["decode_tokens_per_second"] < told["decode_tokens_per_second"] < 20
    assert [price["provider"] for price in told["api_prices"]] == PROVIDERS
    assert told["cost"]["output_per_million"] > told["cost"]["input_per_million"] > 0
    assert [point["context"] for point in told["by_context"]][::8] == [0, 16384]


def test_this_machine_without_power_or_price(run: Run) -> None:
    told = shown(run, "qwen3.5:4b-q8_0")
    assert (told["fits"], told["engine"], told["cost"]) == (True, "qwill", None)
    assert told["load_seconds"] == pytest.approx(told["file_bytes"] / 1e9)
    assert told["enough_disk"] is False
    priced = shown(run, "qwen3.5:4b-q8_0", "--watts", "200", "--price", "800", "--electricity", "0.3", "--years", "2")
    assert priced["cost"]["hour"] == pytest.approx(0.06 + 800 / (2 * 8766))
    together = shown(run, "qwen3.5:4b-q8_0", "--batch", "4")
    assert together["decode_tokens_per_second"] > told["decode_tokens_per_second"]
    assert together["memory_bytes"] > told["memory_bytes"]


def test_what_does_not_fit(run: Run) -> None:
    told = shown(run, "qwen3.5:27b-q8_0")
    assert not told["fits"]
    assert told["decode_tokens_per_second"] is None
    assert told["limits"] == {"prefill": None, "decode": None}
    assert told["missing_bytes"] > 0
    assert told["placement"][-1]["kind"] == "disk"
    assert told["best_quant"] == told["nearest"][-1]["quant"]
    text = run("fit", "qwen3.5:27b-q8_0").out
    assert "no: " in text
    assert " fits" in text


def test_without_a_quantization_the_best_is_taken(run: Run) -> None:
    told = shown(run, "Qwen3.5-9B")
    assert told["fits"]
    assert told["quant"] == told["best_quant"] == "Q8_0"


@pytest.mark.parametrize("name", ["unsloth/Qwen3.5-4B-GGUF:Q4_K_XL", "qwen3.5:4b-q4_k_xl", "Qwen3.5-4B"])
def test_names_of_a_member(run: Run, name: str) -> None:
    told = shown(run, name, *(["--quant", "q4_k_xl"] if name == "Qwen3.5-4B" else []))
    assert (told["model"], told["quant"]) == ("Qwen3.5-4B", "UD-Q4_K_XL")


def test_released_repositories(run: Run) -> None:
    assert shown(run, "Qwen/Qwen3.5-27B-FP8", "--hardware", "H100")["quant"] == "FP8"


def test_a_model_that_is_here(run: Run) -> None:
    told = shown(run, "demo")
    assert (told["model"], told["fits"], told["best_quant"]) == ("demo", True, None)
    assert told["quant"] == "Q8_0"


def test_the_family(run: Run) -> None:
    told = shown(run)
    assert {model["model"] for model in told["models"]} == set(RELEASES.values())
    assert any(model["fits"] for model in told["models"])
    assert not any(model["fits"] for model in told["models"] if model["model"] == "Qwen3.5-397B-A17B")
    text = run("fit").out.splitlines()
    assert "a processor, 2 cores" in text[0]
    assert [line.split()[0] for line in text if line.startswith("Qwen")] == list(RELEASES.values())
    assert all(model["quant"] == "Q8_0" for model in shown(run, "--quant", "q8_0")["models"])


def test_a_busy_machine_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for load, told in ((1.9, False), (7.0, True)):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert ("busy (load 7.0)" in run("fit", "qwen3.5:4b-q8_0").out) == told
        assert ("busy (load 7.0)" in run("fit", "--quant", "q8_0").out) == told
    assert "busy" not in run("fit", "qwen3.5:4b-q8_0", "--hardware", "Ryzen 9 7950X").out


def test_a_table(run: Run) -> None:
    text = run("fit", "qwen3.5:397b-fp8", "--hardware", "8x H100").out
    for words in (
        "8x H100 80GB",
        "yes: ",
        "tokens/s",
        "of the time",
        "a million tokens read",
        "OpenRouter",
        "free trial",
    ):
        assert words in text, words


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot(run: Run, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"fit.{ending}"
    assert run("fit", "qwen3.5:27b-q8_0", "--plot", str(file)).code == 0  # also of what does not fit
    assert file.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["qwen3.5:4b", "--hardware", "RTX 9090"], "'RTX 9090' is not known; there are auto, "),
        (["qwen3.5:4b", "--quant", "Q9_Z"], "Qwen3.5-4B does not come in Q9_Z; it comes in BF16, Q8_0, "),
        (["--quant", "Q9_Z"], "--quant Q9_Z: no member comes in it; there are BF16, "),
        (["qwen3.5:3b"], "qwen3.5:3b: no such member of the family; there are qwen3.8:2.4t, qwen3.5:397b, "),
        (["nobody/Nothing-GGUF:Q8_0"], "no such member of the family"),
        (["demo", "--quant", "Q8_0"], "--quant: demo is a file as it is"),
        (["qwen3.5:4b", "--ctx", "0"], "0 is not at least 1"),
        (["qwen3.5:4b", "--ctx", "1048577"], "--ctx 1048577 is more than the 1048576 that YaRN reaches"),
        (["qwen3.5:4b", "--batch", "-1"], "-1 is not at least 1"),
        (["qwen3.5:4b", "--kv", "q3"], "--kv 'q3' is not one of f32, f16, q8_0"),
        (["qwen3.5:4b", "--electricity", "0"], "0 is not above 0"),
        (["--plot", "x.png"], "--plot is for one model"),
        (["qwen3.5:4b", "--plot", "x.txt"], "must end in .png, .svg, .pdf"),
        (["qwen3.5:4b", "--plot", "/nowhere/x.png"], "cannot be written"),
    ],
)
def test_mistakes(run: Run, arguments: list[str], says: str) -> None:
    assert says in run("fit", *arguments).mistake()


def test_run_says_what_fits_instead(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the context is given room for."""
    checkpoint = open_checkpoint(resolve_model("demo"))
    text = model_config(checkpoint.config).text
    cache = cache_bytes(text, 512 // PAGE_SIZE + 1, PAGE_SIZE, 1, TYPES["F16"], MOST_LAID_BY)
    monkeypatch.setattr("qwill.options.available_memory", lambda: memory_needed(checkpoint) + cache)
    refused = run("run", "-p", "hi", "--ctx", "1024").mistake()
    assert "GB are free; a context of 512 fits (--ctx 512)" in refused
    assert run("run", "-p", "hi", "--ctx", "512", "-n", "1").code == 0
    monkeypatch.setattr("qwill.options.available_memory", lambda: 10**6)
    assert "take a smaller file" in run("run", "-p", "hi").mistake()


def test_loading_a_model_imports_none_of_it() -> None:
    """A start costs what it did."""
    program = "import sys, qwill.llm; print(*[name for name in sys.modules if name.startswith('qwill.fit.')])"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not loaded
