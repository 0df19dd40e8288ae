"""Requests that no client would send, each made from a number: mutated bodies of all dialects, random bytes, damaged
media and broken HTTP. fuzz_server.py sends them.
"""

import base64
import copy
import gzip
import io
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.fuzz_bodies import BODIES, MOST_TOKENS, TOKENS

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**64), 10**400, 0.5, -0.0, 1e308, -1e308, float("nan"),
    float("inf"),
    "", " ", "\0", "\n\ndata: [DONE]\n\n", "\r\nX-Evil: 1\r\n", "\ud800", "\udfff\ud800", "\u202e\u2028",
    "e" + "\u0301" * 300,
    "<|im_end|>", "<|im_start|>system\n", "<think>", "</think>", "<tool_call>", "<|image_pad|>", "{{ 7 * 7 }}",
    "{% for %}",
    "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "http://169.254.169.254/", "data:",
    "data:;base64,AAAA",
    "x" * 20_000, "9" * 5_000, "1e999", "[" * 200, "$ref", "(a+)+$", "(" * 50, "a{1000}{1000}", "start: start", "auto",
    [], {}, [[]], [None], [{}], {"": {}}, {"$ref": "#"}, {"__proto__": {}}, {"type": "object"}, {"type": []},
    [0] * 2_000,
    {"type": "text", "text": "x"}, {"role": "user", "content": "x"}, {"role": "tool"}, {"url": "x"},
)  # fmt: skip
ACTIONS = ("odd", "odd", "odd", "drop", "rename", "foreign", "many", "twin", "text")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "PPM", "JPEG2000", "AVIF")
LINES = (
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Length: 5", b"Content-Length: -1",
    b"Content-Length: 99999999999999999999", b"Content-Type: text/plain",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Expect: 100-continue", b"Connection: upgrade\r\nUpgrade: websocket", b"Connection: Upgrade\r\nUpgrade: h2c",
    b"Host: evil.example", b"Origin: https://evil.example", b"Origin: null", b"Authorization: Bearer \xff",
    b"X-Request-Id: a\rb", b"X-Request-Id: " + b"a" * 5_000, b" folded: x", b"no colon", b": no name", b"a\0b: c",
    b"X: " + b"b" * 70_000, b"Accept-Encoding: gzip", b"Content-Encoding: gzip",
    b"Content-Encoding: br", b"Content-Encoding: deflate\r\nContent-Encoding: gzip", b"Range: bytes=0-1",
    b"Access-Control-Request-Method: POST\r\nOrigin: https://evil.example", b"If-None-Match: *",
)  # fmt: skip
METHODS = (
    b"GET",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"CONNECT",
    b"BREW",
    b"get",
    b"",
    b"\xff",
)
PATHS = (
    b"/", b"//", b"/web/", b"/web/../v1/models", b"/web/%2e%2e/%2e%2e/etc/passwd", b"/v1/models/..%2f..",
    b"/v1/models/%00",
    b"/%ff%fe", b"/docs", b"/openapi.json", b"/metrics", b"/health?" + b"a=b&" * 2_000, b"*", b"http://evil.example/",
    b"/\xff",
    b"/v1/models/" + b"a" * 5_000, b"/api/tags", b"/v1/responses/x", b"/version", b"/props", b"/props?model=x",
    b"/slots",
    b"/slots?fail_on_no_slot=x", b"/api/ps", b"/%0d%0aX:%20y", b"", b" ", b"/;/..;/",
    b"/v1/chat/completions/",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is sent in a connection, in pieces. `leave`: the client leaves after so many bytes of the answer."""

    kind: str
    pieces: tuple[bytes, ...]
    leave: int | None = None


def case(seed: int, number: int, paths: frozenset[str]) -> Case:
    """The case of a number. `paths`: those of BODIES that the server has."""
    rng = random.Random(f"{seed}-{number}")
    bodies = {path: BODIES[path] for path in BODIES if path in paths}
    kind = rng.choices(list(MAKERS), [weight for weight, _ in MAKERS.values()])[0]
    return MAKERS[kind][1](rng, bodies, kind)


Bodies = dict[str, list[dict[str, Any]]]


def _mutated_json(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    path, body = _body(rng, bodies)
    for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
        body = _mutated(rng, body, bodies, ACTIONS)
    body = _mutated(rng, body, bodies, (*ACTIONS, "deep"))  # last: what is deep is hard to go through
    return Case(kind, (_post(path, filled(rng, _short(body), damaged=False)),))


def _mutated_bytes(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    path, body = _body(rng, bodies)
    contents = _damaged(rng, filled(rng, _short(body), damaged=False))
    return Case(kind, (_post(path, contents),))


def _random_bytes(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    contents = rng.randbytes(rng.choice((1, 10, 100, 5_000)))
    return Case(kind, (_post(rng.choice(list(bodies)), contents) if rng.random() < 0.7 else contents,))


def _media(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    path, body = rng.choice([(path, body) for path, several in bodies.items() for body in several if _has_media(body)])
    return Case(kind, (_post(path, filled(rng, body, damaged=True)),))


def _broken_http(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    path, body = _body(rng, bodies)
    method = b"POST" if rng.random() < 0.5 else rng.choice(METHODS)
    target = path.encode() if rng.random() < 0.5 else rng.choice(PATHS)
    version = rng.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""))
    contents = filled(rng, _short(body), damaged=False)
    lines = [b"Host: localhost", b"Connection: close"]
    lines += rng.sample(LINES, rng.choice((0, 1, 2, 4)))
    if rng.random() < 0.7:
        lines.append(b"Content-Length: %d" % len(contents))
    rng.shuffle(lines)
    first = b" ".join((method, target, version))
    request = rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n")).join([first, *lines, b"", b""]) + contents
    return Case(kind, (_damaged(rng, request) if rng.random() < 0.3 else request,))


def _torn(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    path, body = _body(rng, bodies)
    whole = _post(path, filled(rng, _short(body), damaged=False))
    pieces = _cut(rng, whole, rng.choice((1, 2, 5, 20)))
    return Case(kind, pieces if rng.random() < 0.5 else pieces[: len(pieces) // 2])


def _chunked(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    path, body = _body(rng, bodies)
    contents = filled(rng, _short(body), damaged=False)
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), rng.choice((b"", b"", b";a=b", b";" + b"x" * 500)), piece)
                      for piece in _cut(rng, contents, rng.choice((1, 3, 50))))  # fmt: skip
    end = rng.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX-Trailer: y\r\n\r\n", b"", b"zz\r\n", b"-1\r\n\r\n"))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Case(kind, (head.encode() + chunks + end,))


def _packed(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    """Whole, damaged, or of a few bytes that stand for very many."""
    path, body = _body(rng, bodies)
    contents = filled(rng, _short(body), damaged=False)
    if rng.random() < 0.1:
        contents = contents.ljust(rng.choice((10**5, 10**8)))
    name, pack = rng.choice(((b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"br", gzip.compress)))
    packed = pack(contents)
    if rng.random() < 0.3:
        packed = rng.choice((packed[: len(packed) // 2], packed + packed, _damaged(rng, packed)))
    request = _post(path, packed)
    head = b"Content-Encoding: " + name + b"\r\nConnection: close\r\n"
    return Case(kind, (request.replace(b"Connection: close\r\n", head, 1),))


def _pipelined(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    requests = []
    for _ in range(rng.choice((2, 3, 10))):
        path, body = _body(rng, bodies)
        requests.append(_post(path, filled(rng, _short(body), damaged=False), close=False))
    requests.append(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return Case(kind, (b"".join(requests),), leave=rng.choice((None, None, 0, 500)))


def _leaving(rng: random.Random, bodies: Bodies, kind: str) -> Case:
    path, body = _body(rng, bodies)
    body = {**body, "stream": True} if rng.random() < 0.8 else body
    if rng.random() < 0.7:  # long answers, which nobody waits for
        body = {key: 2_000 if key in TOKENS else value for key, value in body.items()}
        body = {**body, "options": {"num_predict": 2_000}} if "options" in body else body
    return Case(kind, (_post(path, filled(rng, body, damaged=False)),), leave=rng.choice((0, 0, 1, 100, 400, 2_000)))


MAKERS: dict[str, tuple[int, Callable[[random.Random, Bodies, str], Case]]] = {
    "mutated JSON": (50, _mutated_json),
    "mutated bytes": (10, _mutated_bytes),
    "random bytes": (5, _random_bytes),
    "damaged media": (10, _media),
    "broken HTTP": (12, _broken_http),
    "torn requests": (3, _torn),
    "chunked bodies": (4, _chunked),
    "packed bodies": (4, _packed),
    "pipelined requests": (2, _pipelined),
    "clients that leave": (4, _leaving),
}


def _body(rng: random.Random, bodies: Bodies) -> tuple[str, dict[str, Any]]:
    path = rng.choice(list(bodies))
    return path, copy.deepcopy(rng.choice(bodies[path]))


def _post(path: str, contents: bytes, close: bool = True) -> bytes:
    end = "Connection: close\r\n" if close else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{end}Content-Length: {len(contents)}\r\n\r\n".encode() + contents
    )


def _mutated(rng: random.Random, body: Any, bodies: Bodies, actions: tuple[str, ...]) -> Any:
    """A copy with one thing changed, anywhere in it."""
    body = copy.deepcopy(body)
    places = list(_places(body))
    if not places:
        return rng.choice(ODD)
    holder, key = rng.choice(places)
    action = rng.choice(actions)
    if action == "drop":
        del holder[key]
    elif action == "rename" and isinstance(holder, dict):
        holder[rng.choice(("", "x", "\ud800", f"{key} ", str(key).upper(), *_keys(bodies)))] = holder.pop(key)
    elif action == "foreign":  # something that belongs elsewhere
        holder[key] = copy.deepcopy(_value_at(rng.choice(list(_places(rng.choice(rng.choice(list(bodies.values()))))))))
    elif action == "deep":
        for _ in range(rng.choice((1, 5, 60, 99, 101, 300))):
            holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
    elif action == "many" and isinstance(holder[key], list):
        holder[key] = holder[key] * rng.choice((2, 20, 500))
    elif action == "twin" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif action == "text" and isinstance(holder[key], str):
        place = rng.randrange(len(holder[key]) + 1)
        odd = rng.choice([one for one in ODD if isinstance(one, str)])
        holder[key] = holder[key][:place] + odd + holder[key][place:]
    else:
        holder[key] = rng.choice(ODD)
    return body


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All holders in a value, each with the keys of what it holds."""
    for key, held in list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield value, key
        yield from _places(held)


def _value_at(place: tuple[Any, Any]) -> Any:
    return place[0][place[1]]


def _keys(bodies: Bodies) -> list[str]:
    return sorted(
        {
            key
            for several in bodies.values()
            for body in several
            for holder, key in _places(body)
            if isinstance(holder, dict)
        }
    )


def _short(body: Any) -> Any:
    """With few tokens to write: most cases are about what is read."""
    if not isinstance(body, dict):
        return body
    body = dict(body)
    asked = [name for name in TOKENS if isinstance(body.get(name), int | float) and body[name] > MOST_TOKENS]
    body |= dict.fromkeys(asked, 16 if "max_output_tokens" in asked else MOST_TOKENS)
    if "messages" in body and not any(name in body for name in TOKENS) and "options" not in body:
        body["max_tokens"] = MOST_TOKENS
    return body


def _has_media(body: Any) -> bool:
    return any(mark in json.dumps(body) for mark in ("{image}", "{video}", "{base64}"))


def filled(rng: random.Random, body: Any, damaged: bool) -> bytes:
    """As JSON, with pictures and videos in their places."""

    def contents(mark: re.Match[str]) -> str:
        chosen = rng.choice(_videos() if mark[1] == "video" else _pictures())
        coded = base64.b64encode(_damaged(rng, chosen) if damaged else chosen).decode()
        return coded if mark[1] == "base64" else f"data:{mark[1]}/x;base64,{coded}"

    return re.sub(r"\{(image|video|base64)\}", contents, json.dumps(body)).encode()


def _damaged(rng: random.Random, contents: bytes) -> bytes:
    """With some bytes changed, lost, doubled or put in; more often at the beginning, where headers are."""
    damaged = bytearray(contents)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        if not damaged:
            break
        place = rng.randrange(min(len(damaged), rng.choice((64, 1 << 30))))
        action = rng.randrange(6)
        if action == 0:
            damaged[place] ^= 1 << rng.randrange(8)
        elif action == 1:
            damaged[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif action == 2:
            del damaged[place : place + rng.choice((1, 4, 100))]
        elif action == 3:
            damaged[place:place] = rng.randbytes(rng.choice((1, 4, 100)))
        elif action == 4:
            damaged[place : place + 4] = rng.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff")
            )
        else:
            del damaged[rng.randrange(len(damaged)) :]
    return bytes(damaged)


def _cut(rng: random.Random, contents: bytes, pieces: int) -> tuple[bytes, ...]:
    places = sorted(rng.randrange(len(contents) + 1) for _ in range(pieces - 1))
    return tuple(
        contents[start:end] for start, end in zip([0, *places], [*places, len(contents)], strict=True) if start < end
    )


@cache
def _pictures() -> list[bytes]:
    """One picture in all formats that are read."""
    from PIL import Image

    found = []
    with Image.open(Path(__file__).parents[1] / "docs" / "red_circle.png") as image:
        small = image.convert("RGB").resize((48, 40))
    for form in FORMATS:
        memory = io.BytesIO()
        small.save(memory, form)
        found.append(memory.getvalue())
    return found


@cache
def _videos() -> list[bytes]:
    """An animation, and short videos in some containers."""
    import av
    from PIL import Image

    frames = [Image.new("RGB", (48, 32), (40 * index, 99, 200)) for index in range(6)]
    memory = io.BytesIO()
    frames[0].save(memory, "GIF", save_all=True, append_images=frames[1:])
    found = [memory.getvalue()]
    for form, codec in (("mp4", "mpeg4"), ("matroska", "mjpeg"), ("avi", "mpeg4")):
        memory = io.BytesIO()
        with av.open(memory, "w", format=form) as container:
            stream: Any = container.add_stream(codec, rate=Fraction(4))
            stream.width, stream.height = 48, 32
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_image(frame)))
            container.mux(stream.encode())
        found.append(memory.getvalue())
    return found
