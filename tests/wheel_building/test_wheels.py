"""Which wheels scripts/wheels builds, and that it finds what one lacks."""

import sys
import zipfile
from pathlib import Path

import pytest
from build_backend import zig

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from wheel_building import environment
from wheel_building.checks import MOST_BYTES, check_content, check_glibc
from wheel_building.errors import WheelError
from wheel_building.platforms import PLATFORMS, PYTHONS, named


def test_modules_have_the_names_that_pythons_look_for() -> None:
    stable, older = PYTHONS
    x86, aarch64 = PLATFORMS["manylinux_2_28_x86_64"], PLATFORMS["manylinux_2_28_aarch64"]
    assert (stable.tag, older.tag) == ("cp312-abi3", "cp311-cp311")
    assert x86.module(stable) == aarch64.module(stable) == "_native.abi3.so"
    assert x86.module(older) == "_native.cpython-311-x86_64-linux-gnu.so"
    assert aarch64.module(older) == "_native.cpython-311-aarch64-linux-gnu.so"
    for tag in ("macosx_11_0_arm64", "macosx_11_0_x86_64"):
        assert PLATFORMS[tag].module(stable) == "_native.abi3.so"
        assert PLATFORMS[tag].module(older) == "_native.cpython-311-darwin.so"
    assert PLATFORMS["win_amd64"].module(stable) == "_native.pyd"
    assert PLATFORMS["win_amd64"].module(older) == "_native.cp311-win_amd64.pyd"


def test_systems() -> None:
    systems = {tag: platform.system for tag, platform in PLATFORMS.items()}
    assert set(systems.values()) == {"linux", "macos", "windows"}
    assert all(
        tag.startswith({"linux": "many", "macos": "macosx", "windows": "win"}[each]) for tag, each in systems.items()
    )


def test_zig_is_the_one_of_the_build_backend() -> None:
    assert zig.REQUIREMENT in environment.BUILDS


def test_platforms_are_named_once_and_known() -> None:
    assert named([]) == list(PLATFORMS.values())
    tag = "manylinux_2_28_aarch64"
    assert named([tag, tag]) == [PLATFORMS[tag]]
    with pytest.raises(WheelError, match=r"no platform win32; there are manylinux_2_28_x86_64, "):
        named([tag, "win32"])


def test_a_wheel_of_the_right_module_and_size_is_taken(tmp_path: Path) -> None:
    assert check_content(_wheel(tmp_path, ["_native.abi3.so"]), "_native.abi3.so").endswith("MB, _native.abi3.so")


@pytest.mark.parametrize(
    "modules", [[], ["_native.so"], ["_native.abi3.so", "_native.cpython-312-x86_64-linux-gnu.so"]]
)
def test_a_wheel_with_other_modules_is_refused(tmp_path: Path, modules: list[str]) -> None:
    with pytest.raises(WheelError, match=r"should have _native\.abi3\.so"):
        check_content(_wheel(tmp_path, modules), "_native.abi3.so")


def test_a_wheel_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"has 25\.0 MB, over 25"):
        check_content(_wheel(tmp_path, ["_native.abi3.so"], MOST_BYTES), "_native.abi3.so")


@pytest.mark.parametrize("fit", ["manylinux_2_28_x86_64", "manylinux_2_5_x86_64"])
def test_a_wheel_for_this_glibc_or_an_older_one_is_taken(fit: str) -> None:
    shown = f'\nqwill.whl is consistent with\nthe following platform\ntag: "{fit}".\n\nThis constrains "linux_x86_64"'
    assert check_glibc("qwill.whl", shown, "manylinux_2_28_x86_64") == fit


@pytest.mark.parametrize("fit", ["manylinux_2_34_x86_64", "manylinux_2_17_aarch64", "linux_x86_64"])
def test_a_wheel_for_a_newer_glibc_or_another_processor_is_refused(fit: str) -> None:
    with pytest.raises(WheelError, match=f"finds it fit for {fit}, not for manylinux_2_28_x86_64"):
        check_glibc("qwill.whl", f'the following platform tag: "{fit}".', "manylinux_2_28_x86_64")


def test_a_failing_command_ends_with_its_mend(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WheelError, match=r"failed with code 3; install it"):
        environment.run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], "install it")
    assert capsys.readouterr().out == "why\n\n"


def _wheel(folder: Path, modules: list[str], size: int = 0) -> Path:
    path = folder / "qwill-0-cp312-abi3-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("qwill/__init__.py", b"")
        archive.writestr("qwill/weights.bin", bytes(size))
        for module in modules:
            archive.writestr(f"qwill/{module}", b"")
    return path
