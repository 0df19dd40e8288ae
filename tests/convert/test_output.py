"""Files that appear under their names whole: where Windows keeps a name from them, and names that it does not have."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from qwill.convert import output
from qwill.convert.output import Output, check_free_space
from qwill.errors import InvalidArgument, UserError
from qwill.system import files
from qwill.system.paths import fault_of_name


def write_names(paths: Sequence[Path]) -> None:
    with Output(paths, 0, overwrite=True) as writer:
        for path in paths:
            writer.next_file()
            writer.write(path.name.encode())


def test_what_was_made_stays_where_its_name_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of three files is open elsewhere. Faked: only Windows holds names."""
    paths = [tmp_path / f"{name}.gguf" for name in "abc"]
    paths[1].write_bytes(b"precious")

    def rename(source: Path, target: Path) -> None:
        if target == paths[1]:
            raise files.FileHeldOpen(13, "a program holds it open; close that and try again", str(target))
        source.replace(target)

    monkeypatch.setattr(output, "replace", rename)
    with pytest.raises(UserError) as caught:
        write_names(paths)
    told = str(caught.value)
    assert told.startswith(f"{paths[1]}: a program holds it open")
    assert f"{paths[1]}.partial, {paths[2]}.partial" in told
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.gguf": b"a.gguf",
        "b.gguf": b"precious",
        "b.gguf.partial": b"b.gguf",
        "c.gguf.partial": b"c.gguf",
    }


@pytest.mark.parametrize("name", ["nul.gguf", "qwen3.5:0.8b.gguf"])
def test_names_that_windows_does_not_have_are_refused_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made. Faked, for elsewhere these are names as others."""
    monkeypatch.setattr(output, "fault_of_name", lambda text: fault_of_name(text, windows=True))
    for overwrite in (False, True):
        with pytest.raises(InvalidArgument, match=r"here; give another name$"):
            Output([tmp_path / name], 0, overwrite)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faked: only Windows has paths of which not even the beginning is there."""
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    with pytest.raises(UserError, match="there is no disk"):
        check_free_space(tmp_path / "x.gguf", 1)
