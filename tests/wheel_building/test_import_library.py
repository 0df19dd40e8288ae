"""Python's names for Windows are those that its headers declare as imported, functions and data apart."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from wheel_building import headers, import_library

_CONFIG = Path(headers.__file__).with_name("pyconfig.h")


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        ("__attribute__((dllimport)) PyObject *PyList_New(Py_ssize_t size);", {"PyList_New": False}),
        ("__attribute__((dllimport)) const char * PyModule_GetName(PyObject *);", {"PyModule_GetName": False}),
        ("extern __attribute__((dllimport)) PyObject * PyExc_TypeError;", {"PyExc_TypeError": True}),
        ("extern __attribute__((dllimport)) PyObject _Py_NoneStruct;", {"_Py_NoneStruct": True}),
        ("extern __attribute__((dllimport)) const unsigned int _Py_ctype_table[256];", {"_Py_ctype_table": True}),
        ("extern __attribute__((dllimport)) int (*PyOS_InputHook)(void);", {"PyOS_InputHook": True}),
        ("__attribute__((dllimport)) PyOS_sighandler_t PyOS_getsig(int);", {"PyOS_getsig": False}),
        ("__attribute__((dllimport)) int Py_AtExit(void (*func)(void));", {"Py_AtExit": False}),
        (
            "__attribute__((deprecated)) __attribute__((dllimport)) __attribute__((noreturn)) void\nPy_Exit(int);",
            {"Py_Exit": False},
        ),
        ("__attribute__((dllimport)) int fclose(FILE *);", {}),
        ("static inline int Py_Is(PyObject *x, PyObject *y) { return x == y; }", {}),
        ("", {}),
    ],
)
def test_declarations(declaration: str, expected: dict[str, bool]) -> None:
    assert import_library.declared(f"int first;\n{declaration}\nint last(void);") == expected


def test_names_are_listed_with_what_is_data() -> None:
    text = import_library.exports("python3.dll", {"PyList_New": False, "PyExc_TypeError": True})
    assert text == "LIBRARY python3.dll\nEXPORTS\n    PyExc_TypeError DATA\n    PyList_New\n"


def test_headers_are_pythons_with_our_configuration(tmp_path: Path) -> None:
    include = tmp_path / "include"
    (include / "cpython").mkdir(parents=True)
    for name in ("Python.h", "pyconfig.h", "cpython/object.h"):
        (include / name).write_text(name)
    made = headers.copied(include, tmp_path / "made")
    assert (made / "cpython" / "object.h").read_text() == "cpython/object.h"
    assert (made / "pyconfig.h").read_bytes() == _CONFIG.read_bytes()
    (made / "old.h").touch()
    assert not (headers.copied(include, made) / "old.h").exists()
