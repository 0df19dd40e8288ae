"""Files given as images and videos that are something else: said before a model is looked for."""

from pathlib import Path

import pytest
from conftest import Run

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x08mdat"
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isommp41\0\0\0\x08free"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


@pytest.mark.parametrize(
    ("option", "contents", "says"),
    [
        ("--image", HEIC, "a HEIC image, which cannot be decoded here; save it as JPEG or PNG first"),
        ("--video", HEIC, "a HEIC image, not a video; save it as JPEG or PNG first"),
        ("--image", PDF, "a PDF document, not an image; save its pages as PNG images"),
        ("--video", PDF, "a PDF document, not a video; save its pages as PNG images"),
        ("--image", MP4, "an MP4 video, not an image; give it as a video"),
        ("--image", b"<!DOCTYPE html><html>", "a web page (HTML), not an image; download what it shows"),
        ("--video", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not a video; git lfs pull"),
    ],
)
def test_what_it_is_and_what_to_do(run: Run, tmp_path: Path, option: str, contents: bytes, says: str) -> None:
    given = tmp_path / "given.file"
    given.write_bytes(contents)
    assert f"{given} is {says}" in run("run", tmp_path / "no_model", "-p", "hi", option, given).mistake()
