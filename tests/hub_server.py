"""A small hub on this machine: repositories of made-up files, served as the real one does."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
LARGE = (".gguf", ".safetensors", ".bin", ".dat")  # known by their SHA-256, as files of the hub's large storage


@dataclass
class Hub:
    """`repositories`: files by name, with their bytes. What a client asked for is kept in `requests`."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)  # files of other branches and commits
    commit: str = COMMIT  # of the main branch
    gated: set[str] = field(default_factory=set)
    failing: int | None = None  # answer everything with this status
    failing_files: int | None = None  # answer requests for files so, but not those for descriptions
    headers: dict[str, str] = field(default_factory=dict)  # of such answers
    cut_after: int | None = None  # bytes of a file after which the connection breaks, once
    fail_after_cut: int | None = None  # what becomes of `failing_files` then
    short_by: int = 0  # bytes that a file is said to have less than the description promised
    redirect: bool = False  # files are handed out at another address
    no_ranges: bool = False  # whole files whatever is asked
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    address: str = ""

    def files(self, repository: str, revision: str) -> dict[str, bytes] | None:
        """Those of a branch or commit; None when there is none of that name."""
        for name, files in self.revisions.items():
            if revision in (name, commit_of(name)):
                return files
        return self.repositories.get(repository) if revision in ("", "main", self.commit) else None


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Keeps the test's output clean."""

        def do_GET(self) -> None:
            self._serve(body=True)

        def do_HEAD(self) -> None:
            self._serve(body=False)

        def _serve(self, body: bool) -> None:
            path = unquote(self.path.partition("?")[0])
            hub.requests.append(f"{self.command} {path}")
            if hub.failing is not None:
                self._send(hub.failing, hub.headers, b"", body)
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/(.+?))?/?", path):
                self._describe(match[1], match[2] or "", match[3] or "", body)
            elif match := re.fullmatch(r"/(cdn/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._file(match[2], match[3], match[4], body, bool(match[1]))
            else:
                self._send(404, {}, b"", body)

        def _describe(self, repository: str, what: str, revision: str, body: bool) -> None:
            files = hub.files(repository, revision)
            if repository not in hub.repositories:
                self._send(404, {"X-Error-Code": "RepoNotFound"}, b"{}", body)
            elif files is None:
                self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"{}", body)
            elif what == "tree":
                tree = [_tree_entry(name, data) for name, data in files.items()]
                self._send(200, {"Content-Type": "application/json"}, json.dumps(tree).encode(), body)
            else:
                siblings = [_sibling(name, data) for name, data in files.items()]
                commit = hub.commit if revision in ("", "main") else commit_of(revision)
                answer = json.dumps({"id": repository, "modelId": repository, "sha": commit, "siblings": siblings})
                self._send(200, {"Content-Type": "application/json"}, answer.encode(), body)

        def _file(self, repository: str, revision: str, name: str, body: bool, elsewhere: bool) -> None:
            files = hub.files(repository, revision)
            if repository in hub.gated:
                self._send(403, {"X-Error-Code": "GatedRepo"}, b"", body)
            elif hub.failing_files is not None:
                self._send(hub.failing_files, hub.headers, b"", body)
            elif files is None or name not in files:
                self._send(404, {"X-Error-Code": "EntryNotFound"}, b"", body)
            elif hub.redirect and not elsewhere and name.endswith(LARGE):
                address = f"{hub.address}/cdn{self.path}"
                self._send(302, {"Location": address, **_names(name, files[name], revision)}, b"", body)
            else:
                self._bytes(name, files[name], revision, body)

        def _bytes(self, name: str, data: bytes, revision: str, body: bool) -> None:
            headers = _names(name, data, revision) | {"Accept-Ranges": "bytes"}
            data = data[: len(data) - hub.short_by] if name.endswith(LARGE) else data
            status, start, end = 200, 0, len(data)
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if body and asked and not hub.no_ranges:
                hub.ranges.append(f"{name} {asked[1]}" + (f"-{asked[2]}" if asked[2] else ""))
                start, end = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else end, end)
                status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{len(data)}"
            cut = None
            if body and name.endswith(LARGE) and hub.cut_after is not None:
                cut, hub.cut_after, hub.failing_files = hub.cut_after, None, hub.fail_after_cut
            self._send(status, headers, data[start:end], body, cut)

        def _send(
            self, status: int, headers: dict[str, str], data: bytes, body: bool, cut_after: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data[:cut_after])
            if cut_after is not None:
                self.wfile.flush()
                self.close_connection = True

    return Handler


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def commit_of(revision: str) -> str:
    """The commit that a branch or tag is."""
    return revision if re.fullmatch(r"[0-9a-f]{40}", revision) else hashlib.sha1(revision.encode()).hexdigest()


def _names(name: str, data: bytes, revision: str) -> dict[str, str]:
    """Headers that tell which bytes these are."""
    commit = COMMIT if revision == "main" else commit_of(revision)
    if name.endswith(LARGE):
        return {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
    return {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}


def _tree_entry(name: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    lfs = {"oid": sha256(data), "size": len(data), "pointerSize": 135}
    return entry | ({"lfs": lfs} if name.endswith(LARGE) else {})


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    entry = {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
    lfs = {"sha256": sha256(data), "size": len(data), "pointerSize": 135}
    return entry | ({"lfs": lfs} if name.endswith(LARGE) else {})


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub that runs until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
