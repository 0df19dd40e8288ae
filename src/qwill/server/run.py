"""Runs the application: a socket, uvicorn, signals, the log."""

import asyncio
import gc
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from qwill.errors import InvalidArgument
from qwill.server.app import Application
from qwill.server.models import Models
from qwill.server.protocol import Protocol
from qwill.server.settings import Settings
from qwill.system.signals import told_of_closing
from qwill.system.sockets import event_loop, own_address

# A step of the engine ends with a wish for the interpreter, which the event loop must not keep for Python's 5 ms.
SWITCH_SECONDS = 0.0005
BACKLOG = 2048
FIELDS = ("request_id", "key", "method", "path", "status", "seconds", "model", "tokens", "prompt", "answer")


class LogLine(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class Server(uvicorn.Server):
    """Takes no new requests once it is told to end, and finishes those that it has."""

    def __init__(self, config: uvicorn.Config, application: Application) -> None:
        super().__init__(config)
        self._application = application

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The first signal is the ordinary end, after which the process exits with 0; a second Ctrl-C ends all."""
        self._application.drain()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(settings: Settings, models: Callable[[], Models], note: str = "") -> None:
    """Serves until SIGTERM or SIGINT. note: a line for the log's beginning. Raises InvalidArgument when the address
    cannot be had."""
    with listen(settings) as listening, asyncio.Runner(loop_factory=event_loop) as runner:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LogLine())
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # what is read to be warm says so itself
        logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a damaged picture is its sender's trouble
        sys.setswitchinterval(SWITCH_SECONDS)
        runner.run(_serve(settings, models, listening, note))


async def _serve(settings: Settings, models: Callable[[], Models], listening: socket.socket, note: str) -> None:
    host, port = listening.getsockname()[:2]
    async with Application(settings, models()) as application:
        # What a start leaves is there to stay; to look for garbage in it holds up all streams for tens of milliseconds.
        gc.collect()
        gc.freeze()
        if note:
            print(note, file=sys.stderr)
        print(f"qwill serves at http://{_in_address(host)}:{port}; Ctrl-C ends it", file=sys.stderr, flush=True)
        server = Server(configuration(settings, application), application)
        with told_of_closing(lambda: server.handle_exit(signal.SIGTERM, None), settings.drain_seconds):
            await server.serve([listening])


def configuration(settings: Settings, application: Application) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        application.asgi, access_log=False, log_config=None, timeout_graceful_shutdown=round(settings.drain_seconds),
        timeout_keep_alive=75, backlog=BACKLOG, server_header=False, proxy_headers=False, ws="none", lifespan="off",
        http=Protocol,
    )  # fmt: skip


def listen(settings: Settings) -> socket.socket:
    """A bound socket. Raises InvalidArgument when the address is not this machine's or is in use."""
    if not 0 <= settings.port < 1 << 16:
        raise _not_had(settings, ValueError("ports end at 65535"))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise _not_had(settings, error) from error
    try:
        own_address(listening)
        listening.bind(address)
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        raise _not_had(settings, error) from error


def _not_had(settings: Settings, error: Exception) -> InvalidArgument:
    place = f"{settings.host} port {settings.port}"
    return InvalidArgument(f"cannot listen on {place} ({error}); choose another with --host and --port")


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
