"""What is no HTTP, or goes on without end before there is a request."""

import json
from threading import Event

import pytest

from qwill.server import protocol
from server.asking import send
from server.raw import connect, exchange, head, post, read_all, status
from server.running import PATIENCE, Running, until


def test_headers_without_end(server: Running) -> None:
    for begun in (b"GET /" + b"a" * 10**6, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10**6,
                  b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 10**5):  # fmt: skip
        said = exchange(server.url, begun)
        assert status(said) in (0, 400)


def test_trailers_and_chunks_without_end(server: Running) -> None:
    begun = head("POST", "/tokenize", "Transfer-Encoding: chunked")
    for rest in (b"0\r\n" + b"a: b\r\n" * 10**5, b"1;" + b"a" * 10**6, b"1;a=b\r\nx\r\n" * 10**5):
        said = exchange(server.url, begun + rest)
        assert status(said) in (0, 400)


def test_a_body_of_tiny_chunks_is_read(server: Running) -> None:
    body = b'{"prompt":"x"}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nX-Trailer: y\r\n\r\n"
    said = exchange(server.url, head("POST", "/tokenize", "Transfer-Encoding: chunked") + chunks)
    assert status(said) == 200
    assert json.loads(said.partition(b"\r\n\r\n")[2])["count"] == 1


def test_a_large_body_is_no_large_head(server: Running) -> None:
    body = json.dumps({"prompt": "x" * 3_000_000}).encode()
    for _ in range(2):
        response = send("POST", f"{server.url}/detokenize", content=body)
        assert response.status_code == 400
    said = exchange(
        server.url,
        post("/detokenize", body).replace(b"Connection: close\r\n", b"") + post("/tokenize", {"prompt": "x"}),
    )
    assert said.count(b"HTTP/1.1 ") == 2  # pipelined behind a large body


def test_requests_that_never_begin(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    for begun in (b"", b"\r\n", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
        with connect(server.url) as connection:
            connection.sendall(begun)
            assert read_all(connection) == b""


def test_later_requests_of_a_connection_that_never_begin(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(server.url) as connection:
        connection.sendall(asked)
        said = connection.recv(65536)
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
        connection.sendall(asked[:7])
        said += read_all(connection)
    assert said.startswith(b"HTTP/1.1 200")
    assert said.count(b"HTTP/1.1 ") == 1


def test_all_requests_of_a_connection_hear_that_it_ended(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    """The one that is answered, too, when others wait behind it."""
    body = {"prompt": "x", "max_tokens": 1000, "ignore_eos": True, "stream": True}
    asked = post("/v1/completions", body).replace(b"Connection: close\r\n", b"")
    with connect(server.url) as connection:
        connection.sendall(asked * 3)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert server.worker.answering == 1
    server.until_idle()
    assert "Exception" not in caplog.text


def test_a_client_that_leaves_within_its_body(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    def left() -> list[str]:
        lines = send("GET", f"{server.url}/metrics").text.splitlines()
        return [line for line in lines if 'route="/detokenize",status="499"' in line and "requests_total" in line]

    assert not left()
    with connect(server.url) as connection:
        connection.sendall(post("/detokenize", {"tokens": [1, 2, 3]})[:-4])
    until(left)
    assert "Exception" not in caplog.text


def test_a_client_that_never_reads(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_SECONDS", 0.2)
    closed, asked, lost = Event(), 200, protocol.Protocol.connection_lost
    with connect(server.url) as connection:
        own = connection.getsockname()

        def connection_lost(self: protocol.Protocol, reason: Exception | None) -> None:
            lost(self, reason)
            if self.client == own:  # others may end meanwhile
                closed.set()

        monkeypatch.setattr(protocol.Protocol, "connection_lost", connection_lost)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * asked)
        assert closed.wait(PATIENCE)
        assert 0 < read_all(connection).count(b"HTTP/1.1 200") < asked  # what the kernel had taken
    assert send("GET", f"{server.url}/health").status_code == 200


@pytest.mark.parametrize(
    "said",
    [b"\0" * 100, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
     b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
     b"CONNECT a.example:80 HTTP/1.1\r\nHost: a\r\n\r\n",
     b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"GET \xff HTTP/1.1\r\n\r\n",
     b"GET /\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\nConnection: close\r\n\r\n"],
)  # fmt: skip
def test_broken_http(server: Running, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, connect(server.url) as connection:
        patch.setattr(protocol, "HEAD_SECONDS", 0.5)
        connection.sendall(said)
        connection.shutdown(1)
        answered = read_all(connection)
    assert status(answered) < 500
    assert send("GET", f"{server.url}/health").status_code == 200
