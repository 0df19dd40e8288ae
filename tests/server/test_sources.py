"""Images and videos of requests: where they may come from, and how much they may be."""

import asyncio
import base64
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from qwill import prompt
from qwill.errors import MediaError
from qwill.media.image import load_image
from qwill.server import sources
from qwill.server.settings import Limits, Settings
from qwill.server.sources import Sources
from server.asking import send
from server.running import Running, running

PICTURE = (Path(__file__).parents[2] / "docs" / "red_circle.png").read_bytes()
NOT_READ = "may not read"


def part(address: Any, kind: str = "image") -> dict[str, Any]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": address}}


def data(contents: bytes, kind: str = "image") -> str:
    return f"data:{kind}/any;base64,{base64.b64encode(contents).decode()}"


def resolve(*parts: Any, folders: tuple[Path, ...] = (), **limits: Any) -> Any:
    """The content that parts become."""
    settings = Settings(limits=Limits(**limits), media_folders=folders)
    (message,) = asyncio.run(Sources(settings).resolve([{"role": "user", "content": list(parts)}]))
    return message["content"]


def png(width: int, height: int) -> bytes:
    """A PNG file that says that it has so many pixels, and has none."""

    def chunk(name: bytes, contents: bytes) -> bytes:
        return struct.pack(">I", len(contents)) + name + contents + struct.pack(">I", zlib.crc32(name + contents))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def icon(contents: bytes) -> bytes:
    """An icon whose directory says 16x16, whatever is in it."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(contents), 22) + contents


def gif(size: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """A GIF file of such a size with a frame of another one, of which a pixel is there."""
    return b"".join([b"GIF89a", struct.pack("<HH", *size), bytes(3), b",", bytes(4), struct.pack("<HH", *frame),
                     b"\0\2\2D\1\0;"])  # fmt: skip


def saved(form: str, size: tuple[int, int], frames: int = 1, mode: str = "RGB", **more: Any) -> bytes:
    pictures = [Image.new(mode, size, index) for index in range(frames)]
    memory = BytesIO()
    if frames > 1:
        more |= {"save_all": True, "append_images": pictures[1:]}
    pictures[0].save(memory, form, **more)
    return memory.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An allowed folder beside one that is not."""
    (tmp_path / "open" / "deep").mkdir(parents=True)
    (tmp_path / "closed").mkdir()
    for name in ("open/a.png", "open/deep/b c%20ü.png", "closed/a.png", "open.png"):
        (tmp_path / name).write_bytes(PICTURE)
    return tmp_path / "open"


def test_text_stays_as_it_is() -> None:
    messages = [
        {"role": "user", "content": "data:image/png;base64,"}, {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "file:///etc/passwd"}]}, {"role": "tool"},
    ]  # fmt: skip
    found = asyncio.run(Sources(Settings()).resolve(messages))
    assert all(one is other for one, other in zip(found, messages, strict=True))


def test_parts_keep_their_places() -> None:
    other = saved("PNG", (3, 5))
    content = resolve(
        {"type": "text", "text": "a"}, part(data(PICTURE)), {"type": "text", "text": "b"}, part(data(other))
    )
    assert content == [
        {"type": "text", "text": "a"}, {"type": "image", "image": PICTURE},
        {"type": "text", "text": "b"}, {"type": "image", "image": other},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        {"type": "image", "image": data(PICTURE)}, {"type": "image_url", "image_url": data(PICTURE)},
        {"image": data(PICTURE)}, {"type": "image", "url": data(PICTURE)}, {"type": "image", "image": PICTURE},
        {"type": "image", "image": data(PICTURE), "video": data(b"not this")},
        part(data(PICTURE).replace("data:", "DATA:")), part(data(PICTURE).replace("+", "%2B").replace("=", "%3D")),
        part("data:," + "".join(f"%{byte:02x}" for byte in PICTURE)),
    ],
)  # fmt: skip
def test_forms_of_contents(given: dict[str, Any]) -> None:
    assert resolve(given) == [{"type": "image", "image": PICTURE}]


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        (None, "no address"), ("", "no address"), (5, "no address"), ({"url": 5}, "no address"), ([], "no address"),
        ("\ud800", "no address"), ("data:image/png;base64,\udfff", "no address"), ("/tmp/\ud800.png", "no address"),
        ("data:image/png;base64", "no comma"), ("data:", "no comma"), ("data:;base64,A", "not valid base64"),
        ("data:," + "%41" * (sources.MOST_ESCAPES + 1), "too many escapes"), ("javascript:alert(1)", NOT_READ),
        ("ftp://a.example/a.png", NOT_READ), ("a.png", NOT_READ), ("/etc/passwd", NOT_READ), ("~/a.png", NOT_READ),
    ],
)  # fmt: skip
def test_addresses_that_are_none(address: Any, complaint: str) -> None:
    given = {"type": "image_url", "image_url": address} if isinstance(address, dict) else part(address)
    with pytest.raises(MediaError, match=complaint) as caught:
        resolve(given)
    assert len(str(caught.value)) < 300


