"""Which compiler a build takes, with programs that look like compilers."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from build_backend import compilers
from build_backend.compilers import Choice, choose
from build_backend.errors import BuildError
from build_backend.probe import failure
from fake_compilers import calls, lay

ZIG = ("ziglang==0.17.1",)

# Programs without an extension cannot be started on Windows, where none is looked for either.
on_the_path = pytest.mark.skipif(sys.platform == "win32", reason="no compiler is looked for on Windows")


def chosen(path: Path, settings: dict[str, Any] | None = None, **variables: str) -> Choice:
    return choose(settings, {"PATH": str(path)} | variables)


def command(program: Path) -> str:
    return f"{sys.executable} {program}"


@on_the_path
@pytest.mark.parametrize("name", ["c++", "g++", "clang++"])
def test_a_compiler_that_works_is_used(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name)
    choice = chosen(tmp_path)
    assert choice.environment["CXX"] == name
    assert choice.requires == ()
    assert choice.settings() == {}
    assert name in choice.why


def test_without_a_compiler_zig_is_asked_for(tmp_path: Path) -> None:
    choice = chosen(tmp_path)
    assert choice.requires == ZIG
    assert choice.environment["CMAKE_GENERATOR"] == "Ninja"
    assert "CXX" not in choice.environment
    assert "none is on the PATH" in choice.why


@on_the_path
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("old", "unrecognized command line option '-std=gnu++17'"),
        ("dated", "-mavx512bf16"),
        ("headless", "'optional' file not found"),
        ("unlinked", "cannot find 'ld'"),
        ("idle", "it makes no file"),
    ],
)
def test_a_compiler_that_does_not_work_is_left_with_its_reason(tmp_path: Path, kind: str, reason: str) -> None:
    lay(tmp_path, "g++", kind)
    choice = chosen(tmp_path)
    assert choice.requires == ZIG
    assert "g++: " in choice.why
    assert reason in choice.why
    assert "\n" not in choice.why


@on_the_path
def test_the_next_compiler_is_tried(tmp_path: Path) -> None:
    broken = lay(tmp_path, "c++", "unlinked")
    (tmp_path / "g++").symlink_to(broken)
    lay(tmp_path, "clang++")
    assert chosen(tmp_path).environment["CXX"] == "clang++"
    assert len([call for call in calls(broken) if "-shared" in call]) == 1, "the same program is not tried twice"


def test_the_newest_instructions_are_those_of_the_compilers_target(tmp_path: Path) -> None:
    program = lay(tmp_path, "g++", machine="aarch64-linux-gnu")
    assert failure([sys.executable, str(program)], os.environ) is None
    compiled = next(call for call in calls(program) if "-c" in call)
    assert "-march=armv8.2-a+dotprod+i8mm" in compiled
    assert "-mavx512bf16" not in compiled
    assert not [word for call in calls(program) for word in call if "native" in word]


def test_real_compilers_work() -> None:
    for name in ("g++", "clang++"):
        if shutil.which(name):
            assert failure([name], os.environ) is None
            assert failure([name, "-std=c++17", "-no-such-option"], os.environ) is not None
            linked = failure([name], dict(os.environ) | {"LDFLAGS": "-lno-such-library-anywhere"})
            assert linked is not None
            assert "no-such-library-anywhere" in linked


def test_cxx_names_a_compiler_with_its_arguments(tmp_path: Path) -> None:
    lay(tmp_path / "path", "c++")
    named = lay(tmp_path, "mine")
    choice = chosen(tmp_path / "path", CXX=f"{command(named)} -mine=1")
    assert choice.requires == ()
    assert "CXX names it" in choice.why
    assert all("-mine=1" in call for call in calls(named))
    assert len(calls(named)) == 3
    assert calls(tmp_path / "path" / "c++") == []


def test_a_path_with_a_space_is_one_program(tmp_path: Path) -> None:
    named = lay(tmp_path / "my tools", "g++", "old")
    with pytest.raises(BuildError, match="does not compile and link C\\+\\+17"):
        chosen(tmp_path, CXX=str(named))
    assert sys.platform == "win32" or calls(named)


def test_flags_of_the_environment_hold(tmp_path: Path) -> None:
    named = lay(tmp_path, "mine")
    chosen(tmp_path, CXX=command(named), CXXFLAGS="-stdlib=libc++ -O1", LDFLAGS="-L/some/where")
    compiled = next(call for call in calls(named) if "-c" in call)
    linked = next(call for call in calls(named) if "-shared" in call)
    assert "-stdlib=libc++" in compiled
    assert "-L/some/where" in linked


@pytest.mark.parametrize("kind", ["old", "headless", "unlinked", "idle"])
def test_a_named_compiler_that_does_not_work_ends_the_build(tmp_path: Path, kind: str) -> None:
    lay(tmp_path / "path", "c++")
    named = command(lay(tmp_path, "mine", kind))
    for variables, settings in (
        ({"CXX": named}, None),
        ({"CMAKE_CXX_COMPILER": named.replace(" ", ";")}, None),
        ({"CMAKE_ARGS": f"'-DCMAKE_CXX_COMPILER={named.replace(' ', ';')}'"}, None),
        ({}, {"cmake.define.CMAKE_CXX_COMPILER": named.replace(" ", ";")}),
    ):
        with pytest.raises(BuildError) as caught:
            chosen(tmp_path / "path", settings, **variables)
        assert str(tmp_path / "mine") in str(caught.value)
        assert "unset" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_named_compiler_that_is_not_there_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"CXX=no-such-compiler .*: there is no such program"):
        chosen(tmp_path, CXX="no-such-compiler -O2")


@pytest.mark.parametrize("name", ["cl", "cl.exe", "clang-cl"])
def test_msvc_is_told_apart(tmp_path: Path, name: str) -> None:
    with pytest.raises(BuildError, match="MSVC takes other flags"):
        chosen(tmp_path, CXX=name)


@pytest.mark.parametrize(
    "arguments",
    ["-D{}={}", "-D{}:FILEPATH={}", "-D {}={}", "-DA=1 -D{}={} -DB=2"],
)
def test_cmake_arguments_name_a_compiler_before_cxx(tmp_path: Path, arguments: str) -> None:
    named, other = lay(tmp_path, "mine"), lay(tmp_path, "other")
    list_form = command(named).replace(" ", ";")
    choice = chosen(tmp_path, CMAKE_ARGS=arguments.format("CMAKE_CXX_COMPILER", f"'{list_form}'"), CXX=command(other))
    assert "CMAKE_CXX_COMPILER names it" in choice.why
    assert choice.settings() == {}, "CMake has it already"
    assert calls(named)
    assert not calls(other)


def test_settings_name_a_compiler(tmp_path: Path) -> None:
    named = command(lay(tmp_path, "mine")).replace(" ", ";")
    for settings in ({"cmake.define.CMAKE_CXX_COMPILER": named}, {"cmake.args": [f"-DCMAKE_CXX_COMPILER={named}"]}):
        assert "CMAKE_CXX_COMPILER names it" in chosen(tmp_path, settings).why


def test_the_environments_compiler_is_handed_to_cmake(tmp_path: Path) -> None:
    named = command(lay(tmp_path, "mine")).replace(" ", ";")
    choice = chosen(tmp_path, CMAKE_CXX_COMPILER=named)
    assert choice.settings() == {"cmake.define.CMAKE_CXX_COMPILER": named}


def test_a_toolchain_file_is_trusted_where_it_exists(tmp_path: Path) -> None:
    file = tmp_path / "toolchain.cmake"
    file.touch()
    for variables, settings in (
        ({"CMAKE_TOOLCHAIN_FILE": str(file)}, None),
        ({"CMAKE_ARGS": f"-DCMAKE_TOOLCHAIN_FILE={file}"}, None),
        ({"CMAKE_ARGS": f"--toolchain {file}"}, None),
        ({"CMAKE_ARGS": f"--toolchain={file}"}, None),
        ({}, {"cmake.define.CMAKE_TOOLCHAIN_FILE": str(file)}),
    ):
        choice = chosen(tmp_path, settings, **variables)
        assert choice.requires == ()
        assert f"{file} says" in choice.why
    with pytest.raises(BuildError, match=r"CMAKE_TOOLCHAIN_FILE=.*absent\.cmake: there is no such file"):
        chosen(tmp_path, CMAKE_TOOLCHAIN_FILE=str(tmp_path / "absent.cmake"))


def test_zig_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    works = lay(tmp_path, "c++")
    choice = chosen(tmp_path, QWILL_COMPILER="zig", CXX=command(works))
    assert choice.requires == ZIG
    assert "QWILL_COMPILER" in choice.why
    assert calls(works) == []
    with pytest.raises(BuildError, match="QWILL_COMPILER=gcc: zig is all it can ask for"):
        chosen(tmp_path, QWILL_COMPILER="gcc")
    with pytest.raises(BuildError, match="cannot both hold"):
        chosen(tmp_path, QWILL_COMPILER="zig", CMAKE_ARGS=f"-DCMAKE_CXX_COMPILER={works}")


def test_without_compiler_and_zig_the_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilers.zig, "platform_tags", lambda: iter(["manylinux_2_36_s390x", "linux_s390x"]))
    with pytest.raises(BuildError, match=r"none is on the PATH.*no ziglang==0.17.1 for linux_s390x: install GCC"):
        chosen(tmp_path)


# No other system is at hand here: `sys.platform` alone is another's.
def test_on_windows_zig_is_used_unless_a_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    works = lay(tmp_path, "g++")
    assert chosen(tmp_path).requires == ZIG
    assert calls(works) == []
    named = chosen(tmp_path, CXX=command(works))
    assert named.requires == ()
    assert named.environment["CMAKE_GENERATOR"] == "Ninja"
    assert "CMAKE_GENERATOR" not in chosen(tmp_path, CXX=command(works), CMAKE_GENERATOR="Unix Makefiles").environment


@on_the_path
def test_on_macos_compilers_count_with_the_command_line_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    works = lay(tmp_path, "c++")
    assert chosen(tmp_path).requires == ZIG
    select = tmp_path / "xcode-select"
    select.write_text("#!/bin/sh\nexit 2\n")
    select.chmod(0o755)
    assert chosen(tmp_path).requires == ZIG
    assert calls(works) == []
    select.write_text("#!/bin/sh\nexit 0\n")
    assert chosen(tmp_path).requires == ()
