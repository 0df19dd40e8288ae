"""API keys: whose they are, how often and how much at a time."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from qwill.errors import InvalidArgument
from qwill.server.keys import Key, Keys

SECRET = "a secret of many letters"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limited(clock: Clock, **limits: int) -> tuple[Keys, Key]:
    key = Key("one", hashlib.sha256(SECRET.encode()).digest(), **limits)
    return Keys([key], clock), key


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def test_without_keys_everybody_may_ask() -> None:
    keys = Keys()
    assert not keys.required
    for secret in (None, "", "anything"):
        found = keys.find(secret)
        assert found is not None
        assert found.name == "anybody"


@pytest.mark.parametrize("secret", [None, "", " ", SECRET[:-1], SECRET.upper(), "\xff\xfe", "x" * 10**6])
def test_wrong_keys(secret: str | None) -> None:
    assert Keys.of([SECRET, "another"]).find(secret) is None


def test_a_key_of_an_empty_secret_is_nobodys() -> None:
    """Even if somebody wrote its digest into the file."""
    assert Keys([Key("empty", hashlib.sha256(b"").digest())]).find("") is None
    assert Keys([Key("empty", hashlib.sha256(b"").digest())]).find(None) is None


@pytest.mark.parametrize("secret", [SECRET, "schlüssel", f"  {SECRET}\n", "\udcff\udcfe"])
def test_right_keys(secret: str) -> None:
    keys = Keys.of(["another", secret])
    assert keys.required
    found = keys.find(secret.strip().encode("utf-8", "surrogateescape").decode("latin-1"))
    assert found is not None
    assert found.name == "key 2"


def test_all_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    keys = Keys.of(["first", "second", "third"])
    monkeypatch.setattr(hmac, "compare_digest", counting)
    for secret in ("first", "third", "none of them", ""):
        compared.clear()
        keys.find(secret)
        assert len(compared) == 3
        assert all(len(one) == len(other) == 32 for one, other in compared)


def test_secrets_are_not_kept() -> None:
    assert SECRET not in repr(vars(Keys.of([SECRET])))


def test_requests_per_minute() -> None:
    clock = Clock()
    keys, key = limited(clock, requests_per_minute=2)
    assert keys.enter(key) == 0
    clock.now += 20
    assert keys.enter(key) == 0
    keys.leave(key)
    assert keys.enter(key) == pytest.approx(40)  # until the first is a minute old, whether or not they are over
    clock.now += 39
    assert keys.enter(key) == pytest.approx(1)
    clock.now += 1
    assert keys.enter(key) == 0
    assert keys.enter(key) == pytest.approx(20)  # what was refused did not count


def test_concurrent_requests() -> None:
    keys, key = limited(Clock(), concurrent_requests=2)
    assert [keys.enter(key) for _ in range(3)] == [0, 0, 1]
    keys.leave(key)
    assert [keys.enter(key) for _ in range(2)] == [0, 1]


def test_a_key_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(
        f'[alice]\nsha256 = "{digest("a")}"\n["bob at home"]\nsha256 = "{digest("b").upper()}"\n'
        "requests_per_minute = 60\nconcurrent_requests = 4\n"
    )
    keys = Keys.of(["c"], file)
    alice, bob, other = keys.find("a"), keys.find("b"), keys.find("c")
    assert alice is not None
    assert (alice.name, alice.requests_per_minute, alice.concurrent_requests) == ("alice", None, None)
    assert bob is not None
    assert (bob.name, bob.requests_per_minute, bob.concurrent_requests) == ("bob at home", 60, 4)
    assert other is not None
    assert other.name == "key 1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[a", "cannot be read"),
        ("\xff", "cannot be read"),
        ("a = 1", r"\[a\] must be a table"),
        ("[a]", "64 hexadecimal digits"),
        ('[a]\nsha256 = "00"', "64 hexadecimal digits"),
        ("[a]\nsha256 = 5", "64 hexadecimal digits"),
        (f'[a]\nsha256 = "{"g" * 64}"', "64 hexadecimal digits"),
        (f'[a]\nsha256 = "{"0" * 64}"\nkey = "x"', "must be a table of"),
        (f'[a]\nsha256 = "{"0" * 64}"\nrequests_per_minute = 0', "requests_per_minute of .a. must be"),
        (f'[a]\nsha256 = "{"0" * 64}"\nconcurrent_requests = true', "concurrent_requests of .a. must be"),
        (f'[a]\nsha256 = "{"0" * 64}"\nconcurrent_requests = 1.5', "concurrent_requests of .a. must be"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidArgument, match=complaint):
        Keys.of([], file)


@pytest.mark.parametrize(
    "given", [{"secrets": [""]}, {"secrets": ["good", " \t"]}, {"secrets": [], "file": Path("/no/such")}]
)
def test_keys_that_are_none(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Keys.of(**given)
