"""Streaming decoding against decoding at once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from qwill.text.detokenizer import Detokenizer
from qwill.text.tokenizer import Tokenizer


@given(data=st.data(), skip_special=st.booleans())
@settings(deadline=None, max_examples=200)
def test_pushes_and_flush_are_the_decoding_of_all(
    tokenizer: Tokenizer, data: st.DataObject, skip_special: bool
) -> None:
    # Ids below 256 are single bytes here, so that most sequences are not UTF-8; some ids have no token.
    some_id = st.integers(0, 255) | st.integers(0, tokenizer.vocab_size + 3)
    ids = data.draw(st.lists(some_id, max_size=30))
    detokenizer = Detokenizer(tokenizer, skip_special)
    text = "".join(detokenizer.push(id) for id in ids) + detokenizer.flush()
    assert text == tokenizer.decode(ids, skip_special)
    assert detokenizer.flush() == ""


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=20))
@settings(deadline=None)
def test_sound_text_never_shows_a_replacement_character(tokenizer: Tokenizer, text: str) -> None:
    byte_ids = {tokenizer.token_bytes(id): id for id in range(256)}
    detokenizer = Detokenizer(tokenizer)
    shown = ""
    for end, byte in enumerate(text.encode(), start=1):
        shown += detokenizer.push(byte_ids[bytes([byte])])
        assert shown == text.encode()[:end].decode("utf-8", "ignore")
    assert detokenizer.flush() == ""


def test_bytes_that_can_no_longer_complete_show_at_once(tokenizer: Tokenizer) -> None:
    byte_ids = {tokenizer.token_bytes(id): id for id in range(256)}
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push(byte_ids[b"\xff"]) == "\ufffd"
    assert detokenizer.push(byte_ids[b"\xe2"]) == ""
    assert detokenizer.push(byte_ids[b"a"]) == "\ufffda"
    assert detokenizer.push(byte_ids[b"\xf0"]) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.push(byte_ids[b"b"]) == "b"


def test_special_tokens_vanish_and_markup_stays(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<think>a</think>b<|im_end|>", allow_special=True)
    assert "".join(map(Detokenizer(tokenizer).push, ids)) == "<think>a</think>b"
    assert "".join(map(Detokenizer(tokenizer, skip_special=False).push, ids)) == "<think>a</think>b<|im_end|>"
