"""Every verb takes the names that people paste: models come from a hub on this machine, with the real client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, run_process
from hub_server import Hub, serve

from qwill.cli.serve import _named
from qwill.errors import InvalidArgument
from qwill.weights.hub.cache import resolve_model

DEMO = resolve_model("demo")
VISION = DEMO.with_name("mmproj-demo.gguf")
REPOSITORY, FILE = "unsloth/Qwen3.5-0.8B-GGUF", "Qwen3.5-0.8B-Q8_0.gguf"
NAMES = (
    f"{REPOSITORY}/{FILE}",
    f"https://huggingface.co/{REPOSITORY}/blob/main/{FILE}",
    f"https://huggingface.co/{REPOSITORY}/resolve/main/{FILE}?download=true",
    f"hf.co/{REPOSITORY}:q8_0",
    f"{REPOSITORY}@main",
    f" '{REPOSITORY}:Q8_0/' ",
    "qwen3.5:0.8b-q8_0",
    "Qwen3.5-0.8B-Q8_0",
)


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache, after a file of one repository was loaded."""
    cache = tmp_path_factory.mktemp("hub")
    with serve() as hub:
        hub.repositories[REPOSITORY] = {
            "MTP/Qwen3.5-0.8B-Q8_0.gguf": b"", FILE: DEMO.read_bytes(), "mmproj-F16.gguf": VISION.read_bytes(),
            "imatrix_unsloth.gguf_file": b"", "README.md": b"", "config.json": b"{}",
        }  # fmt: skip
        result = pull(hub, cache, f"{hub.address}/{REPOSITORY}/blob/main/{FILE}")
        assert (result.code, result.err) == (0, "")
        first, path, ready = result.out.splitlines()
        size = DEMO.stat().st_size + VISION.stat().st_size
        assert first == f"{REPOSITORY}: 2 files, {size / 1e6:.2f} MB, {size / 1e6:.2f} MB of it to download"
        assert Path(path).read_bytes() == DEMO.read_bytes()
        assert ready == f"ready; try: qwill run {REPOSITORY}/{FILE}"
        yield cache


def pull(hub: Hub, cache: Path, *names: str) -> Any:
    return run_process("pull", *names, HF_ENDPOINT=hub.address, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="")


@pytest.mark.parametrize("name", NAMES)
def test_what_was_loaded_is_found_by_all_its_names(pulled: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(pulled))
    path = resolve_model(name)
    assert path.read_bytes() == DEMO.read_bytes()
    assert path.with_name("mmproj-F16.gguf").is_file()
    assert not (path.parent / "MTP").exists()


@pytest.mark.parametrize("name", NAMES)
def test_verbs_that_open_a_model(pulled: Path, run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(pulled))
    told = json.loads(run("inspect", name, "--json").out)
    assert told["path"].endswith(FILE)
    assert told["vision"] is not None
    assert "about" not in run("quantize", name, "--type", "KEEP", "--dry-run").out  # of the file, not of the shapes


def test_verbs_that_run_a_model(pulled: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(pulled))
    wanted = run("run", "demo", "-p", "What is 17 + 25?").out
    assert run("run", NAMES[2], "-p", "What is 17 + 25?").out == wanted
    assert json.loads(run("bench", NAMES[1], "-p", "8", "-n", "2", "--repeat", "1", "--json").out)["model"]
    compared = run("compare", NAMES[0], NAMES[3], "--chunks", "1", "--ctx", "128", "--json")
    assert compared.code == 0
    assert json.loads(compared.out)["divergence"]["mean"] < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_verbs_that_know_a_member_without_a_file(run: Run, name: str) -> None:
    told = json.loads(run("fit", name, "--quant", "q8_0", "--json").out)
    assert (told["model"], told["quant"]) == ("Qwen3.5-0.8B", "Q8_0")
    assert "about" in run("quantize", name, "--type", "Q4_K_M", "--dry-run").out
    for verb in ("run", "inspect", "bench", "compare"):
        other = ["demo"] if verb == "compare" else []
        assert "qwill pull " in run(verb, name, *other).mistake()


@pytest.mark.parametrize(
    ("name", "member", "quant"),
    [
        ("bartowski/Qwen_Qwen3.5-4B-GGUF:Q4_K_M", "Qwen3.5-4B", "Q4_K_M"),
        ("mradermacher/Qwen3.5-9B-i1-GGUF:i1-Q4_K_M", "Qwen3.5-9B", "Q4_K_M"),
        ("huihui-ai/Huihui-Qwen3.5-35B-A3B-abliterated-GGUF:Q4_0", "Qwen3.5-35B-A3B", "Q4_0"),
        ("https://huggingface.co/Qwen/Qwen3.6-27B-FP8", "Qwen3.6-27B", "FP8"),
        ("qwen3.8:2.4t-ud-q2_k_xl", "Qwen3.8-2.4T-A95B", "UD-Q2_K_XL"),
        ("lmstudio-community/Qwen3.8-27B-GGUF@q8_0", "Qwen3.8-27B", "Q8_0"),
    ],
)
def test_fit_knows_members_in_publishers_names(run: Run, name: str, member: str, quant: str) -> None:
    told = json.loads(run("fit", name, "--hardware", "8x H100", "--json").out)
    assert (told["model"], told["quant"]) == (member, quant)


def test_what_fit_does_not_know_is_said(run: Run) -> None:
    told = run("fit", "mlx-community/Qwen3.6-27B-4bit", "--hardware", "H100", "--json")
    assert json.loads(told.out)["model"] == "Qwen3.6-27B"
    assert told.err == (
        "qwill: fit knows the sizes of releases and GGUF files, not of mlx-community/Qwen3.6-27B-4bit before it is"
        " downloaded; of Qwen3.6-27B this fits:\n"
    )


def test_what_clients_of_a_server_call_models(tmp_path: Path) -> None:
    split = tmp_path / "m-Q8_0-00001-of-00002.gguf"
    split.touch()
    link = f"https://huggingface.co/{REPOSITORY}/resolve/main/{FILE}?download=true"
    assert _named([link, "hf.co/o/m:Q4_K_M", "qwen3.5:4b", str(split), f"mine={link}"]) == [
        ("Qwen3.5-0.8B-Q8_0", link),
        ("o/m:Q4_K_M", "hf.co/o/m:Q4_K_M"),
        ("qwen3.5:4b", "qwen3.5:4b"),
        ("m-Q8_0", str(split)),
        ("mine", link),
    ]
    with pytest.raises(InvalidArgument, match="two models have the same name"):
        _named([link, f"{REPOSITORY}/{FILE}"])
