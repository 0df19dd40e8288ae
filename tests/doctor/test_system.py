"""The operating system, on made-up trees."""

import sys
from pathlib import Path

import pytest

from qwill.doctor.machine import memory, pages
from qwill.doctor.operating_system import limits, operating_system, streams


def lay(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"', "Debian GNU/Linux 12 (bookworm)"),
        ("NAME=Alpine", "Alpine"),
        ("ID=x", None),
    ],
)
def test_the_distribution(tmp_path: Path, line: str, name: str | None) -> None:
    path = tmp_path / "usr/lib/os-release"
    path.parent.mkdir(parents=True)
    path.write_text(f"\n{line}\nBUG=a=b\n")
    assert operating_system(tmp_path)["distribution"] == name


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.6.87.2-microsoft-standard-WSL2", 2), ("4.4.0-19041-Microsoft", 1), ("6.1.0-38-amd64", None)],
)
def test_windows_subsystem(tmp_path: Path, release: str, version: int | None) -> None:
    assert operating_system(lay(tmp_path, proc__sys__kernel__osrelease=f"{release}\n"))["wsl"] == version


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, None),
        ({".dockerenv": ""}, "docker"),
        ({"run__.containerenv": ""}, "podman"),
        ({"proc__1__environ": "A=b\0container=lxc\0"}, "lxc"),
        ({"proc__1__environ": "container=my-own-name\0"}, "yes"),
        ({"proc__1__cgroup": "1:cpu:/kubepods/pod1\n"}, "kubepods"),
        ({"proc__1__cgroup": "0::/init.scope\n"}, None),
    ],
)
def test_containers(tmp_path: Path, files: dict[str, str], kind: str | None) -> None:
    assert operating_system(lay(tmp_path, **files))["container"] == kind


def test_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert operating_system(tmp_path)["container"] == "Kubernetes"


@pytest.mark.parametrize("choice", ["always", "madvise", "never"])
def test_huge_pages(tmp_path: Path, choice: str) -> None:
    words = " ".join(f"[{word}]" if word == choice else word for word in ("always", "madvise", "never"))
    told = pages(lay(tmp_path, sys__kernel__mm__transparent_hugepage__enabled=f"{words}\n"))
    assert told["huge"] == choice


def test_where_nothing_tells(tmp_path: Path) -> None:
    assert pages(tmp_path)["huge"] is None
    told = memory(tmp_path)
    assert (told["swap"], told["overcommit"]) == (None, None)


def test_swap(tmp_path: Path) -> None:
    lay(
        tmp_path,
        proc__meminfo="MemAvailable: 9000 kB\nSwapTotal:       4000 kB\nSwapFree:   1000 kB\nHugePages_Total: 0\n",
    )
    told = memory(tmp_path)
    assert (told["free"], told["swap"], told["swap_free"]) == (9000 * 1024, 4000 * 1024, 1000 * 1024)


@pytest.mark.parametrize(("limit", "told"), [("1000000", 1_000_000), ("max", None), ("9223372036854771712", None)])
def test_the_limit_of_a_control_group(tmp_path: Path, limit: str, told: int | None) -> None:
    lay(tmp_path, proc__meminfo="MemAvailable: 9000 kB\n", proc__self__cgroup="0::/a\n")
    for name, text in (("memory.max", limit), ("memory.current", "7")):
        path = tmp_path / "sys/fs/cgroup/a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory(tmp_path)["limit"] == told


def test_rosetta(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Never run on a Mac: the answer of its program is made up."""
    answers: dict[str, int | None] = {"sysctl.proc_translated": 1}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("qwill.doctor.operating_system.sysctl_number", answers.get)
    assert operating_system(tmp_path)["translated"]
    answers["sysctl.proc_translated"] = None  # a Mac with a processor of Intel's has no such entry
    assert not operating_system(tmp_path)["translated"]


def test_this_process() -> None:
    told = streams()
    assert told["file_names"] == sys.getfilesystemencoding()
    assert set(limits()) == {"open_files", "locked_memory", "address_space", "processes", "file_size"}


def test_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    told = streams()
    assert (told["stdin"], told["stdout"], told["terminal"]) == (None, None, False)


def test_without_the_module_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(sys, "platform", "win32")
    assert set(limits().values()) == {None}
