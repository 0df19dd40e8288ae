"""What the operator of a server decides."""

from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from qwill.server.keys import Keys
from qwill.server.warm import Recorded

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Limits:
    """What a request may cost before the model sees it. Sizes in bytes, times in seconds."""

    body_bytes: int = 64 << 20
    body_seconds: float = 30
    media_bytes: int = 32 << 20  # of one image or video
    media_parts: int = 64  # images and videos of a conversation
    image_pixels: int = 64_000_000  # before an image is scaled down
    media_seconds: float = 30  # to fetch one image or video, and as long again to decode it
    choices: int = 16  # answers to one request
    texts: int = 256  # answers to all prompts of one request, stop strings
    embeddings: int = 2048  # of one request


@dataclass(frozen=True)
class Settings:
    """hosts: names under which a server on loopback is addressed, beside those of the machine itself. origins: web
    pages of other origins that may ask. media_folders: where `file:` addresses may point. private_media: whether media
    are fetched from private addresses, too. log_prompts: whether what is asked and answered stands in the log.
    usage_file: a SQLite file where the tokens of each key are added up. show_cost: whether answers tell what their
    tokens would cost at providers, by the prices that came with qwill and those of prices_file. stored_responses: how
    many answers /v1/responses remembers. warm: requests that are answered before the server takes others. record_file:
    where requests are written in the form in which those are read.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    media_folders: tuple[Path, ...] = ()
    private_media: bool = False
    log_prompts: bool = False
    max_waiting: int = 64
    drain_seconds: float = 30
    usage_file: Path | None = None
    show_cost: bool = False
    prices_file: Path | None = None
    stored_responses: int = 256
    warm: tuple[Recorded, ...] = ()
    record_file: Path | None = None

    @property
    def on_loopback(self) -> bool:
        with suppress(ValueError):
            return ip_address(self.host).is_loopback
        return self.host in LOOPBACK
