"""What is wrong, or could be better, each with its mend. Found in what was collected, so that it can be told of others'
reports too."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

GB = 10**9
PROBLEM, WARNING = "problem", "warning"
# Below these a line says so. The smallest member in four bits takes 0.6 GB, its context and Python about as much.
LITTLE_MEMORY, LITTLE_DISK, FEW_FILES = 2 * GB, 5 * GB, 256
LITTLE_ADDRESSES = 16 * GB


@dataclass(frozen=True)
class Finding:
    """level: a problem keeps qwill from running a model; a warning does not. id: stable, for programs."""

    level: str
    id: str
    message: str
    mend: str

    def told(self) -> dict[str, str]:
        return {"level": self.level, "id": self.id, "message": self.message, "mend": self.mend}


def findings(told: dict[str, Any]) -> list[Finding]:
    """Problems first. told: the sections of `collect`; one that could not be made is passed over but for a line."""
    found = [each for check in _CHECKS for each in _checked(check, told)]
    found += [
        Finding(WARNING, "unknown", f"{name} cannot be told: {section['error']}", "please report this line")
        for name, section in told.items()
        if section.keys() == {"error"}
    ]
    return sorted(found, key=lambda finding: finding.level != PROBLEM)


def _checked(check: Any, told: dict[str, Any]) -> list[Finding]:
    try:
        return list(check(told))
    except (KeyError, TypeError):  # of a section that could not be made
        return []


def _native(told: dict[str, Any]) -> Iterator[Finding]:
    native, tree = told["qwill"]["native"], told["qwill"]["installed_as"] in ("source tree", "editable")
    if not native["found"]:
        others = native["others"]
        if others:
            yield Finding(
                PROBLEM, "native-other-python", f"the compiled kernels are for another Python ({others[0]})",
                f"install qwill with this one: {_pip('.' if tree else 'qwill')}",
            )  # fmt: skip
        elif tree:
            yield Finding(
                PROBLEM, "native-missing", "this is a source tree without compiled kernels", f"build it: {_pip('.')}"
            )
        else:
            yield Finding(PROBLEM, "native-missing", "the compiled kernels are missing", _again("qwill"))
    elif native["error"]:
        yield Finding(PROBLEM, "native-broken", f"the compiled kernels cannot be loaded: {native['error']}",
                      _again("." if tree else "qwill"))  # fmt: skip
    if not told["qwill"]["demonstration_model"]:
        yield Finding(WARNING, "demo-missing", "the embedded model is missing", _again("qwill"))


def _python(told: dict[str, Any]) -> Iterator[Finding]:
    if told["python"]["bits"] != 64:
        yield Finding(PROBLEM, "python-32-bit", "this Python has 32 bits", "install one with 64 bits from python.org")
    if told["python"]["implementation"] != "CPython":
        yield Finding(WARNING, "not-cpython", f"{told['python']['implementation']} is not tried", "use CPython")
    version = told["qwill"]["installed_version"]
    if version not in (None, told["qwill"]["version"]):
        yield Finding(
            WARNING, "two-versions", f"version {told['qwill']['version']} runs, and {version} is installed",
            "leave the folder of the other, and look at PYTHONPATH",
        )  # fmt: skip
    if told["qwill"]["first_on_path"] == "another":
        yield Finding(WARNING, "path", "the command qwill is another installation's",
                      "activate this environment; `which -a qwill` (Windows: where qwill) shows all")  # fmt: skip


def _packages(told: dict[str, Any]) -> Iterator[Finding]:
    for name, package in told["packages"]["required"].items():
        level = PROBLEM if package["needed_by"] == "everything" else WARNING
        without = "" if level == PROBLEM else f": no {package['needed_by']}"
        if package["version"] is None:
            yield Finding(level, "package-missing", f"{name} is not installed{without}", _pip(name))
        elif package["error"]:
            yield Finding(level, "package-broken", f"{name} cannot be imported{without}: {package['error']}",
                          _again(name))  # fmt: skip
        elif package["suits"] is False:
            yield Finding(WARNING, "package-version", f"{name} is {package['version']}, not {package['requires']}",
                          _pip(f"\"{name}{package['requires']}\""))  # fmt: skip


def _processor(told: dict[str, Any]) -> Iterator[Finding]:
    processor, runnable = told["processor"], told["processor"]["instruction_sets"]
    if not runnable:
        return
    if processor["forced"] and processor["used"] is None:
        yield Finding(PROBLEM, "isa-unknown", f"QWILL_ISA names none of {', '.join(runnable)}", "unset QWILL_ISA")
    elif processor["used"] != runnable[-1]:
        yield Finding(WARNING, "isa-forced", f"QWILL_ISA={processor['used']}, and {runnable[-1]} is faster",
                      "unset QWILL_ISA")  # fmt: skip
    if runnable == ["scalar"]:
        what = "dot product" if told["system"]["machine"].lower() in ("arm64", "aarch64") else "AVX2"
        yield Finding(WARNING, "isa-scalar", f"this processor has no {what}: many times slower",
                      "of a virtual machine: pass the host's processor through")  # fmt: skip


def _translated(told: dict[str, Any]) -> Iterator[Finding]:
    if told["system"]["translated"]:
        yield Finding(WARNING, "rosetta", "this Python is for Intel and runs under Rosetta: several times slower",
                      "install a Python for Apple chips (arm64), and qwill with it")  # fmt: skip
    if told["system"]["wsl"] == 1:
        yield Finding(WARNING, "wsl-1", "WSL 1 lacks much of Linux", "wsl --set-version DISTRIBUTION 2")


def _threads(told: dict[str, Any]) -> Iterator[Finding]:
    threads = told["threads"]
    if threads["quota"] is not None and threads["quota"] < 1:
        yield Finding(WARNING, "quota", f"a control group leaves {threads['quota']:g} of a core's time",
                      "raise the container's limit")  # fmt: skip
    if threads["load"] is not None and threads["load"] > threads["logical"]:
        yield Finding(WARNING, "busy", f"other programs keep the processor busy (load {threads['load']:g})",
                      "end them before you measure")  # fmt: skip


def _memory(told: dict[str, Any]) -> Iterator[Finding]:
    memory, limits = told["memory"], told["limits"]
    if memory["free"] < LITTLE_MEMORY:
        where = "raise the container's limit" if told["system"]["container"] else "close other programs"
        yield Finding(WARNING, "memory", f"{memory['free'] / GB:.1f} GB of memory are free",
                      f"{where}; qwill fit says what fits")  # fmt: skip
    if isinstance(limits["address_space"], int) and limits["address_space"] < max(LITTLE_ADDRESSES, memory["free"]):
        yield Finding(WARNING, "address-space", f"a process may map {limits['address_space'] / GB:.1f} GB (ulimit -v)",
                      "ulimit -v unlimited")  # fmt: skip
    if isinstance(limits["open_files"], int) and limits["open_files"] < FEW_FILES:
        yield Finding(WARNING, "open-files", f"a process may open {limits['open_files']} files, connections included",
                      "before qwill serve: ulimit -n 4096")  # fmt: skip
    if isinstance(limits["file_size"], int):
        yield Finding(WARNING, "file-size", f"a file may have {limits['file_size'] / GB:.1f} GB (ulimit -f)",
                      "ulimit -f unlimited")  # fmt: skip


def _pages(told: dict[str, Any]) -> Iterator[Finding]:
    if told["pages"]["huge"] == "never":
        yield Finding(WARNING, "huge-pages", "huge pages are off: slower",
                      "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled")  # fmt: skip


def _folders(told: dict[str, Any]) -> Iterator[Finding]:
    names = {"hub_cache": "downloads", "own_cache": "what unloaded models have read", "temporary": "temporary files"}
    for key, what in names.items():
        folder = told["folders"][key]
        if not folder["writable"]:
            yield Finding(WARNING, f"{key.replace('_', '-')}-not-writable", f"{folder['place']} cannot be written to,"
                          f" the folder for {what}", f"allow it, or {_elsewhere(key)}")  # fmt: skip
        elif folder["free"] is not None and folder["free"] < LITTLE_DISK:
            yield Finding(WARNING, f"{key.replace('_', '-')}-full", f"{folder['free'] / GB:.1f} GB are free for {what}"
                          f" ({folder['place']})", f"make room, or {_elsewhere(key)}")  # fmt: skip


def _cards(told: dict[str, Any]) -> Iterator[Finding]:
    cards = told["cards"]
    for card in cards["listed"]:
        if card["name"].startswith("NVIDIA ") and not (card["driver"] or "").startswith("nvidia"):
            yield Finding(WARNING, "card-driver", f"{card['name']} has no driver of NVIDIA's", "install it")
    if cards["unreadable"]:
        yield Finding(WARNING, "card-rights", f"{cards['unreadable'][0]} cannot be opened",
                      "sudo usermod -aG render,video $USER, and log in again")  # fmt: skip


def _streams(told: dict[str, Any]) -> Iterator[Finding]:
    encoding = told["streams"]["stdout"]
    if encoding is not None and encoding.lower().replace("-", "").replace("_", "") not in ("utf8", "cp65001"):
        yield Finding(WARNING, "encoding", f"stdout is {encoding}: other characters become ?", "export PYTHONUTF8=1")


def _variables(told: dict[str, Any]) -> Iterator[Finding]:
    if told["variables"].get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        yield Finding(WARNING, "offline", "HF_HUB_OFFLINE keeps qwill from downloading", "unset HF_HUB_OFFLINE")


_CHECKS = (
    _native, _python, _packages, _processor, _translated, _memory, _pages, _folders, _cards, _threads, _streams,
    _variables,
)  # fmt: skip


def _pip(what: str) -> str:
    return f"pip install {what}"


def _again(what: str) -> str:
    return f"pip install --force-reinstall --no-deps {what}"


def _elsewhere(key: str) -> str:
    variable = {"hub_cache": "HF_HUB_CACHE", "own_cache": "XDG_CACHE_HOME", "temporary": "TMPDIR"}[key]
    return f"set {variable} to a folder elsewhere"
