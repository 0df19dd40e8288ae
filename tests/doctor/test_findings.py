"""What is found in a report, and that nothing is found in a sound one."""

import copy
from typing import Any

import pytest

from qwill.doctor.findings import findings

GB = 10**9
FOLDER = {"place": "~/x", "exists": True, "writable": True, "free": 99 * GB}
SOUND: dict[str, Any] = {
    "qwill": {
        "version": "1.0", "installed_version": "1.0", "installed_as": "wheel", "environment": "none",
        "native": {"found": True, "file": "_native.so", "others": [], "error": None, "build": None},
        "demonstration_model": True, "first_on_path": "this",
    },
    "python": {"bits": 64, "implementation": "CPython"},
    "packages": {
        "required": {
            "numpy": {"version": "2.0", "requires": ">=1", "suits": True, "error": None, "needed_by": "everything"},
            "av": {"version": "14.0", "requires": ">=14", "suits": True, "error": None, "needed_by": "videos"},
        }
    },
    "processor": {"instruction_sets": ["scalar", "avx2", "avx512"], "forced": None, "used": "avx512"},
    "threads": {"load": 0.1, "logical": 8, "quota": None},
    "memory": {"free": 16 * GB},
    "pages": {"huge": "madvise"},
    "system": {"machine": "x86_64", "translated": False, "wsl": None, "container": None},
    "limits": {"open_files": 1024, "address_space": "unlimited", "file_size": "unlimited"},
    "folders": {name: dict(FOLDER) for name in ("hub_cache", "own_cache", "temporary")},
    "cards": {"listed": [], "unreadable": []},
    "streams": {"stdout": "utf-8"},
    "variables": {},
}  # fmt: skip


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    told = copy.deepcopy(SOUND)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = told
        for name in parents:
            place = place[name]
        place[last] = value
    return told


def test_a_sound_installation() -> None:
    assert findings(SOUND) == []


NUMPY, AV = "packages.required.numpy", "packages.required.av"


@pytest.mark.parametrize(
    ("changes", "level", "name"),
    [
        ({"qwill.native.found": False}, "problem", "native-missing"),
        ({"qwill.native.found": False, "qwill.installed_as": "source tree"}, "problem", "native-missing"),
        ({"qwill.native.found": False, "qwill.native.others": ["x.so"]}, "problem", "native-other-python"),
        ({"qwill.native.error": "torn"}, "problem", "native-broken"),
        ({"qwill.demonstration_model": False}, "warning", "demo-missing"),
        ({"qwill.installed_version": "0.9"}, "warning", "two-versions"),
        ({"qwill.first_on_path": "another"}, "warning", "path"),
        ({"python.bits": 32}, "problem", "python-32-bit"),
        ({"python.implementation": "PyPy"}, "warning", "not-cpython"),
        ({f"{NUMPY}.version": None}, "problem", "package-missing"),
        ({f"{NUMPY}.error": "torn"}, "problem", "package-broken"),
        ({f"{NUMPY}.suits": False}, "warning", "package-version"),
        ({f"{AV}.version": None}, "warning", "package-missing"),
        ({"processor.forced": "unknown", "processor.used": None}, "problem", "isa-unknown"),
        ({"processor.forced": "avx2", "processor.used": "avx2"}, "warning", "isa-forced"),
        ({"processor.instruction_sets": ["scalar"], "processor.used": "scalar"}, "warning", "isa-scalar"),
        ({"system.translated": True}, "warning", "rosetta"),
        ({"system.wsl": 1}, "warning", "wsl-1"),
        ({"threads.quota": 0.5}, "warning", "quota"),
        ({"threads.load": 9.5}, "warning", "busy"),
        ({"memory.free": GB}, "warning", "memory"),
        ({"limits.address_space": 4 * GB}, "warning", "address-space"),
        ({"limits.open_files": 64}, "warning", "open-files"),
        ({"limits.file_size": GB}, "warning", "file-size"),
        ({"pages.huge": "never"}, "warning", "huge-pages"),
        ({"folders.hub_cache.writable": False}, "warning", "hub-cache-not-writable"),
        ({"folders.temporary.free": GB}, "warning", "temporary-full"),
        ({"cards.listed": [{"name": "NVIDIA 0x1", "driver": None}]}, "warning", "card-driver"),
        ({"cards.listed": [{"name": "NVIDIA 0x1", "driver": "nouveau"}]}, "warning", "card-driver"),
        ({"cards.unreadable": ["/dev/kfd"]}, "warning", "card-rights"),
        ({"streams.stdout": "cp1252"}, "warning", "encoding"),
        ({"variables.HF_HUB_OFFLINE": "1"}, "warning", "offline"),
    ],
)
def test_each(changes: dict[str, Any], level: str, name: str) -> None:
    (found,) = findings(changed(changes))
    assert (found.level, found.id) == (level, name)
    assert found.message
    assert found.mend
    assert "\n" not in found.message + found.mend


def test_problems_come_first() -> None:
    told = changed({"pages.huge": "never", "python.bits": 32, "threads.load": 99.0})
    assert [finding.level for finding in findings(told)] == ["problem", "warning", "warning"]


@pytest.mark.parametrize("section", list(SOUND))
def test_a_section_that_could_not_be_made_is_a_line(section: str) -> None:
    found = findings({**SOUND, section: {"error": "why"}})
    assert [finding.id for finding in found] == ["unknown"]
    assert section in found[0].message


@pytest.mark.parametrize("encoding", [None, "UTF-8", "utf8", "cp65001"])
def test_encodings_that_hold_everything(encoding: str | None) -> None:
    assert findings(changed({"streams.stdout": encoding})) == []
