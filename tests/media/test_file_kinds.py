"""What is given as an image or a video and is something else, or a form that is not read here."""

import base64
import io
import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import film
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qwill.errors import MediaError
from qwill.media.file_kinds import HEAD, check_use, is_animation, kind_of
from qwill.media.image import load_image, read_source
from qwill.media.video import VideoSettings, load_video

SETTINGS = VideoSettings(min_pixels=1)


def brands(own: bytes, *others: bytes) -> bytes:
    """The beginning of a file of the ISO formats."""
    body = own + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + b"\0\0\0\x08mdat"


def sound(kind: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48_000
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", 48_000, stream.frame_size or 0)
        for frame in resampler.resample(silence):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def song_with_a_cover() -> bytes:
    """An MP3 with a picture in its ID3 tag."""
    cover = io.BytesIO()
    Image.new("RGB", (32, 32), (255, 0, 0)).save(cover, "JPEG")
    picture = b"\0image/jpeg\0\3\0" + cover.getvalue()
    tag = b"APIC" + struct.pack(">IH", len(picture), 0) + picture
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + tag + sound("mp3", "libmp3lame")


UNDECODED = [
    (brands(b"heic", b"mif1", b"heic"), "a HEIC image"),
    (brands(b"mif1", b"mif1", b"heic", b"miaf"), "a HEIC image"),
    (brands(b"msf1", b"hevc", b"iso8"), "a HEIC image"),
    (brands(b"hevc", b"msf1"), "a HEIC image"),
    (brands(b"crx ", b"isom"), "a camera's raw image"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "a camera's raw image"),
    (b"\xff\x0a" + bytes(99), "a JPEG XL image"),
    (b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a" + bytes(99), "a JPEG XL image"),
    (b"8BPS\0\1" + bytes(99), "a Photoshop image"),
]
OTHERS = [
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document", "pdftoppm"),
    (b"\xef\xbb\xbf\r\n%PDF-1.4\n", "a PDF document", "pdftoppm"),
    (b"PK\x03\x04" + bytes(99), "a ZIP archive or an office document", "PNG"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an office document", "PDF"),
    (b"<!DOCTYPE html>\n<html><head><title>404</title>", "a web page", "download"),
    (b"  <HTML>", "a web page", "download"),
    (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing", "PNG"),
    (b"<svg/>", "an SVG drawing", "PNG"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript drawing", "PNG"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "a Git LFS pointer", "git lfs pull"),
    (b"GGUF\3\0\0\0" + bytes(99), "a model file", "as the model"),
]


@pytest.mark.parametrize(("contents", "name"), UNDECODED)
def test_images_that_are_not_decoded(contents: bytes, name: str) -> None:
    with pytest.raises(MediaError) as caught:
        load_image(contents)
    assert str(caught.value) == f"the image is {name}, which cannot be decoded here; save it as JPEG or PNG first"
    with pytest.raises(MediaError) as caught:
        load_video(contents, SETTINGS)
    assert str(caught.value) == f"the video is {name}, not a video; save it as JPEG or PNG first"


@pytest.mark.parametrize(("contents", "name", "mend"), OTHERS)
@pytest.mark.parametrize("wanted", ["an image", "a video"])
def test_what_is_neither(contents: bytes, name: str, mend: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "given.dat"
    path.write_bytes(contents)
    with pytest.raises(MediaError) as caught:
        load_image(path) if wanted == "an image" else load_video(path, SETTINGS)
    message = str(caught.value)
    assert message.startswith(f"{path} is {name}")
    assert f", not {wanted}; " in message
    assert mend in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("kind", "codec", "name"),
    [
        ("mp4", "mpeg4", "an MP4"), ("mov", "mpeg4", "a QuickTime"), ("3gp", "mpeg4", "an MP4"),
        ("webm", "libvpx", "a WebM"), ("matroska", "mpeg4", "a Matroska"), ("avi", "mpeg4", "an AVI"),
        ("flv", "flv1", "a Flash"), ("mpegts", "mpeg4", "an MPEG"), ("mpeg", "mpeg2video", "an MPEG"),
        ("asf", "mpeg4", "a Windows Media"),
    ],
)  # fmt: skip
def test_a_video_given_as_an_image(kind: str, codec: str, name: str) -> None:
    data = film(range(12), Fraction(1, 25), kind, codec, rate=25)
    address = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    for source, called in ((data, "the image"), (address, "the image in a data: address")):
        with pytest.raises(MediaError) as caught:
            load_image(source)
        assert str(caught.value) == f"{called} is {name} video, not an image; give it as a video"
    assert len(load_video(data, SETTINGS).pixels) == 4


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("flac", "flac"), ("ipod", "aac"), ("ogg", "libopus")],
)
def test_a_sound(kind: str, codec: str) -> None:
    data = sound(kind, codec)
    with pytest.raises(MediaError, match=r"^the image is a sound file, not an image; leave it out"):
        load_image(data)
    with pytest.raises(MediaError, match=r"^the video has no video in it$"):
        load_video(data, SETTINGS)


def test_the_cover_of_a_song_is_no_video() -> None:
    data = song_with_a_cover()
    with av.open(io.BytesIO(data)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(MediaError, match=r"^the video has no video in it$"):
        load_video(data, SETTINGS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_a_still_image_is_a_video_of_one_frame(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(file, kind)
    loaded = load_video(file.getvalue(), SETTINGS)
    assert (len(loaded.pixels), loaded.timestamps) == (1, [0])
    assert np.abs(loaded.pixels[0].astype(int) - [255, 0, 0]).max() < 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "ICO"])
def test_images_that_are_read_are_not_taken_for_others(kind: str) -> None:
    file = io.BytesIO()
    Image.effect_noise((40, 40), 90).convert("RGB").save(file, kind)
    assert kind_of(file.getvalue()) is None
    assert load_image(file.getvalue()).width > 0


def test_mistakes_are_found_before_anything_else_is_done(tmp_path: Path) -> None:
    """As the command line does it before it loads a model."""
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(brands(b"heic", b"mif1"))
    with pytest.raises(MediaError, match=r"IMG_0001\.HEIC is a HEIC image"):
        read_source(str(path), "image")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "secret.mp4"
    path.touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MediaError, match=r"secret\.mp4 cannot be read: Permission denied"):
        load_video(path, SETTINGS)


@given(
    st.one_of(st.binary(max_size=600), st.sampled_from([each[0] for each in (*UNDECODED, *OTHERS)])), st.integers(0, 99)
)
def test_any_beginning(head: bytes, cut: int) -> None:
    head = head[: len(head) - cut][:HEAD]
    is_animation(head)
    for wanted in ("image", "video"):
        with suppress(MediaError):
            check_use(head, wanted, "it")
