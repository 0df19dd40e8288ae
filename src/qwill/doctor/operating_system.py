"""The operating system, what it allows a process, and how its streams spell text."""

import locale
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwill.system.linux import ROOT
from qwill.system.sysctl import sysctl_number

UNLIMITED = "unlimited"


def operating_system(root: Path = ROOT) -> dict[str, Any]:
    """Names and releases, and what stands between the process and the machine. root: where /proc and /etc lie."""
    return {
        "name": platform.system(),
        "release": _release(),
        "distribution": _distribution(root),
        "machine": platform.machine(),
        "c_library": " ".join(platform.libc_ver()).strip() or None,
        "wsl": _wsl(root),
        "container": _container(root),
        "translated": _translated(),
    }


def streams() -> dict[str, Any]:
    """Encodings of the standard streams (None: closed), and the locale."""
    return {
        **{name: getattr(getattr(sys, name), "encoding", None) for name in ("stdin", "stdout", "stderr")},
        "file_names": sys.getfilesystemencoding(),
        "locale": locale.setlocale(locale.LC_CTYPE),
        "utf8_mode": bool(sys.flags.utf8_mode),
        "terminal": bool(getattr(sys.stdout, "isatty", bool)()),
    }


def limits() -> dict[str, int | str | None]:
    """What a process may have at most: a number, or "unlimited"; None where the system has no such limit.

    Sizes are bytes.
    """
    kinds = {"open_files": "NOFILE", "locked_memory": "MEMLOCK", "address_space": "AS", "processes": "NPROC",
             "file_size": "FSIZE"}  # fmt: skip
    if sys.platform == "win32":
        return dict.fromkeys(kinds)
    import resource

    found: dict[str, int | str | None] = {}
    for name, kind in kinds.items():
        number = getattr(resource, f"RLIMIT_{kind}", None)
        soft = None if number is None else resource.getrlimit(number)[0]
        found[name] = UNLIMITED if soft == resource.RLIM_INFINITY else soft
    return found


def _release() -> str:
    if sys.platform == "darwin":
        return platform.mac_ver()[0] or platform.release()
    if sys.platform == "win32":
        return f"{platform.release()} build {platform.version()}"
    return platform.release()


def _distribution(root: Path) -> str | None:
    for place in ("etc/os-release", "usr/lib/os-release"):
        with suppress(OSError):
            lines = (root / place).read_text("utf-8", "replace").splitlines()
            told = dict(line.split("=", 1) for line in lines if "=" in line)
            name = told.get("PRETTY_NAME") or told.get("NAME")
            return name.strip("\"'") if name else None
    return None


def _wsl(root: Path) -> int | None:
    """1 or 2 in Windows's Subsystem for Linux."""
    with suppress(OSError):
        release = (root / "proc/sys/kernel/osrelease").read_text().lower()
        if "microsoft" in release:
            return 2 if "wsl2" in release or "standard" in release else 1
    return None


def _container(root: Path) -> str | None:
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "Kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else "docker"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    with suppress(OSError):
        variables = (root / "proc/1/environ").read_bytes().split(b"\0")
        kind = next((line[10:].decode("ascii", "replace") for line in variables if line.startswith(b"container=")), "")
        if kind:
            return kind if kind in ("lxc", "systemd-nspawn", "podman", "docker", "oci") else "yes"
    with suppress(OSError):
        groups = (root / "proc/1/cgroup").read_text()
        return next((kind for kind in ("docker", "kubepods", "lxc", "containerd") if kind in groups), None)
    return None


def _translated() -> bool:
    """Whether Rosetta runs code for Intel on an Apple chip. Never run on a Mac."""
    if sys.platform != "darwin":
        return False
    return sysctl_number("sysctl.proc_translated") == 1