def test_files_of_allowed_folders(folder: Path) -> None:
    for address in (
        str(folder / "a.png"), f"file://{folder}/a.png", f"file:{folder}/a.png", f"FILE://localhost{folder}/a.png",
        f"file://{folder}/deep/../a.png", f"file://{folder}/%61.png", f"{folder}/deep/b c%20ü.png",
        f"file://{folder}/deep/b%20c%2520%C3%BC.png", f"file://{folder}/a.png?size=1#here", f"/{folder}//./a.png",
    ):  # fmt: skip
        assert resolve(part(address), folders=(Path("/no/such/folder"), folder)) == [
            {"type": "image", "image": PICTURE}
        ]


@pytest.mark.parametrize(
    "address",
    [
        "{open}/../closed/a.png", "file://{open}/../closed/a.png", "file://{open}/%2e%2e/closed/a.png",
        "file://{open}/%2e%2e%2fclosed/a.png", "file://{open}/..%5cclosed/a.png", "{open}.png", "{open}/../open.png",
        "{open}/link/a.png", "{open}/link.png", "{open}/round", "{open}/missing.png", "{open}", "{open}/",
        "{open}/deep", "{open}/pipe", "{open}/socket", "{open}/device", "{open}/a.png/b", "{open}/a.png\0",
        "{open}/a.png%00", "file://{open}/a.png%00.png", "file://elsewhere{open}/a.png", "file://127.0.0.1{open}/a.png",
        "file://[{open}", "file:a.png", "file:///", "file://", "/proc/self/environ", "file:///dev/zero",
        "/dev/stdin", "{open}/{long}",
        "/" + "a/" * 5000, "{closed}/a.png",
    ],
)  # fmt: skip
@pytest.mark.needs("links", "special files")
def test_files_that_may_not_be_read(folder: Path, address: str) -> None:
    """All with the same words, which do not tell whether there is such a file."""
    closed = folder.parent / "closed"
    (folder / "link").symlink_to(closed)
    (folder / "link.png").symlink_to(closed / "a.png")
    (folder / "round").symlink_to(folder / "round")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    os.mknod(folder / "socket", 0o140600)
    address = address.replace("{open}", str(folder)).replace("{closed}", str(closed)).replace("{long}", "a" * 300)
    with pytest.raises(MediaError, match=NOT_READ) as caught:
        resolve(part(address), folders=(folder,))
    assert str(folder) not in str(caught.value)


@pytest.mark.needs("links")
def test_links_inside_of_a_folder(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder / "deep" / "b c%20ü.png")
    (folder.parent / "alias").symlink_to(folder)
    for allowed in (folder, folder.parent / "alias"):
        for address in (f"{folder}/link.png", f"{folder.parent}/alias/a.png"):
            assert resolve(part(address), folders=(allowed,)) == [{"type": "image", "image": PICTURE}]


