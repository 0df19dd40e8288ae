"""What a file is by its first bytes, for those who give one thing as another, or what cannot be read here."""

import re
from dataclasses import dataclass

from qwill.errors import MediaError

HEAD = 4096  # bytes that are looked at

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
AVIF_BRANDS = {b"avif", b"avis"}
ANY_HEIF_BRANDS = {b"mif1", b"mif2", b"msf1"}  # of HEIC as of AVIF
SOUND_BRANDS = {b"M4A ", b"M4B ", b"F4A "}
QUICKTIME_ATOMS = {b"moov", b"mdat", b"wide", b"pnot"}  # files older than `ftyp` begin with them


@dataclass(frozen=True)
class FileKind:
    """`name`: with its article; `mend`: what to do with it; `use`: what it can be given as, if anything."""

    name: str
    mend: str
    use: str = ""

    @property
    def is_image(self) -> bool:
        return self.name.endswith("image")


def video(name: str) -> FileKind:
    return FileKind(f"{name} video", "give it as a video", "video")


def undecoded(name: str) -> FileKind:
    return FileKind(name, "save it as JPEG or PNG first")


SOUND = FileKind("a sound file", "leave it out, the model does not hear")
PDF = FileKind("a PDF document", "save its pages as PNG images (pdftoppm -png), or give its text")
OFFICE = FileKind("an office document", "save it as PDF and its pages as PNG images, or give its text")
ARCHIVE = FileKind("a ZIP archive or an office document", "give what is in it, pages as PNG images")
MODEL = FileKind("a model file (GGUF)", "give it as the model")
POINTER = FileKind("a Git LFS pointer", "git lfs pull fetches the file itself")
WEB_PAGE = FileKind("a web page (HTML)", "download what it shows")
RAW = undecoded("a camera's raw image")

BEGINNINGS: tuple[tuple[bytes, FileKind], ...] = (
    (b"\xff\x0a", undecoded("a JPEG XL image")),
    (b"\0\0\0\x0cJXL ", undecoded("a JPEG XL image")),
    (b"8BPS", undecoded("a Photoshop image")),
    (b"gimp xcf", undecoded("a GIMP image")),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIU\0", RAW),
    (b"IIRO", RAW),
    (b"\x76\x2f\x31\x01", undecoded("an OpenEXR image")),
    (b"AT&TFORM", undecoded("a DjVu document")),
    (b"%!PS", undecoded("a PostScript drawing")),
    (b"\xc5\xd0\xd3\xc6", undecoded("a PostScript drawing")),
    (b"\xd7\xcd\xc6\x9a", undecoded("a WMF drawing")),
    (b"PK\x03\x04", ARCHIVE),
    (b"\xd0\xcf\x11\xe0", OFFICE),
    (b"{\\rtf", FileKind("an RTF document", "give its text")),
    (b"GGUF", MODEL),
    (b"FLV\x01", video("a Flash")),
    (b"\0\0\x01\xba", video("an MPEG")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", video("a Windows Media")),
    (b"ID3", SOUND),
    (b"\xff\xfb", SOUND),
    (b"\xff\xf3", SOUND),
    (b"\xff\xf1", SOUND),
    (b"fLaC", SOUND),
    (b"#!AMR", SOUND),
    (b"MThd", SOUND),
)


def check_use(head: bytes, wanted: str, name: str) -> None:
    """Raises MediaError where the first bytes of a file show that it is something else than the image or video that is
    `wanted`, or a form of it that cannot be read here. A still image is a video of one frame. `head`: HEAD bytes, or
    all there are.
    """
    kind = kind_of(head)
    if kind is None or wanted == kind.use:
        return
    if kind is SOUND and wanted == "video":
        return  # FFmpeg says whether there is one with it
    if kind.is_image and wanted == "image":
        raise MediaError(f"{name} is {kind.name}, which cannot be decoded here; {kind.mend}")
    raise MediaError(f"{name} is {kind.name}, not {'an' if wanted == 'image' else 'a'} {wanted}; {kind.mend}")


def is_animation(head: bytes) -> bool:
    """Whether it is an animated picture that Pillow reads and FFmpeg does not: WebP or AVIF."""
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
        return len(head) > 20 and bool(head[20] & 2)
    return head[4:8] == b"ftyp" and b"avis" in _brands(head)


def kind_of(head: bytes) -> FileKind | None:
    """None for what is not known, or is an image that Pillow reads."""
    if head[:4] == b"II*\0" and head[8:10] == b"CR":
        return RAW
    for beginning, kind in BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head.startswith(b"RIFF"):
        return {b"AVI ": video("an AVI"), b"WAVE": SOUND}.get(head[8:12])
    if head.startswith(b"OggS"):
        return video("an Ogg") if b"theora" in head else SOUND
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return video("a WebM" if b"webm" in head[:64] else "a Matroska")
    if head[4:8] == b"ftyp":
        return _of_brands(_brands(head))
    if head[4:8] in QUICKTIME_ATOMS:
        return video("a QuickTime")
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return video("an MPEG")
    return _of_text(head)


def _brands(head: bytes) -> list[bytes]:
    """Those of the ISO formats: the file's own first, then those that it is compatible with."""
    return [head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), 256), 4))]


def _of_brands(brands: list[bytes]) -> FileKind | None:
    own = brands[0]
    if own in AVIF_BRANDS or (own in ANY_HEIF_BRANDS and AVIF_BRANDS & {*brands}):
        return None
    if own in HEIF_BRANDS | ANY_HEIF_BRANDS:
        return undecoded("a HEIC image")
    if own == b"crx ":
        return RAW
    if own in SOUND_BRANDS:
        return SOUND
    return video("a QuickTime" if own == b"qt  " else "an MP4")


def _of_text(head: bytes) -> FileKind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"%pdf-"):
        return PDF
    if text.startswith(b"version https://git-lfs"):
        return POINTER
    if text.startswith(b"<") and (tag := re.search(rb"<(svg|html|head|body|!doctype html)\b", text)):
        return undecoded("an SVG drawing") if tag[1] == b"svg" else WEB_PAGE
    return None
