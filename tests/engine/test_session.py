"""Conversations in files: nothing is read again, and no damaged or foreign file is trusted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qwill import LLM, SamplingParams
from qwill.errors import InvalidArgument, SessionError

GREEDY = SamplingParams(temperature=0, max_tokens=24)
MESSAGES = [{"role": "user", "content": "Remember: my dog is called Rex and my cat is called Milo. " * 4}]


@pytest.fixture(scope="module")
def plain() -> LLM:
    return LLM("demo", max_context=512, prefix_cache=False)


def saved(path: Path, messages: list[dict], **options: object) -> list[dict]:  # type: ignore[type-arg]
    llm = LLM("demo", max_context=512, **options)  # type: ignore[arg-type]
    answer = llm.chat(messages, GREEDY, thinking=False)
    messages = [*messages, {"role": "assistant", "content": answer.text}]
    assert llm.save_session(path, messages, thinking=False) > 0
    return messages


@pytest.mark.parametrize("drafts", [0, 2])
@pytest.mark.parametrize("kv", ["f16", "q8_0"])
@pytest.mark.parametrize("memory", [True, False])
def test_it_goes_on(tmp_path: Path, plain: LLM, drafts: int, kv: str, memory: bool) -> None:
    options = {"speculative": drafts, "kv": kv}
    path = tmp_path / "a session"
    where = {} if memory else {"prefix_cache": False, "disk_cache": tmp_path}
    messages = saved(path, MESSAGES, **options, **where)
    llm = LLM("demo", max_context=512, **options)  # type: ignore[arg-type]
    assert llm.load_session(path) == messages
    again = [*messages, {"role": "user", "content": "What is my cat called?"}]
    got = llm.chat(again, GREEDY, thinking=False)
    assert got.usage["cached_tokens"] > 70
    if kv == "f16":
        assert got.token_ids == plain.chat(again, GREEDY, thinking=False).token_ids
    other = LLM("demo", max_context=512, kv="f32")
    assert other.load_session(path) == messages
    assert other.chat(again, GREEDY, thinking=False).usage["cached_tokens"] == 0


@pytest.mark.parametrize("kind", ["picture", "file", "bytes"])
def test_pictures_go_with_it(tmp_path: Path, plain: LLM, kind: str) -> None:
    picture = Image.fromarray(np.random.default_rng().integers(0, 256, (128, 128, 3), np.uint8))
    file = tmp_path / "picture.png"
    picture.save(file)
    source = {"picture": picture, "file": str(file), "bytes": file.read_bytes()}[kind]
    content = [
        {"type": "image", "image": source},
        {"type": "text", "text": "What is in the picture? Look at it closely. " * 3},
    ]
    messages = saved(tmp_path / "session", [{"role": "user", "content": content}])
    file.unlink()
    llm = LLM("demo", max_context=512)
    loaded = llm.load_session(tmp_path / "session")
    again = {"role": "user", "content": "And now?"}
    got = llm.chat([*loaded, again], GREEDY, thinking=False)
    assert got.usage["cached_tokens"] > 50
    if kind != "file":
        assert got.token_ids == plain.chat([*messages, again], GREEDY, thinking=False).token_ids


def test_what_was_never_answered_is_saved_as_text(tmp_path: Path, plain: LLM) -> None:
    assert plain.save_session(tmp_path / "session", MESSAGES) == 0
    assert plain.load_session(tmp_path / "session") == MESSAGES
    assert plain.chat(MESSAGES, GREEDY).usage["cached_tokens"] == 0


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "foreign"])
def test_damaged_files(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "session"
    saved(path, MESSAGES)
    contents = path.read_bytes()
    spoiled = bytearray(contents)
    spoiled[len(contents) // 2] ^= 1
    path.write_bytes({"torn": contents[:-9], "flipped": bytes(spoiled), "empty": b"", "foreign": b"text"}[damage])
    llm = LLM("demo", max_context=512)
    with pytest.raises(SessionError, match="not a session, or a damaged one"):
        llm.load_session(path)
    assert llm.chat(MESSAGES, GREEDY).usage["cached_tokens"] == 0


def test_files_that_cannot_be(tmp_path: Path, plain: LLM) -> None:
    with pytest.raises(SessionError, match="no such file"):
        plain.load_session(tmp_path / "nothing")
    with pytest.raises(SessionError, match="a folder that can be written"):
        plain.save_session(tmp_path / "no" / "folder", MESSAGES)


def test_a_file_that_changed_after_it_was_loaded(tmp_path: Path, plain: LLM) -> None:
    path = tmp_path / "session"
    messages = saved(path, MESSAGES)
    llm = LLM("demo", max_context=512)
    llm.load_session(path)
    path.write_bytes(b"something else")
    again = [*messages, {"role": "user", "content": "What is my cat called?"}]
    got = llm.chat(again, GREEDY, thinking=False)
    assert got.usage["cached_tokens"] == 0
    assert got.token_ids == plain.chat(again, GREEDY, thinking=False).token_ids


@pytest.mark.parametrize("longer", [True, False])
def test_another_conversation_saved_over_a_loaded_one(tmp_path: Path, plain: LLM, longer: bool) -> None:
    """What the file holds now is not taken for what was loaded."""
    path = tmp_path / "session"
    messages = saved(path, MESSAGES)
    llm = LLM("demo", max_context=512, prefix_cache=False)
    llm.load_session(path)
    other = {"role": "user", "content": "Repeat these words: " + "red green blue " * (30 if longer else 12)}
    saved(path, [other])
    again = [*messages, {"role": "user", "content": "What is my cat called?"}]
    got = llm.chat(again, GREEDY, thinking=False)
    assert got.usage["cached_tokens"] == 0
    assert got.token_ids == plain.chat(again, GREEDY, thinking=False).token_ids
    assert llm.save_session(path, again, thinking=False) == 0


def test_nothing_to_save(plain: LLM) -> None:
    from qwill.cli.conversation import Conversation

    with pytest.raises(InvalidArgument, match="nothing to save"):
        Conversation(plain, GREEDY, False).save("file")
