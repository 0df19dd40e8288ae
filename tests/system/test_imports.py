"""Every module is imported where there is nothing that Windows lacks."""

import subprocess
import sys

# Faked, since the platform is: what other packages need of the real one is imported before.
PROGRAM = """
import asyncio, importlib, mmap, os, pkgutil, signal, socket, sys
import av, fastapi, httptools, httpx, huggingface_hub.file_download, jinja2.sandbox, llguidance, numpy, PIL.ImageOps
import prometheus_client, rich.console, rich.progress, tokenizers, uvicorn.protocols.http.httptools_impl

sys.platform = "win32"
for module in "fcntl termios tty pty readline resource uvloop pwd grp posix syslog crypt".split():
    sys.modules[module] = None
for home, names in {
    os: "sched_getaffinity sched_setaffinity sysconf uname getuid geteuid getpgid fork forkpty killpg O_DIRECT "
    "O_NONBLOCK O_NOFOLLOW posix_fadvise readv preadv pread pwrite sendfile statvfs fchmod fchown chown",
    signal: "SIGALRM SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGPIPE SIGCHLD SIGKILL setitimer ITIMER_REAL pthread_kill "
    "pthread_sigmask pause alarm",
    mmap: "MADV_DONTNEED MADV_WILLNEED MADV_SEQUENTIAL MADV_HUGEPAGE MAP_PRIVATE MAP_SHARED PROT_READ PROT_WRITE",
    socket: "AF_UNIX SO_REUSEPORT",
}.items():
    for name in names.split():
        if hasattr(home, name):
            delattr(home, name)

import qwill

count = 0
for found in pkgutil.walk_packages(qwill.__path__, "qwill.", onerror=lambda name: sys.exit(name)):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
        count += 1
print(count)
"""


def test_nothing_is_imported_that_windows_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 300
