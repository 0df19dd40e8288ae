"""`qwill doctor` in processes of its own: whole, broken, and among names that must not be in it."""

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

import qwill

PACKAGE = Path(qwill.__file__).parent
SECTIONS = [
    "findings", "qwill", "python", "processor", "packages", "system", "threads", "memory", "pages", "folders",
    "variables", "streams", "limits", "cards",
]  # fmt: skip
QUIET = dict.fromkeys(("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS", "QWILL_ISA"), "")


def doctor(*arguments: str, options: tuple[str, ...] = (), cwd: Path | None = None, **environment: str) -> Result:
    done = subprocess.run(
        [sys.executable, *options, "-m", "qwill", "doctor", *arguments],
        capture_output=True,
        timeout=120,
        cwd=cwd,
        env=os.environ | QUIET | environment,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def ids(told: dict[str, Any]) -> set[str]:
    return {finding["id"] for finding in told["findings"]}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with qwill in it, without its kernels and the embedded model."""
    shutil.copytree(
        PACKAGE, tmp_path / "qwill", ignore=shutil.ignore_patterns("_native*", "demo", "__pycache__", "web")
    )
    return tmp_path


def test_one_screen() -> None:
    result = doctor(PYTHONUTF8="1")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    findings = json.loads(doctor("--json").out)["findings"]
    assert len(lines) - 2 * len(findings) <= 40
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"qwill {qwill.__version__}: ")


def test_the_object() -> None:
    result = doctor("--json")
    told = json.loads(result.out)
    assert list(told) == SECTIONS
    assert told["qwill"]["version"] == qwill.__version__
    assert told["python"]["version"] == platform.python_version()
    assert told["qwill"]["native"]["found"]
    assert told["qwill"]["native"]["error"] is None
    assert told["processor"]["used"] == told["processor"]["instruction_sets"][-1]
    assert told["threads"]["default"] >= 1
    assert 0 < told["memory"]["free"] <= told["memory"]["installed"]
    assert not any(section.keys() == {"error"} for name, section in told.items() if name != "findings")


def test_a_forced_instruction_set() -> None:
    told = json.loads(doctor("--json", QWILL_ISA="scalar").out)
    assert told["processor"]["used"] == told["processor"]["forced"] == "scalar"
    assert "isa-forced" in ids(told)


def test_an_instruction_set_that_is_none() -> None:
    result = doctor("--json", QWILL_ISA="avx9")
    assert result.code == 1
    assert result.err.startswith("qwill: no model can run here: QWILL_ISA names none of scalar")
    assert "isa-unknown" in ids(json.loads(result.out))
    assert "avx9" not in result.out + result.err


def test_without_kernels(copied: Path) -> None:
    result = doctor("--json", PYTHONPATH=str(copied))
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    told = json.loads(result.out)
    assert {"native-missing", "demo-missing"} <= ids(told)
    assert told["processor"]["instruction_sets"] == []
    assert told["processor"]["name"]
    text = doctor(PYTHONPATH=str(copied))
    assert (text.code, text.err) == (1, result.err)
    assert "problem: the compiled kernels are missing; pip install" in text.out


def test_with_torn_kernels(copied: Path) -> None:
    (copied / "qwill" / f"_native{EXTENSION_SUFFIXES[0]}").write_bytes(b"no module at all")
    result = doctor("--json", PYTHONPATH=str(copied))
    assert result.code == 1
    told = json.loads(result.out)
    assert "native-broken" in ids(told)
    assert f"_native{EXTENSION_SUFFIXES[0]}" in told["qwill"]["native"]["error"]
    assert str(copied) not in result.out + result.err


def test_with_kernels_for_another_python(copied: Path) -> None:
    (copied / "qwill" / "_native.cpython-399-some.so").write_bytes(b"")
    told = json.loads(doctor("--json", PYTHONPATH=str(copied)).out)
    assert "native-other-python" in ids(told)


def test_with_a_torn_package(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('numpy is torn')")
    result = doctor("--json", PYTHONPATH=os.pathsep.join([str(tmp_path), str(PACKAGE.parent)]))
    assert result.code == 1
    told = json.loads(result.out)
    assert told["packages"]["required"]["numpy"]["error"] == "ImportError: numpy is torn"
    assert "package-broken" in ids(told)


def test_without_any_package(copied: Path) -> None:
    """Nothing but Python and qwill's own files, with its project file beside them."""
    (copied / "src").mkdir()
    (copied / "qwill").rename(copied / "src" / "qwill")
    shutil.copy(Path(__file__).parents[2] / "pyproject.toml", copied)
    result = doctor("--json", options=("-S",), PYTHONPATH=str(copied / "src"))
    assert result.code == 1
    assert "Traceback" not in result.err
    told = json.loads(result.out)
    assert told["qwill"]["installed_as"] == "source tree"
    missing = [finding for finding in told["findings"] if finding["id"] == "package-missing"]
    assert len(missing) == len(told["packages"]["required"]) > 10
    assert not any(section.keys() == {"error"} for name, section in told.items() if name != "findings")


def test_a_user_called_as_a_processor_is() -> None:
    name = json.loads(doctor("--json").out)["processor"]["name"]
    told = json.loads(doctor("--json", USER=name.split()[0]).out)
    assert told["processor"]["name"] == name


def test_nothing_private(tmp_path: Path) -> None:
    """Every name that is planted is one that no report can have by chance."""
    home = tmp_path / "people" / "zebrafish"
    planted = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "USER": "zebrafish",
        "LOGNAME": "zebrafish",
        "USERNAME": "zebrafish",
        "HOSTNAME": "okapihost",
        "COMPUTERNAME": "okapihost",
        "HF_HUB_CACHE": str(tmp_path / "quokka" / "hub"),
        "OLLAMA_MODELS": str(tmp_path / "quokka" / "ollama"),
        "XDG_CACHE_HOME": str(home / "wombat"),
        "TMPDIR": str(tmp_path / "people"),
        "QWILL_API_KEY": "sk-narwhal",
        "HF_TOKEN": "hf_narwhal",
        "HTTPS_PROXY": "http://zebrafish:narwhal@10.91.92.93:3128",
        "HF_ENDPOINT": "https://mirror.okapihost.example",
        "TERM": "narwhal",
        "LC_MESSAGES": "narwhal",
        "LANG": "narwhal",
        "CUDA_VISIBLE_DEVICES": "GPU-narwhal",
        "QWILL_ISA": "narwhal",
    }
    for folder in (home, tmp_path / "quokka" / "hub" / "models--acme--Pangolin-GGUF" / "blobs"):
        folder.mkdir(parents=True)
    package = home / "pangolin-project"
    shutil.copytree(PACKAGE, package / "qwill", ignore=shutil.ignore_patterns("_native*", "demo", "__pycache__", "web"))
    (package / "qwill" / f"_native{EXTENSION_SUFFIXES[0]}").write_bytes(b"torn")
    words = ("zebrafish", "okapihost", "quokka", "wombat", "narwhal", "pangolin", "10.91.92.93", str(tmp_path))
    for path in (str(package), str(PACKAGE.parent)):
        for arguments in ((), ("--json",)):
            result = doctor(*arguments, cwd=home, PYTHONPATH=path, **planted)
            assert result.code == 1  # of QWILL_ISA, or of the torn module
            said = (result.out + result.err).lower()
            assert [word for word in words if word.lower() in said] == []
            assert str(Path.home()) not in said or str(Path.home()) == "/"
