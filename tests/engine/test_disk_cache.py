"""Snapshots on disk: found again after a restart, shared pages written once, and no damaged file is ever trusted."""

import logging
from pathlib import Path

import numpy as np
import pytest

from qwill import LLM, SamplingParams
from qwill.engine.disk_cache import DiskCache
from qwill.engine.prefix_cache import Trail
from qwill.errors import InvalidArgument

PAGE = 4
GREEDY = SamplingParams(temperature=0, max_tokens=24)
TEXT = "Remember: my dog is called Rex, my cat is called Milo and my bird is called Kiki. " * 3


def trail_of(tokens: list[int]) -> Trail:
    return Trail(PAGE, np.array(tokens, np.int64))


def pages_of(tokens: list[int]) -> list[list[np.ndarray]]:
    return [[np.array(tokens[begin : begin + PAGE]), np.array([begin])] for begin in range(0, len(tokens), PAGE)]


def add(cache: DiskCache, tokens: list[int], length: int) -> None:
    cache.add(trail_of(tokens), length, lambda page: pages_of(tokens)[page], [np.array(tokens[:length])])


def read(cache: DiskCache, tokens: list[int]) -> list[int] | None:
    """The tokens of the longest snapshot, as its states and its pages have them."""
    entry = cache.find(trail_of(tokens))
    if entry is None:
        return None
    pages: dict[int, list[np.ndarray]] = {}
    states = entry.read(2, pages.__setitem__)
    if states is None:
        return None
    (found,) = states
    flat = [int(token) for page in sorted(pages) for token in pages[page][0]]
    assert flat[: entry.length] == found.tolist()
    assert [int(pages[page][1][0]) for page in sorted(pages)] == list(range(0, len(pages) * PAGE, PAGE))
    return found.tolist()


@pytest.fixture
def tokens() -> list[int]:
    return np.random.default_rng().integers(0, 1000, 23).tolist()


def test_the_longest_is_found_after_a_restart(tmp_path: Path, tokens: list[int]) -> None:
    cache = DiskCache(tmp_path, "model", 10**9)
    for length in (6, 13, 17):
        add(cache, tokens, length)
    cache.close()
    for again in (cache, DiskCache(tmp_path, "model", 10**9)):
        assert read(again, tokens) == tokens[:17]
        assert read(again, tokens[:17]) == tokens[:13]
        assert read(again, [*tokens[:14], -1, -1, -1, -1]) == tokens[:13]
        assert read(again, [-1, *tokens]) is None
    assert DiskCache(tmp_path, "another", 10**9).find(trail_of(tokens)) is None


def test_pages_are_written_once(tmp_path: Path, tokens: list[int]) -> None:
    cache = DiskCache(tmp_path, "model", 10**9)
    add(cache, tokens, 13)
    add(cache, tokens, 21)
    cache.flush()
    assert len(list(cache.folder.glob("page-*.npz"))) == 5
    assert len(list(cache.folder.glob("snapshot-*.npz"))) == 2
    assert not list(cache.folder.glob("*.tmp"))


def test_the_oldest_goes_and_takes_its_own_pages(tmp_path: Path, tokens: list[int]) -> None:
    other = [token + 1 for token in tokens]
    cache = DiskCache(tmp_path, "model", 1000)
    add(cache, tokens, 13)
    add(cache, other, 13)
    add(cache, tokens, 21)
    assert read(cache, tokens) is not None
    for extra in range(2, 9):
        add(cache, [token + extra for token in tokens], 13)
        cache.flush()
        assert cache.used <= 1000
    used = {f"{name}.npz" for entry in cache._entries.values() for name in (entry.name, *entry.pages)}
    assert {path.name for path in cache.folder.iterdir()} == used
    assert read(cache, other) is None


@pytest.mark.parametrize("kind", ["page", "snapshot"])
@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "foreign", "gone"])
def test_damaged_files(
    tmp_path: Path, tokens: list[int], kind: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    for when in ("before", "after"):
        folder = tmp_path / when
        cache = DiskCache(folder, "model", 10**9)
        add(cache, tokens, 6)
        cache.flush()
        path = next(cache.folder.glob(f"{kind}-*.npz"))
        contents = path.read_bytes()
        spoiled = bytearray(contents)
        # The middle of the file is inside of an array.
        spoiled[contents.rindex(np.array(tokens[:PAGE]).tobytes()) + 3] ^= 16
        new = {"torn": contents[:-30], "flipped": bytes(spoiled), "empty": b"", "foreign": b"PK\x03\x04 not ours"}
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(new[damage])
        if when == "before":
            cache = DiskCache(folder, "model", 10**9)
        with caplog.at_level(logging.WARNING, "qwill"):
            assert read(cache, tokens) is None
        if (when, kind, damage) != ("before", "snapshot", "gone"):  # of that one nothing is left to tell
            assert "left out of the prefix cache" in caplog.text
        caplog.clear()
        assert cache.find(trail_of(tokens)) is None
        add(cache, tokens, 6)
        cache.flush()
        assert read(cache, tokens) == tokens[:6]


def test_a_disk_that_fails_is_told_and_survived(
    tmp_path: Path, tokens: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(tmp_path / "there", "model", 10**9)
    cache.folder.rmdir()
    with caplog.at_level(logging.WARNING, "qwill"):
        add(cache, tokens, 13)
        cache.flush()
        assert "could not be written" in caplog.text
        assert read(cache, tokens) is None


@pytest.mark.parametrize("drafts", [0, 2])
def test_a_model_goes_on_after_a_restart(tmp_path: Path, drafts: int) -> None:
    plain = LLM("demo", max_context=512, prefix_cache=False)
    messages = [{"role": "user", "content": TEXT + "What is my cat called?"}]
    first = LLM("demo", max_context=512, speculative=drafts, disk_cache=tmp_path)
    answer = first.chat(messages, GREEDY, thinking=False)
    first.close()
    again = [*messages, {"role": "assistant", "content": answer.text}, {"role": "user", "content": "And my dog?"}]
    second = LLM("demo", max_context=512, speculative=drafts, disk_cache=tmp_path, prefix_cache=False)
    got = second.chat(again, GREEDY, thinking=False)
    assert got.usage["cached_tokens"] > 80
    assert got.token_ids == plain.chat(again, GREEDY, thinking=False).token_ids
    other = LLM("demo", max_context=512, kv="q8_0", disk_cache=tmp_path)
    assert other.chat(again, GREEDY, thinking=False).usage["cached_tokens"] == 0
    second.close()
    other.close()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidArgument, match="give a folder that can be written"):
        LLM("demo", disk_cache=tmp_path / "file")
