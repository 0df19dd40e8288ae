"""Bodies that come packed, as some clients send them, and bombs."""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qwill.server.body import PIECE, Packed
from qwill.server.errors import Refusal
from server.asking import send
from server.guards import KEY, guarded_server
from server.running import Running

BODY: dict[str, Any] = {"prompt": "17 + 25 =", "max_tokens": 3, "temperature": 0}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    with guarded_server() as started:
        yield started


def without_header(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def in_members(data: bytes) -> bytes:
    middle = len(data) // 2
    return gzip.compress(data[:middle]) + b"\0" * 3 + gzip.compress(data[middle:]) + b"\0"


PACKINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress), ("GZIP", gzip.compress), ("x-gzip", gzip.compress), ("gzip", in_members),
    ("deflate", zlib.compress), ("deflate", without_header), ("identity", bytes), ("", bytes),
]  # fmt: skip


def post(server: Running, encoding: str, content: Any, path: str = "/v1/completions", **headers: str) -> Any:
    said = {**KEY, "content-encoding": encoding, "content-type": "application/json", **headers}
    return send("POST", server.url + path, content=content, headers=said)


@pytest.mark.parametrize(("encoding", "pack"), PACKINGS)
def test_packed_bodies_are_read(guarded: Running, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    expected = send("POST", f"{guarded.url}/v1/completions", json=BODY, headers=KEY).json()["choices"]
    packed = pack(json.dumps(BODY).encode())
    for content in (packed, (packed[place : place + 1] for place in range(len(packed)))):  # stated, and in chunks
        answer = post(guarded, encoding, content)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"] == expected


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
        ("/v1/responses", {"input": "Hi", "max_output_tokens": 16}),
        ("/v1/messages", {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
        ("/api/chat", {"messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 1}}),
    ],
)
def test_in_every_dialect(guarded: Running, path: str, body: dict[str, Any]) -> None:
    assert post(guarded, "gzip", gzip.compress(json.dumps(body).encode()), path).status_code == 200
    refused = post(guarded, "gzip", json.dumps(body).encode(), path)
    assert refused.status_code == 400
    assert "the body is not gzip" in refused.text


def test_the_unpacked_size_counts(guarded: Running) -> None:
    """The server takes bodies of 10,000 bytes."""
    body = json.dumps(BODY).encode()
    assert post(guarded, "gzip", gzip.compress(body.ljust(10_000))).status_code == 200
    for size in (10_001, 50_000_000):
        refused = post(guarded, "gzip", gzip.compress(body.ljust(size)))
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "too_large"
    noise = gzip.compress(random.Random(1).randbytes(11_000))
    assert (
        post(guarded, "gzip", (noise[place : place + 1000] for place in range(0, len(noise), 1000))).status_code == 413
    )
    empty = gzip.compress(b"")
    assert post(guarded, "gzip", empty * (10_001 // len(empty) + 1)).status_code == 413


def test_a_bomb_is_never_unpacked_whole() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    packed = Packed("gzip")
    packed.add(bomb, is_last=True)
    for _ in range(10):
        piece, more = packed.take()
        assert len(piece) <= PIECE
        assert more


@pytest.mark.parametrize(
    ("encoding", "content", "message"),
    [
        ("gzip", b"{}", "cannot be unpacked"),
        ("gzip", gzip.compress(b'{"prompt": "x"}')[:-1], "ends too early"),
        ("gzip", gzip.compress(b'{"prompt": "x"}') + b"{}", "cannot be unpacked"),
        ("gzip", zlib.compress(b'{"prompt": "x"}'), "cannot be unpacked"),
        ("deflate", zlib.compress(b'{"prompt": "x"}') + b"x", "something comes after its end"),
        ("deflate", zlib.compress(b'{"prompt": "x"}')[:5], "ends too early"),
        ("deflate", gzip.compress(b'{"prompt": "x"}'), "cannot be unpacked"),
    ],
)
def test_what_is_not_what_it_says(guarded: Running, encoding: str, content: bytes, message: str) -> None:
    refused = post(guarded, encoding, content)
    assert refused.status_code == 400
    assert f"the body is not {encoding}: it {message}".replace("it something", "something") in refused.text


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "*", "gzip;q=1"])
def test_other_packings_are_refused(guarded: Running, encoding: str) -> None:
    refused = post(guarded, encoding, gzip.compress(b"{}"))
    assert refused.status_code == 415
    assert refused.headers["accept-encoding"] == "gzip, deflate"
    assert "gzip or deflate" in refused.json()["error"]["message"]
    assert send("GET", f"{guarded.url}/v1/models", headers={**KEY, "content-encoding": "br"}).status_code == 200


def test_any_pieces_give_the_whole() -> None:
    chance = random.Random(23)
    for _ in range(200):
        body = chance.choice((chance.randbytes(3000), b"ab" * chance.randrange(500_000), bytes(PIECE), b""))
        name, pack = chance.choice(PACKINGS[3:6])
        data = pack(body)
        cuts = sorted(chance.sample(range(len(data) + 1), min(chance.randrange(8), len(data))))
        packed, unpacked = Packed(name), b""
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            packed.add(data[begin:end], is_last=end == len(data) and begin == ([0, *cuts])[-1])
            more = True
            while packed.has_more and more:
                piece, more = packed.take()
                unpacked += piece
        assert unpacked == body
        assert packed.take() == (b"", False)


def test_a_refusal_tells_the_field() -> None:
    packed = Packed("gzip")
    packed.add(b"no", is_last=True)
    with pytest.raises(Refusal) as caught:
        packed.take()
    assert (caught.value.status, caught.value.param) == (400, "content-encoding")