@pytest.mark.needs("links")
def test_a_file_that_is_swapped_for_a_link_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the check and the opening."""
    resolved = Path.resolve

    def swapping(path: Path, strict: bool = False) -> Path:
        found = resolved(path, strict)
        if found.name == "a.png":
            found.unlink()
            found.symlink_to(folder.parent / "closed" / "a.png")
        return found

    monkeypatch.setattr(Path, "resolve", swapping)
    with pytest.raises(MediaError, match=NOT_READ):
        resolve(part(str(folder / "a.png")), folders=(folder,))


def test_sizes(folder: Path) -> None:
    with open(folder / "large.png", "wb") as file:
        file.truncate(1 << 40)  # holes alone
    for address in (data(b"x" * 1001), str(folder / "large.png"), "data:," + "x" * 1001):
        with pytest.raises(MediaError, match="the video has more than 1000 bytes"):
            resolve(part(address, "video"), folders=(folder,), media_bytes=1000)
    assert resolve(part(data(b"x" * 1000), "video"), media_bytes=1000) == [{"type": "video", "video": b"x" * 1000}]


def test_counts_and_sums() -> None:
    three = [part(data(PICTURE))] * 3
    assert len(resolve(*three, media_parts=3)) == 3
    with pytest.raises(MediaError, match="2 images and videos, not 3"):
        resolve(*three, media_parts=2)
    different = [part(data(PICTURE + bytes([index]))) for index in range(3)]
    assert len(resolve(*different, body_bytes=3 * len(PICTURE) + 3)) == 3
    with pytest.raises(MediaError, match="bytes in all"):
        resolve(*different, body_bytes=3 * len(PICTURE) + 2)


def test_pixels_in_all() -> None:
    pictures = [part(data(png(100, 80 + index))) for index in range(sources.TOGETHER + 1)]
    with pytest.raises(MediaError, match="pixels in all"):
        resolve(*pictures, image_pixels=9000)
    assert len(resolve(*pictures[:-1], image_pixels=9000)) == sources.TOGETHER


@pytest.mark.parametrize(
    "contents",
    [
        png(10_000, 6_401), png(12_000, 12_000), png(65_000, 1_000), icon(png(10_000, 10_000)), icon(png(2**31, 2**31)),
        saved("BMP", (1, 1))[:18] + struct.pack("<ii", 9_000, 9_000) + saved("BMP", (1, 1))[26:],
        gif((60_000, 1_100), (1, 1)), gif((1, 1), (60_000, 1_100)), b"P6 9000 9000 255\n",
        saved("TIFF", (777, 1_100), mode="1").replace(struct.pack("<I", 777), struct.pack("<I", 65_000)),
    ],
    ids=["PNG", "PNG with a warning", "wide PNG", "icon", "huge icon", "BMP", "GIF", "GIF's frame", "PPM", "TIFF"],
)  # fmt: skip
def test_pictures_of_more_pixels_than_there_may_be(contents: bytes) -> None:
    """They are refused from their headers, without the memory for their pixels."""
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match=r"an image has [0-9,]+ pixels"):
            resolve(part(data(contents)))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def hasty() -> Iterator[Running]:
    """A server that has next to no time for videos."""
    with running(Settings(limits=Limits(media_seconds=1e-6))) as started:
        yield started


def ask(server: Running, *parts: Any) -> httpx.Response:
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}],
        "max_tokens": 1,
    }
    return send("POST", f"{server.url}/v1/chat/completions", json=body)


def test_the_time_for_a_video_is_limited(server: Running, hasty: Running) -> None:
    video = part(data(saved("GIF", (64, 64), frames=40), "video"), "video")
    assert ask(server, video).status_code == 200
    refused = ask(hasty, video)
    assert refused.status_code == 400
    assert "takes too long" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("contents", "kind", "status"),
    [
        (lambda: png(14_000, 14_000), "image", 400),  # more than Pillow opens at all
        (lambda: png(64, 64), "image", 400),
        (lambda: saved("PNG", (4_000, 4_000), mode="1"), "image", 200),
        (lambda: saved("GIF", (400, 400), frames=100, mode="L"), "image", 200),
        (lambda: saved("GIF", (200, 200), frames=200, mode="L"), "video", 200),
        (lambda: saved("WEBP", (100, 100), frames=100, lossless=True), "image", 200),
        (lambda: saved("PNG", (100, 100), frames=100), "image", 200),
        (lambda: saved("TIFF", (100, 100), frames=50, compression="tiff_deflate"), "image", 200),
        (lambda: saved("TIFF", (4_000, 4_000), mode="F", compression="tiff_deflate"), "image", 400),
        (lambda: icon(saved("PNG", (200, 200))), "image", 200),
        (lambda: icon(icon(PICTURE)), "image", 400),
        (lambda: zlib.compress(bytes(10_000_000)), "image", 400),
        (lambda: zlib.compress(bytes(10_000_000)), "video", 400),
        (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "video", 400),
        (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "video", 400),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "image", 400),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image", 400),
        (lambda: PICTURE, "video", 200),
        (lambda: PICTURE[:-50], "image", 400),
        (lambda: b"", "image", 400),
        (lambda: b"", "video", 400),
    ],
)  # fmt: skip
def test_odd_files(server: Running, contents: Callable[[], bytes], kind: str, status: int) -> None:
    answered = ask(server, part(data(contents(), kind), kind))
    assert answered.status_code == status, answered.text
    if status == 400:
        message = answered.json()["error"]["message"]
        assert "root:" not in message
        assert "\n" not in message


def test_pictures_that_do_not_fit_are_not_all_decoded(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    monkeypatch.setattr(prompt, "load_image", lambda source: decoded.append(source) or load_image(source))
    answered = ask(server, *[part(data(saved("PNG", (192, 96))))] * 64)  # 18 tokens each
    assert answered.status_code == 400
    assert answered.json()["error"]["code"] == "context_length_exceeded"
    assert len(decoded) == 1024 // 18 + 1


def test_the_first_that_fails_is_told(server: Running) -> None:
    answered = ask(server, part(data(PICTURE)), part("data:"), part("/etc/passwd"), part(data(PICTURE)))
    assert answered.status_code == 400
    assert server.worker.answering == 0
