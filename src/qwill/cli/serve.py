"""Serve models over HTTP, in the dialects of OpenAI, Anthropic and Ollama, with a page to chat in."""

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from qwill.cli.options import above_zero, at_least, at_least_one, drafts
from qwill.errors import InvalidArgument
from qwill.weights.hub.cache import existing_path
from qwill.weights.hub.ollama_store import PREFIX as OLLAMA
from qwill.weights.naming.files import part_of
from qwill.weights.naming.models import short_name

NAMED = "="
NO_CACHE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `qwill serve`."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="a model, or NAME=MODEL; the first one answers where none is named"
    )
    parser.add_argument(
        "--alias", action="append", default=[], metavar="NAME=MODEL", help="another name of a model; claude-* is many"
    )
    parser.add_argument("--default", metavar="MODEL", help="answers where no model is named, or one that is not here")
    net = parser.add_argument_group("who may ask")
    net.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (127.0.0.1: this machine alone)"
    )
    net.add_argument("--port", type=at_least(0), default=8080, metavar="N", help="port to listen on (8080)")
    net.add_argument(
        "--api-key", action="append", default=[], metavar="KEY", help="a key that clients must send; may be repeated"
    )
    net.add_argument("--keys", metavar="FILE", help="keys by their digests, with limits; see docs/server.md")
    net.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="another name of this server")
    net.add_argument("--allow-origin", action="append", default=[], metavar="URL", help="a web page that may ask")
    media = parser.add_argument_group("images and videos")
    media.add_argument(
        "--media-folder", action="append", default=[], metavar="FOLDER", help="file: addresses may point in there"
    )
    media.add_argument("--private-media", action="store_true", help="fetch from addresses of private networks, too")
    machine = parser.add_argument_group("how to run")
    machine.add_argument("--ctx", type=at_least_one, metavar="N", help="tokens of a conversation (at most 32768)")
    machine.add_argument(
        "--cache-tokens", type=at_least_one, metavar="N", help="tokens of all conversations at a time (one of --ctx)"
    )
    machine.add_argument("--parallel", type=at_least_one, default=16, metavar="N", help="answers at a time (16)")
    machine.add_argument("--queue", type=at_least(0), default=64, metavar="N", help="answers that may wait (64)")
    machine.add_argument("--yarn", type=float, metavar="FACTOR", help="stretch the context by FACTOR, up to 4")
    machine.add_argument("--kv", default="auto", metavar="TYPE", help="cached keys and values: auto, f32, f16, q8_0")
    machine.add_argument(
        "--drafts", type=drafts, default="auto", metavar="N", help="tokens guessed ahead: 0 to 4, auto"
    )
    machine.add_argument(
        "--cache",
        metavar="FOLDER",
        help="keep what was read of conversations for the next start; none: not even of models that are unloaded",
    )
    machine.add_argument("--cache-size", type=above_zero, default=10.0, metavar="GB", help="of its files in all (10)")
    machine.add_argument("--warm", metavar="FILE", help="read these requests' prompts first; see docs/server.md")
    machine.add_argument(
        "--lora", action="append", default=[], metavar="[NAME=]PATH[=SCALE]",
        help="an adapter: of the answers that ask for the model NAME, or of all; may be repeated",
    )  # fmt: skip
    machine.add_argument("--threads", type=at_least_one, metavar="N", help="processor threads (one a core)")
    machine.add_argument("--model-memory", type=above_zero, metavar="GB", help="of the weights loaded at a time")
    machine.add_argument("--unload-after", type=above_zero, metavar="SECONDS", help="unload models that nobody asks")
    shown = parser.add_argument_group("what to keep")
    shown.add_argument("--usage", metavar="FILE", help="count tokens of each key there; `qwill usage` shows them")
    shown.add_argument("--cost", action="store_true", help="tell in each answer what its tokens would cost elsewhere")
    shown.add_argument("--prices", metavar="FILE", help="prices of your own for --cost; see docs/cli.md")
    shown.add_argument("--log-prompts", action="store_true", help="write what is asked and answered to the log")
    shown.add_argument("--record", metavar="FILE", help="write requests there, as --warm reads them")
    shown.add_argument("--drain", type=above_zero, default=30.0, metavar="SECONDS", help="to finish answers in (30)")


