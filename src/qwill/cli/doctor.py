"""Show what this installation is and has, and what is wrong with it, to paste into a bug report: nothing in it is
private."""

import argparse
import json
import textwrap
from collections.abc import Iterator
from typing import Any

from qwill.errors import QwillError

WIDTH, INDENT = 80, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qwill doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON object")


def execute(arguments: argparse.Namespace) -> None:
    """Prints the report. Raises QwillError when a problem keeps qwill from running a model."""
    from qwill.doctor.collect import collect

    told = collect()
    print(json.dumps(told, ensure_ascii=False) if arguments.json else "\n".join(_screen(told)), flush=True)
    problems = [finding for finding in told["findings"] if finding["level"] == "problem"]
    if problems:
        raise QwillError(f"no model can run here: {problems[0]['message']}; {problems[0]['mend']}")


def _screen(told: dict[str, Any]) -> Iterator[str]:
    """Lines of 80 columns; of an installation without findings at most 40."""
    found = told["findings"]
    yield f"qwill {told['qwill'].get('version', '')}: {_count(found) if found else 'nothing is wrong'}"
    for finding in found:
        text = f"{finding['level']}: {finding['message']}; {finding['mend']}"
        yield from textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    for name, line in _LINES.items():
        try:
            text = line(told)
        except (KeyError, TypeError, AttributeError):  # a section that could not be made, of which a finding tells
            continue
        if text:
            yield from textwrap.wrap(
                text, WIDTH, initial_indent=f"{name:{INDENT}}", subsequent_indent=" " * INDENT, break_on_hyphens=False
            )


def _count(found: list[dict[str, str]]) -> str:
    levels = [finding["level"] for finding in found]
    counts = ((levels.count(level), level) for level in ("problem", "warning"))
    return ", ".join(f"{count} {level}{'s' * (count > 1)}" for count, level in counts if count)


def _installed(told: dict[str, Any]) -> str:
    qwill = told["qwill"]
    where = {"none": "", "system": ", Python of the system"}.get(qwill["environment"], f", {qwill['environment']}")
    return qwill["installed_as"] + where


def _built(told: dict[str, Any]) -> str:
    native = told["qwill"]["native"]
    build = native["build"]
    if build is None:
        return f"{native['file'] or 'no compiled kernels'}" + (", cannot be loaded" if native["error"] else "")
    abi = "stable ABI" if build["stable_abi"] else "for this Python alone"
    return f"{build['compiler']}, {build['target']}, {build['c_library']}, {abi}; {', '.join(build['isas'])}"


def _python(told: dict[str, Any]) -> str:
    python = told["python"]
    marks = [f"{python['bits']}-bit", python["built_for"], python["compiler"]]
    marks += [word for word in ("free_threaded", "debug") if python[word]]
    return f"{python['implementation']} {python['version']}, {', '.join(marks)}"


def _system(told: dict[str, Any]) -> str:
    system = told["system"]
    marks = [system["distribution"], system["machine"], system["c_library"]]
    marks += [f"WSL {system['wsl']}"] if system["wsl"] else []
    marks += [f"container: {system['container']}"] if system["container"] else []
    marks += ["under Rosetta"] if system["translated"] else []
    return f"{system['name']} {system['release']}, {', '.join(mark for mark in marks if mark)}"


def _sets(told: dict[str, Any]) -> str:
    processor = told["processor"]
    if not processor["instruction_sets"]:
        return ""
    forced = " (QWILL_ISA)" if processor["forced"] else ""
    return f"{processor['used'] or 'none'}{forced} of {', '.join(processor['instruction_sets'])}"


def _threads(told: dict[str, Any]) -> str:
    threads = told["threads"]
    allowed = "" if threads["allowed"] == threads["logical"] else f"{threads['allowed']} of "
    quota = "" if threads["quota"] is None else f", time of {threads['quota']:g}"
    load = "" if threads["load"] is None else f"; load {threads['load']:g}"
    cores = f"{threads['cores']} cores, {allowed}{threads['logical']} logical processors"
    return f"{threads['default']} unless given; {cores}{quota}{load}"


