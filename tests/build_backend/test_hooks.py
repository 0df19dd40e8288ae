"""What the hooks add to those of scikit-build-core."""

import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import build_backend
import pytest
from build_backend import headers, parallel, zig
from fake_compilers import lay

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks run in the folder of pyproject.toml; a compiler that the tests' environment names is not theirs."""
    monkeypatch.chdir(ROOT)
    for name in (
        "CXX",
        "CXXFLAGS",
        "LDFLAGS",
        "CMAKE_ARGS",
        "CMAKE_TOOLCHAIN_FILE",
        "CMAKE_CXX_COMPILER",
        "QWILL_COMPILER",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What scikit-build-core's hooks were given."""
    given: dict[str, Any] = {}

    def build(wheel_directory: str, config_settings: dict[str, Any], metadata_directory: str | None) -> str:
        given.update(
            settings=config_settings, environment=dict(os.environ), arguments=(wheel_directory, metadata_directory)
        )
        return "qwill.whl"

    monkeypatch.setattr(build_backend.core, "build_wheel", build)
    monkeypatch.setattr(build_backend.core, "build_editable", build)
    return given


@pytest.fixture
def fake_zig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "site" / "ziglang"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("QWILL_COMPILER", "zig")
    return package


def test_pyproject_names_this_backend_and_the_pinned_zig_is_in_one_place() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert table["build-backend"] == "build_backend"
    assert table["backend-path"] == ["."]
    assert f"ziglang=={zig.VERSION}" == zig.REQUIREMENT


@pytest.mark.parametrize("hook", ["get_requires_for_build_wheel", "get_requires_for_build_editable"])
def test_zig_is_a_requirement_and_one_line_says_why(
    hook: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(os.environ)
    assert zig.REQUIREMENT not in getattr(build_backend, hook)({"cmake.define.CMAKE_TOOLCHAIN_FILE": "cmake/zig.cmake"})
    capsys.readouterr()
    monkeypatch.setenv("QWILL_COMPILER", "zig")
    requirements = getattr(build_backend, hook)()
    assert zig.REQUIREMENT in requirements
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("qwill: ")]
    assert lines == [f"qwill: compiling with zig for {zig.target()}: QWILL_COMPILER asks for it"]
    assert dict(os.environ) == before | {"QWILL_COMPILER": "zig"}


def test_without_cmake_and_ninja_both_are_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "cmake", None)
    monkeypatch.setitem(sys.modules, "ninja", None)
    names = {requirement.split(">")[0].split("=")[0] for requirement in build_backend.get_requires_for_build_wheel()}
    assert names >= {"cmake", "ninja", "ziglang"}


def test_a_named_compiler_that_fails_ends_the_hook_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", f"{sys.executable} {lay(tmp_path, 'mine', 'old')}")
    for hook in (build_backend.get_requires_for_build_wheel, lambda: build_backend.build_wheel(str(tmp_path))):
        with pytest.raises(SystemExit) as caught:
            hook()
        line = str(caught.value)
        assert line.startswith("qwill: CXX=")
        assert "\n" not in line


@pytest.mark.usefixtures("fake_zig")
@pytest.mark.parametrize("hook", ["build_wheel", "build_editable"])
def test_the_build_gets_zig_by_the_toolchain_file(hook: str, built: dict[str, Any]) -> None:
    before = dict(os.environ)
    assert getattr(build_backend, hook)("wheels", {"build-dir": "mine"}, "metadata") == "qwill.whl"
    assert built["arguments"] == ("wheels", "metadata")
    assert built["settings"]["cmake.define.CMAKE_TOOLCHAIN_FILE"] == str(ROOT / "cmake" / "zig.cmake")
    assert built["settings"]["build-dir"] == "mine", "the user's settings hold over ours"
    assert built["environment"]["CMAKE_GENERATOR"] == "Ninja"
    assert int(built["environment"]["CMAKE_BUILD_PARALLEL_LEVEL"]) >= 1
    assert dict(os.environ) == before


@pytest.mark.usefixtures("fake_zig")
def test_a_number_of_jobs_that_is_given_holds(built: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "7")
    build_backend.build_wheel("wheels")
    assert built["environment"]["CMAKE_BUILD_PARALLEL_LEVEL"] == "7"


@pytest.mark.usefixtures("fake_zig")
def test_missing_headers_are_fetched_unless_they_are_named(
    built: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "missing", lambda: Path("/usr/include/python"))
    monkeypatch.setattr(headers, "fetched", lambda version, architecture, folder: tmp_path / "fetched")
    build_backend.build_wheel("wheels")
    assert built["settings"]["cmake.define.Python_INCLUDE_DIR"] == str(tmp_path / "fetched")
    build_backend.build_wheel("wheels", {"cmake.define.Python_INCLUDE_DIR": "/mine"})
    assert built["settings"]["cmake.define.Python_INCLUDE_DIR"] == "/mine"


def test_headers_that_nothing_can_fetch_end_the_build_before_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "missing", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for hook in (build_backend.get_requires_for_build_wheel, build_backend.get_requires_for_build_editable):
        with pytest.raises(
            SystemExit, match=r"qwill: Python\.h is not in .*; install Python's headers: python3\.\d+-dev"
        ):
            hook()
        assert hook({"cmake.define.Python_INCLUDE_DIR": "/mine"})


def test_the_source_distribution_has_what_a_build_needs(tmp_path: Path) -> None:
    script = f"import build_backend; build_backend.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "build_backend").glob("*.py")}
    assert len(wanted) > 3
    assert names >= wanted | {"cmake/zig.cmake", "CMakeLists.txt", "pyproject.toml"}


@pytest.mark.parametrize(
    ("free", "processors", "jobs"),
    [(None, 8, 8), (100 * 10**9, 8, 8), (4 * 10**9, 8, 2), (10**9, 8, 1), (0, 8, 1)],
)  # fmt: skip
def test_as_many_files_at_once_as_fit_into_memory(
    free: int | None, processors: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "free_memory", lambda: free)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(processors)), raising=False)
    assert parallel.jobs() == jobs


def test_free_memory_is_the_least_of_the_machines_and_the_containers(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    8000000 kB\n"}
    groups = "sys/fs/cgroup"
    for more, free in (
        ({}, 8_000_000 * 1024),
        ({f"{groups}/memory.max": "max", f"{groups}/memory.current": "5"}, 8_000_000 * 1024),
        ({f"{groups}/memory.max": "3000000000"}, 3_000_000_000 - 5),
        ({f"{groups}/memory/memory.limit_in_bytes": "70", f"{groups}/memory/memory.usage_in_bytes": "90"}, 0),
    ):
        for name, text in (files | more).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        assert parallel.free_memory(tmp_path) == free
    (tmp_path / "proc" / "meminfo").write_text("nothing of use")
    whole = parallel.free_memory(tmp_path)
    assert whole is None or whole > 10**8
