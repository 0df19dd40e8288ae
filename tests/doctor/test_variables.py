"""Environment variables: that they are set, and only harmless values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwill.doctor.variables import SET, SWITCHES, variables


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SET, *SWITCHES):
        monkeypatch.delenv(name, raising=False)


def test_secrets_and_places_are_named_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET:
        monkeypatch.setenv(name, "1")
    assert set(variables().values()) == {"set"}
    assert set(variables()) | {"LOCALAPPDATA"} == set(SET)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("QWILL_ISA", "avx512_bf16", "avx512_bf16"),
        ("QWILL_ISA", "zebrafish", "set"),
        ("LANG", "de_DE.UTF-8", "de_DE.UTF-8"),
        ("LC_ALL", "C", "C"),
        ("TERM", "xterm-256color", "xterm-256color"),
        ("CUDA_VISIBLE_DEVICES", "0,1", "0,1"),
        ("CUDA_VISIBLE_DEVICES", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "set"),
        ("PYTHONIOENCODING", "utf-8:replace", "utf-8:replace"),
        ("HF_HUB_OFFLINE", "1", "1"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "10.0.0.7", "set"),
        ("OMP_NUM_THREADS", "", None),
    ],
)
def test_values_that_are_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str | None) -> None:
    monkeypatch.setenv(name, value)
    assert variables().get(name) == shown


@given(st.sampled_from(SWITCHES), st.from_regex(r"[a-z]{6,12}[0-9]{5,9}", fullmatch=True))
def test_names_and_long_numbers_are_never_shown(name: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        assert value not in variables().values()
