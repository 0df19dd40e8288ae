#!/usr/bin/env python3
"""Tries README's commands on a machine without a compiler: a Debian root with Python alone, made by debootstrap.

    scripts/bare_root.py FOLDER [--suite bookworm] [--bind PATH]... [--only first|test]

FOLDER lies outside the repository; a root that is there already is used again. Needs root and debootstrap. The checkout
goes in as `git archive` has it (what is not committed stays out), README's first command and `scripts/test` run by
chroot, each in an environment of its own, and time and peak memory are told: of all processes together, sampled, and of
the largest one.

pip in there is configured as pip is here: the variables for pip, certificates and proxies go in, and so do the files
they name; further files and folders by --bind, read-only, at the same place."""

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PACKAGES = "python3,python3-venv,ca-certificates"
NOT_THERE = ("gcc", "g++", "cc", "c++", "clang", "make", "cmake", "ninja", "ld", "ar")
PASSED = ("PIP_", "SSL_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def main() -> None:
    options = _options()
    root: Path = options.folder.resolve()
    if root.is_relative_to(HERE):
        sys.exit(f"scripts/bare_root.py: {root} lies inside the repository; name a folder outside")
    _make(root, options.suite)
    first = next(line for line in (HERE / "README.md").read_text().splitlines() if line.startswith("python3 -m venv"))
    _copy_checkout(root / "qwill")
    environment = _environment()
    with _mounted(root, _outermost([*options.bind, *_named_files(environment)])):
        for name, command in (("first", first), ("test", "scripts/test")):
            if options.only in (None, name):
                _timed(root, command, environment)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the root is, or is made")
    parser.add_argument("--suite", default="bookworm", help="Debian's name of the release")
    parser.add_argument("--bind", action="append", default=[], metavar="PATH", help="a file or folder to show in there")
    parser.add_argument("--only", choices=("first", "test"), help="one of the two commands")
    return parser.parse_args()


def _make(root: Path, suite: str) -> None:
    """Makes the root where there is none, whole or not at all."""
    if (root / "etc" / "debian_version").exists():
        return
    part = root.with_name(root.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(part)], check=True)
    shutil.rmtree(part / "var" / "cache" / "apt" / "archives", ignore_errors=True)
    found = [
        name for name in NOT_THERE for folder in ("bin", "usr/bin", "usr/local/bin") if (part / folder / name).exists()
    ]
    if found:
        sys.exit(f"scripts/bare_root.py: the root is not bare, it has {', '.join(found)}")
    part.rename(root)


def _copy_checkout(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    archive = subprocess.Popen(["git", "-C", str(HERE), "archive", "HEAD"], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(target)], stdin=archive.stdout, check=True)
    if archive.wait() != 0:
        sys.exit("scripts/bare_root.py: git archive failed")


def _environment() -> dict[str, str]:
    """What the commands see: a plain login's variables, and the caller's for pip, certificates and proxies."""
    passed = {name: value for name, value in os.environ.items() if name.upper().startswith(PASSED)}
    plain = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    return passed | plain | {"TERM": "dumb"}


def _named_files(environment: dict[str, str]) -> list[str]:
    """The absolute paths among the values, where they exist here."""
    return sorted(
        {value for value in environment.values() if value.startswith("/") and os.path.exists(value)} - {"/root"}
    )


def _outermost(paths: list[str]) -> list[Path]:
    """The paths that lie in no other of them."""
    absolute = sorted({Path(path).absolute() for path in paths})
    return [path for path in absolute if not any(other in path.parents for other in absolute)]


@contextlib.contextmanager
def _mounted(root: Path, binds: list[Path]) -> Iterator[None]:
    """The kernel's file systems and the bound paths, in the root while the body runs."""
    mounted: list[Path] = []
    try:
        for source, target, kind in (
            ("proc", "proc", ["-t", "proc"]),
            ("/dev", "dev", ["--rbind"]),
            ("/sys", "sys", ["--rbind"]),
        ):
            subprocess.run(["mount", *kind, source, str(root / target)], check=True)
            mounted.append(root / target)
            subprocess.run(["mount", "--make-rslave", str(root / target)], check=True)
        for source_path in binds:
            target_path = root / source_path.relative_to("/")
            target_path.parent.mkdir(parents=True, exist_ok=True)
            target_path.mkdir(exist_ok=True) if source_path.is_dir() else target_path.touch()
            subprocess.run(["mount", "--bind", "-o", "ro", str(source_path), str(target_path)], check=True)
            mounted.append(target_path)
        yield
    finally:
        for path in reversed(mounted):
            subprocess.run(["umount", "-R", "-l", str(path)], check=False)


def _timed(root: Path, command: str, environment: dict[str, str]) -> None:
    """Runs the command in the checkout there; a failure ends the script with its code."""
    print(f"$ {command}", flush=True)
    started = time.monotonic()
    child = subprocess.Popen(
        ["chroot", str(root), "/bin/sh", "-c", f"cd /qwill && rm -rf .venv && {command}"], env=environment
    )
    peak, done = [0], threading.Event()
    sampler = threading.Thread(target=_sample, args=(child.pid, peak, done))
    sampler.start()
    code = child.wait()
    done.set()
    sampler.join()
    minutes = (time.monotonic() - started) / 60
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    told = f"{peak[0] / 2**30:.1f} GiB of all processes at most, {largest:.1f} GiB the largest"
    print(f"{'done' if code == 0 else f'failed with code {code}'} in {minutes:.1f} min; memory: {told}", flush=True)
    if code != 0:
        sys.exit(code)


def _sample(parent: int, peak: list[int], done: threading.Event) -> None:
    """Keeps the most memory that the process and all below it held together, in bytes, looking twice a second."""
    while not done.wait(0.5):
        peak[0] = max(peak[0], sum(map(_held, _family(parent))))


def _family(parent: int) -> set[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError):
                above = int(Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(above, []).append(int(entry))
    family, new = {parent}, [parent]
    while new:
        new = [child for process in new for child in children.get(process, []) if child not in family]
        family.update(new)
    return family


def _held(process: int) -> int:
    """Bytes of memory that the process holds; pages it shares with others count in part."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc", str(process), "smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
