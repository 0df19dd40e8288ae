"""Python's headers from Debian's package, with programs that look like apt-get and dpkg."""

import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from build_backend import headers
from build_backend.errors import BuildError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Debian's tools are POSIX programs")

_APT = """\
#!/bin/sh
echo "$@" >>"{calls}"
case "$*" in
  *update) exit {update} ;;
esac
if [ {found} = no ]; then
  echo "E: Unable to locate package" >&2
  exit 100
fi
: >"$(echo "$*" | sed 's/.* //')_3_amd64.deb"
"""
_DPKG = """\
#!/bin/sh
for name in python3.13 x86_64-linux-gnu/python3.13; do
  /bin/mkdir -p "$3/usr/include/$name"
  echo "of $name" >"$3/usr/include/$name/pyconfig.h"
done
{python}
"""


def lay(folder: Path, *, update: int = 0, found: str = "yes", header: bool = True) -> Path:
    """Makes the two programs; returns the file of apt-get's calls."""
    calls = folder / "calls"
    apt, dpkg = folder / "apt-get", folder / "dpkg"
    apt.write_text(_APT.format(calls=calls, update=update, found=found))
    dpkg.write_text(_DPKG.format(python=': >"$3/usr/include/python3.13/Python.h"' if header else ""))
    for program in (apt, dpkg):
        program.chmod(0o755)
    return calls


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sed", "sh"):
        (folder / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name}"))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_headers_come_with_the_architectures_configuration(tools: Path, tmp_path: Path) -> None:
    calls = lay(tools)
    found = headers.fetched((3, 13), None, tmp_path / "kept")
    assert (found / "Python.h").is_file()
    assert (found / "pyconfig.h").read_text() == "of x86_64-linux-gnu/python3.13\n"
    assert calls.read_text().splitlines()[-1].endswith("download libpython3.13-dev")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [found.name], "nothing else stays"


def test_what_was_fetched_is_kept(tools: Path, tmp_path: Path) -> None:
    calls = lay(tools)
    first = headers.fetched((3, 13), None, tmp_path / "kept")
    before = calls.read_text()
    assert headers.fetched((3, 13), None, tmp_path / "kept") == first
    assert calls.read_text() == before
    other = headers.fetched((3, 13), "arm64", tmp_path / "kept")
    assert other != first
    assert "APT::Architecture=arm64" in calls.read_text()


def test_nothing_is_installed_and_no_state_of_the_system_is_touched(tools: Path, tmp_path: Path) -> None:
    calls = lay(tools)
    headers.fetched((3, 13), None, tmp_path / "kept")
    for line in calls.read_text().splitlines():
        assert f"Dir::State={tmp_path}" in line
        assert f"Dir::Cache={tmp_path}" in line
        assert " install" not in line


@pytest.mark.parametrize("kind", [{"update": 100}, {"found": "no"}, {"header": False}])
def test_what_apt_does_not_have_is_one_line(tools: Path, tmp_path: Path, kind: dict[str, object]) -> None:
    lay(tools, **kind)  # type: ignore[arg-type]
    with pytest.raises(BuildError, match=r"Python\.h.*install Python's headers: python3\.13-dev") as caught:
        headers.fetched((3, 13), None, tmp_path / "kept")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "kept").iterdir()) == []


def test_without_apt_the_line_names_the_packages(tools: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="python3-devel"):
        headers.fetched((3, 13), None, tmp_path)


def test_missing_headers_are_told_by_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert headers.missing() == tmp_path
    (tmp_path / "Python.h").touch()
    assert headers.missing() is None
