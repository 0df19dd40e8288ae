"""Where caches lie, by what the environment says."""

from pathlib import Path

from qwill.system.folders import caches_folder


def test_each_system_has_its_own_place() -> None:
    assert caches_folder({}, "linux") == Path("~/.cache")
    assert caches_folder({"XDG_CACHE_HOME": "/var/x"}, "linux") == Path("/var/x")
    assert caches_folder({"XDG_CACHE_HOME": ""}, "linux") == Path("~/.cache")
    assert caches_folder({"XDG_CACHE_HOME": "/var/x"}, "darwin") == Path("~/Library/Caches")
    assert caches_folder({"LOCALAPPDATA": "D:/Local"}, "win32") == Path("D:/Local")
    assert caches_folder({}, "win32") == Path("~/AppData/Local")
