"""Whether a compiler works: a small library is compiled and linked, with flags of the kinds that ours are."""

import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_SOURCE = """\
#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

static_assert(__cplusplus >= 201703L, "C++17");
inline std::atomic<int> count{0};
template <class T> std::optional<T> twice(T value) {
  if constexpr (sizeof(T) > 1) return value + value;
  return std::nullopt;
}
__attribute__((visibility("default"))) std::string probe(std::string_view text) {
  std::vector<std::thread> threads;
  threads.emplace_back([] { count += twice(1).value_or(0); });
  for (std::thread& thread : threads) thread.join();
  return std::string(text) + std::to_string(count);
}
"""
_FLAGS = ["-std=gnu++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-Wall"]

# The newest instructions that a kernel is compiled for; a compiler that knows them knows the others.
_NEWEST = {
    "x86_64": ["-mavx512bf16"],
    "aarch64": ["-march=armv8.2-a+dotprod+i8mm"],
    "arm64": ["-march=armv8.2-a+dotprod+i8mm"],
}
_SECONDS = 300

# What compilers and linkers say of an error itself, not of the file that it was included from or of giving up after it.
_TELLS = re.compile(r"error:(?! ld returned)|cannot find|undefined", re.IGNORECASE)


def failure(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """None where the compiler `command` works, else what is wrong with it, in one line. CXXFLAGS and LDFLAGS hold as
    they do in the build."""
    machine, wrong = _run([*command, "-dumpmachine"], None, environment)
    flags = [*shlex.split(environment.get("CXXFLAGS", "")), *_FLAGS]
    if wrong is None:
        flags += _NEWEST.get(machine.partition("-")[0], [])
    with tempfile.TemporaryDirectory(prefix="qwill-probe-") as folder:
        Path(folder, "probe.cpp").write_text(_SOURCE, encoding="utf-8")
        link = ["-shared", "-pthread", *shlex.split(environment.get("LDFLAGS", ""))]
        for step, made in (
            (["-c", "probe.cpp", "-o", "probe.o", *flags], "probe.o"),
            (["probe.o", "-o", "probe.so", *link], "probe.so"),
        ):
            _, wrong = _run([*command, *step], folder, environment)
            if wrong is not None:
                return wrong
            if not Path(folder, made).exists():
                return "it makes no file"
    return None


def _run(command: Sequence[str], folder: str | None, environment: Mapping[str, str]) -> tuple[str, str | None]:
    """What the command prints, and what is wrong where it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            encoding="utf-8", errors="replace", timeout=_SECONDS,
        )  # fmt: skip
    except FileNotFoundError:
        return "", "there is no such program"
    except OSError as error:
        return "", f"it does not start ({error.strerror})"
    except subprocess.TimeoutExpired:
        return "", f"it gives no answer in {_SECONDS} seconds"
    if done.returncode == 0:
        return done.stdout, None
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    telling = [line for line in lines if _TELLS.search(line)] or lines
    return done.stdout, telling[0] if telling else f"it ends with code {done.returncode}"