def execute(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or Ctrl-C. Raises QwillError."""
    from qwill.server.keys import Keys
    from qwill.server.models import Models, Served
    from qwill.server.run import serve
    from qwill.server.settings import LOOPBACK, Settings
    from qwill.server.warm import read_requests

    secrets = [*arguments.api_key, *filter(None, [os.environ.get("QWILL_API_KEY")])]
    keys = Keys.of(secrets, _path(arguments.keys))
    if arguments.host not in LOOPBACK and not keys.required:
        raise InvalidArgument(f"--host {arguments.host} opens the server to others; give them keys with --api-key")
    for folder in arguments.media_folder:
        if not Path(folder).is_dir():
            raise InvalidArgument(f"--media-folder {folder}: no such folder")
    if arguments.prices is not None and not arguments.cost:
        raise InvalidArgument("--prices says what answers cost, which only --cost tells; give both")
    settings = Settings(
        host=arguments.host, port=arguments.port, keys=keys, hosts=tuple(arguments.allow_host),
        origins=tuple(arguments.allow_origin), media_folders=tuple(map(Path, arguments.media_folder)),
        private_media=arguments.private_media, log_prompts=arguments.log_prompts, max_waiting=arguments.queue,
        drain_seconds=arguments.drain, usage_file=_path(arguments.usage), show_cost=arguments.cost,
        prices_file=_path(arguments.prices), record_file=_path(arguments.record),
        warm=() if arguments.warm is None else tuple(read_requests(Path(arguments.warm).expanduser())),
    )  # fmt: skip
    options: dict[str, Any] = {
        "max_context": arguments.ctx, "cache_tokens": arguments.cache_tokens, "threads": arguments.threads,
        "kv": arguments.kv, "yarn": arguments.yarn, "max_sequences": arguments.parallel,
        "speculative": arguments.drafts,
    }  # fmt: skip
    named = _named(arguments.models or ["demo"])
    adapters = _adapters(arguments.lora, len(named))
    if arguments.lora:
        options["lora"] = arguments.lora
    aliases = _aliases(arguments.alias)
    budget = None if arguments.model_memory is None else int(arguments.model_memory * 1e9)
    with _cache(arguments.cache, arguments.cache_size, len(named)) as (cache, note):
        served = [Served(name, source, options | cache, adapters) for name, source in named]
        rest = (arguments.queue, budget, arguments.unload_after)
        serve(settings, lambda: Models(served, *rest, aliases=aliases, default=arguments.default), note)


@contextmanager
def _cache(folder: str | None, size: float, models: int) -> Iterator[tuple[dict[str, Any], str]]:
    """Where models keep what they have read: nowhere, in that folder, or in one of this server's while it runs, if
    there can be one. As options of theirs, with what is to be said of it.
    """
    from qwill.server.cache_folder import cache_folder, most_bytes

    most = int(size * 1e9)
    if folder == NO_CACHE:
        yield {}, ""
    elif folder is not None:
        yield {"disk_cache": folder, "disk_cache_bytes": most // models}, ""
    else:
        with ExitStack() as stack:
            try:
                own = stack.enter_context(cache_folder())
            except OSError as error:
                yield {}, f"models that are unloaded keep nothing of what they have read ({error}); see --cache"
                return
            most = most_bytes(own, most)
            note = f"models that are unloaded keep what they have read in {own} until the server ends, up to"
            options = {"disk_cache": own, "disk_cache_bytes": most // models, "disk_cache_at_once": False}
            yield options, f"{note} {most / 1e9:.1f} GB; --cache none turns that off"


def _adapters(texts: list[str], models: int) -> list[str]:
    """The names of adapters. Raises InvalidArgument."""
    from qwill.weights.adapters.spec import read_specs

    if texts and models > 1:
        raise InvalidArgument(
            "--lora: adapters are made for one model and this server has several; serve that one alone"
        )
    return [spec.name for spec in read_specs(texts) if spec.name is not None]


def _aliases(texts: list[str]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for text in texts:
        name, _, model = text.partition(NAMED)
        if not name or not model:
            raise InvalidArgument(f"--alias {text!r} is not NAME=MODEL")
        if aliases.setdefault(name, model) != model:
            raise InvalidArgument(f"--alias {name}: it is to be {aliases[name]} and {model}; give one of them")
    return aliases


def _named(models: list[str]) -> list[tuple[str, str]]:
    """Names and sources; a model without a name has that of its file or folder. Raises InvalidArgument."""
    named = []
    for text in models:
        name, equals, source = text.partition(NAMED)
        if not equals or "?" in name:  # a link ends in ?download=true
            name, source = _short_name(text), text
        if not name or not source:
            raise InvalidArgument(f"{text!r} is neither MODEL nor NAME=MODEL")
        named.append((name, source))
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise InvalidArgument("two models have the same name; give them others: NAME=MODEL")
    return named


def _short_name(source: str) -> str:
    path = existing_path(source)
    source = source[len(OLLAMA) :] if source.lower().startswith(OLLAMA) else source
    return short_name(source) if path is None else part_of(path.resolve().name).stem


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name).expanduser()