def _memory(told: dict[str, Any]) -> str:
    memory = told["memory"]
    swap = f"; swap {_size(memory['swap'])}, {_size(memory['swap_free'])} free" if memory["swap"] else "; no swap"
    swap = "" if memory["swap"] is None else swap
    limit = "" if memory["limit"] is None else f", limit {_size(memory['limit'])}"
    return f"{_size(memory['installed'])}{limit}, {_size(memory['free'])} free{swap}"


def _pages(told: dict[str, Any]) -> str:
    pages = told["pages"]
    huge = {
        "always": "all large memory gets them",
        "madvise": "weights ask for them and get them",
        "never": "nothing gets them",
    }.get(pages["huge"] or "")
    size = f"{pages['size'] // 1024} KiB" if pages["size"] else "?"
    return size + (f"; huge pages: {pages['huge']} ({huge})" if huge else "")


def _cards(told: dict[str, Any]) -> str:
    cards = told["cards"]
    listed = [
        ", ".join(filter(None, (card["name"], _size(card["memory"]), card["driver"]))) for card in cards["listed"]
    ]
    known = ", ".join(gpu["name"] for gpu in cards["known_to_fit"])
    return f"{'; '.join(listed) or 'none listed'}" + (f"; fit: {known}" if known else "")


def _card_packages(told: dict[str, Any]) -> str:
    cards = told["cards"]
    there = [name for name, found in cards["libraries"].items() if found]
    packages = [f"{name} {version}" for name, version in cards["packages"].items()]
    return ", ".join(there + packages) or "none of CUDA, ROCm, Vulkan, Level Zero; no packages"


def _folder(key: str, told: dict[str, Any]) -> str:
    folder = told["folders"][key]
    holds = []
    if folder["models"] is not None:
        holds.append(f"{folder['models']} model{'s' * (folder['models'] != 1)}")
    if folder["exists"] and folder["bytes"] is not None:
        holds.append(f"{'' if folder['all_counted'] else 'more than '}{_size(folder['bytes'])}")
    state = "not there yet" if not folder["exists"] else ", ".join(holds)
    writable = "" if folder["writable"] else ", not writable"
    free = "" if folder["free"] is None else f"{_size(folder['free'])} free"
    return f"{folder['place']}: {'; '.join(filter(None, (state, free)))}{writable}"


def _packages(told: dict[str, Any]) -> str:
    required = told["packages"]["required"].items()
    return ", ".join(f"{name} {package['version'] or 'missing'}" for name, package in required)


def _optional(told: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version or '-'}" for name, version in told["packages"]["optional"].items())


def _variables(told: dict[str, Any]) -> str:
    return ", ".join(name if value == "set" else f"{name}={value}" for name, value in told["variables"].items())


def _streams(told: dict[str, Any]) -> str:
    streams = told["streams"]
    encodings = dict.fromkeys(str(streams[name]) for name in ("stdin", "stdout", "stderr"))
    mode = ", UTF-8 mode" if streams["utf8_mode"] else ""
    return f"{', '.join(encodings)}; file names {streams['file_names']}; locale {streams['locale']}{mode}"


def _limits(told: dict[str, Any]) -> str:
    limits = {name: limit for name, limit in told["limits"].items() if limit is not None}
    sizes = ("locked_memory", "address_space", "file_size")
    words = (
        f"{name.replace('_', ' ')} {_size(limit) if name in sizes and isinstance(limit, int) else limit}"
        for name, limit in limits.items()
    )
    return ", ".join(words)


def _size(count: int | None) -> str:
    if count is None:
        return ""
    units = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next((f"{count / size:.1f} {unit}" for unit, size in units if count >= size), f"{count} bytes")


_LINES = {
    "installed": _installed,
    "built": _built,
    "python": _python,
    "system": _system,
    "processor": lambda told: told["processor"]["name"],
    "kernels": _sets,
    "threads": _threads,
    "memory": _memory,
    "pages": _pages,
    "cards": _cards,
    "for cards": _card_packages,
    "hub cache": lambda told: _folder("hub_cache", told),
    "own cache": lambda told: _folder("own_cache", told),
    "ollama": lambda told: _folder("ollama", told),
    "temporary": lambda told: _folder("temporary", told),
    "packages": _packages,
    "optional": _optional,
    "variables": _variables,
    "streams": _streams,
    "limits": _limits,
}
