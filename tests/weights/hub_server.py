"""A small hub on this machine: repositories of made-up files, served as the real one does."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


@dataclass
class Hub:
    """`repositories`: files by name, with their bytes. What a client asked for is kept in `requests`."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    failing: int | None = None  # answer everything with this status
    cut_after: int | None = None  # bytes of a file after which the connection breaks, once
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    address: str = ""


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
            path = self.path.partition("?")[0]
            hub.requests.append(f"{self.command} {path}")
            if hub.failing is not None:
                self._send(hub.failing, {}, b"", body)
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(/revision/[^/]+|/tree/.+)?", path):
                self._describe(match[1], match[2] or "", body)
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
                self._file(match[1], match[2], body)
            else:
                self._send(404, {}, b"", body)

        def _describe(self, repository: str, what: str, body: bool) -> None:
            files = hub.repositories.get(repository)
            if files is None:
                self._send(404, {"X-Error-Code": "RepoNotFound"}, b"{}", body)
            elif what.startswith("/tree"):
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in files.items()
                ]
                self._send(200, {"Content-Type": "application/json"}, json.dumps(tree).encode(), body)
            else:
                siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                answer = json.dumps({"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings})
                self._send(200, {"Content-Type": "application/json"}, answer.encode(), body)

        def _file(self, repository: str, name: str, body: bool) -> None:
            data = hub.repositories[repository][name]
            if repository in hub.gated:
                self._send(403, {"X-Error-Code": "GatedRepo"}, b"", body)
                return
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{name}-{len(data)}"', "Accept-Ranges": "bytes"}
            status, start = 200, 0
            if body and (asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
                hub.ranges.append(f"{name} {asked[1]}")
                start = int(asked[1])
                status, headers["Content-Range"] = 206, f"bytes {start}-{len(data) - 1}/{len(data)}"
            cut, hub.cut_after = (
                (hub.cut_after, None) if body and name.endswith(".safetensors") else (None, hub.cut_after)
            )
            self._send(status, headers, data[start:], body, cut)

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
