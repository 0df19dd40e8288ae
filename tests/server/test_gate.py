"""Whoever asks without being allowed to, too much, too slowly, or nonsense."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from qwill.server.keys import Key, Keys
from qwill.server.settings import Settings
from server.asking import send
from server.guards import KEY, KEYED, PAGE, SECRET, application, ask, check_refusal, gated, guarded_server
from server.raw import exchange, head, status
from server.running import Running, until

RIGHT = [KEY, {"authorization": f"bearer  {SECRET}"}, {"X-API-Key": SECRET},
         {"x-api-key": SECRET, "Authorization": "Basic dTpw"}]  # fmt: skip
WRONG: list[dict[str, str]] = [
    {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"X-API-Key": ""},
    {"Authorization": SECRET}, {"Authorization": f"Basic {SECRET}"}, {"Authorization": f"Bearer {SECRET}x"},
    {"Authorization": f"Bearer {SECRET.upper()}"}, {"Authorization": f"Bearer x, Bearer {SECRET}"},
    {"X-API-Key": "none"}, {"X-API-Key": "\xff"}, {"Authorization": "Bearer wrong", "X-API-Key": SECRET},
    {"Cookie": f"key={SECRET}"}, {"api-key": SECRET},
]  # fmt: skip


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    with guarded_server() as started:
        yield started


# Keys


def test_there_is_something_to_guard() -> None:
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/metrics", "/tokenize"} <= {
        path for _, path in KEYED
    }


@pytest.mark.parametrize(("method", "path"), KEYED)
def test_no_route_is_open_without_the_key(method: str, path: str) -> None:
    guarded = application(keys=Keys.of([SECRET])).asgi
    for headers in WRONG:
        response = ask(guarded, method, path, headers=[(k.encode(), v.encode("latin-1")) for k, v in headers.items()])
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert SECRET not in check_refusal(path, response)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/no/such/path", "/x//", "/health/", "/web", "/%77eb", "/%2e/health"]
)
def test_no_method_or_spelling_is_open_without_the_key(method: str, path: str) -> None:
    assert ask(application(keys=Keys.of([SECRET])).asgi, method, path).status_code == 401


@pytest.mark.parametrize("headers", RIGHT)
def test_both_headers_carry_the_key(guarded: Running, headers: dict[str, str]) -> None:
    for path in ("/v1/models", "/openapi.json", "/metrics"):
        assert send("GET", guarded.url + path, headers=headers).status_code == 200
    body = {"messages": [{"role": "user", "content": "Hi!"}], "max_tokens": 1}
    assert send("POST", f"{guarded.url}/v1/chat/completions", json=body, headers=headers).status_code == 200


def test_what_is_open(guarded: Running) -> None:
    for path in ("/health", "/ready"):
        assert send("GET", guarded.url + path).status_code == 200
        assert send("GET", guarded.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 200
    for path in (
        "/",
        "/web/x",
        "/web/../v1/models",
        "/web/%2e%2e/openapi.json",
        "/web/..%2f..%2fetc/passwd",
        "/web/%00",
    ):
        said = exchange(guarded.url, head("GET", path))
        assert status(said) in (200, 404)
        assert b"demo" not in said
        assert b'"openapi"' not in said
        assert b"root:" not in said


def test_keys_are_not_logged(guarded: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    send("GET", f"{guarded.url}/v1/models?key={SECRET}", headers=KEY)
    send("GET", f"{guarded.url}/v1/models", headers={"X-API-Key": "wrong" + SECRET})
    until(lambda: len([record for record in caplog.records if record.message == "request"]) == 2)
    assert not any(SECRET in repr(vars(record)) for record in caplog.records)


def test_how_often_a_key_may_ask() -> None:
    now = 0.0
    key = Key("often", hashlib.sha256(SECRET.encode()).digest(), requests_per_minute=2)
    gate = gated(Settings(keys=Keys([key], lambda: now)))
    for _ in range(2):
        assert ask(gate, "GET", "/v1/models", headers=KEY).status_code == 200
    now = 12.5
    for path in ("/v1/models", "/api/tags", "/v1/messages"):
        refused = ask(gate, "GET", path, headers=KEY)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "48"
        check_refusal(path, refused)
    assert ask(gate, "GET", "/health", headers=KEY).status_code == 200  # is not counted
    now = 60.0
    assert ask(gate, "GET", "/v1/models", headers=KEY).status_code == 200


def test_how_much_a_key_may_ask_at_a_time() -> None:
    key = Key("much", hashlib.sha256(SECRET.encode()).digest(), concurrent_requests=1)
    other = Key("other", hashlib.sha256(b"other").digest())

    async def main() -> None:
        begun, end = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/slow":
                begun.set()
                await end.wait()
            if scope["path"] == "/broken":
                raise RuntimeError("a secret")
            await PlainTextResponse("yes")(scope, receive, send)

        gate = gated(Settings(keys=Keys([key, other])), app)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as client:
            slow = asyncio.create_task(client.get("/slow", headers=KEY))
            await begun.wait()
            refused = await client.get("/", params={"a": 1}, headers=KEY)
            assert refused.status_code == 200  # the page is not counted
            refused = await client.get("/v1/models", headers=KEY)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert (await client.get("/v1/models", headers={"X-API-Key": "other"})).status_code == 200
            end.set()
            assert (await slow).status_code == 200
            for _ in range(3):  # a request that fails ends, too
                assert (await client.get("/broken", headers=KEY)).status_code == 500
            assert (await client.get("/v1/models", headers=KEY)).status_code == 200
        assert key.running == other.running == 0

    asyncio.run(main())


# Where it is asked from


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True), ("LOCALHOST:8080", True), ("127.0.0.1:1", True), ("[::1]:8080", True), ("[::1]", True),
        ("box.example", True), ("Box.Example:99", True),
        ("evil.example", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example:8080", False),
        ("localhost:8080@evil.example", False), ("", False), ("localhost:", False), ("localhost:80:80", False),
        ("127.0.0.2", False), ("0.0.0.0", False), ("::1", False), ("evil.example:localhost", False),
    ],
)  # fmt: skip
def test_hosts_on_loopback(host: str, allowed: bool) -> None:
    gate = gated(Settings(hosts=("Box.example",)))
    response = ask(gate, "GET", "/v1/models", headers={"Host": host})
    assert response.status_code == (200 if allowed else 403)
    if not allowed:
        assert "--allow-host" in check_refusal("/v1/models", response)


@pytest.mark.parametrize(("host", "status"), [("127.0.0.2:8080", 200), ("localhost", 200), ("evil.example", 403)])
def test_another_address_of_loopback(host: str, status: int) -> None:
    assert ask(gated(Settings(host="127.0.0.2")), "GET", "/v1/models", headers={"Host": host}).status_code == status


def test_a_request_without_a_host_is_refused(server: Running) -> None:
    said = exchange(server.url, b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert said.startswith((b"HTTP/1.1 403", b"HTTP/1.0 403"))


def test_hosts_are_not_checked_where_the_server_has_other_names() -> None:
    assert ask(gated(Settings(host="0.0.0.0")), "GET", "/v1/models", headers={"Host": "box.example"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8080", True), ("HTTP://127.0.0.1:8080", True), (PAGE, True),
        ("http://127.0.0.1:8081", False), ("http://127.0.0.1", False), ("null", False), ("", False),
        ("http://[", False),
        (f"{PAGE}.evil.example", False), (f"{PAGE}/", False), ("http://page.example", False), ("127.0.0.1:8080", False),
        ("https://evil.example", False), ("*", False), ("file://", False),
    ],
)  # fmt: skip
def test_pages_of_other_origins(origin: str, allowed: bool) -> None:
    for app in (gated(Settings(origins=(PAGE,))), gated(Settings(origins=(PAGE,), host="0.0.0.0"))):
        response = ask(app, "POST", "/v1/models", headers={"Origin": origin}, json={})
        assert response.status_code == (200 if allowed else 403)
        assert response.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "access-control-allow-credentials" not in response.headers


def test_an_origin_is_not_a_missing_host() -> None:
    """`null` has no host, and HTTP/1.0 needs to name none."""
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": [(b"origin", b"null")]}
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(gated(Settings(host="0.0.0.0"))(scope, receive, send))
    assert said[0]["status"] == 403


def test_all_origins() -> None:
    for origin in ("https://any.example", "null"):
        response = ask(gated(Settings(origins=("*",))), "GET", "/v1/models", headers={"Origin": origin})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin
        assert "origin" in response.headers["vary"].lower()


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-stainless-os"}


def test_preflights_of_allowed_pages(guarded: Running) -> None:
    allowed = send("OPTIONS", f"{guarded.url}/v1/chat/completions", headers={"Origin": PAGE, **PREFLIGHT})
    assert allowed.status_code == 204
    assert allowed.content == b""
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert allowed.headers["access-control-allow-headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    refused = send("OPTIONS", f"{guarded.url}/v1/models", headers={"Origin": "https://evil.example", **PREFLIGHT})
    assert refused.status_code == 403
    assert not any(name.startswith("access-control") for name in refused.headers)
    plain = send("OPTIONS", f"{guarded.url}/v1/models", headers={"Origin": PAGE})
    assert plain.status_code == 401  # no preflight, so a request like others


def test_an_allowed_page_reads_answers_and_refusals(guarded: Running) -> None:
    for headers, expected in ((KEY, 200), ({}, 401)):
        response = send("GET", f"{guarded.url}/v1/models", headers={"Origin": PAGE, **headers})
        assert response.status_code == expected
        assert response.headers["access-control-allow-origin"] == PAGE
        assert "x-request-id" in response.headers["access-control-expose-headers"]
        assert "origin" in response.headers["vary"].lower()


def test_no_page_may_ask_where_none_is_named(server: Running) -> None:
    response = send("OPTIONS", f"{server.url}/v1/models", headers={"Origin": PAGE, **PREFLIGHT})
    assert response.status_code == 403
    assert not any(name.startswith("access-control") for name in response.headers)
    own = send("GET", f"{server.url}/v1/models", headers={"Origin": server.url})
    assert own.status_code == 200
    assert not any(name.startswith("access-control") for name in own.headers)


def test_what_nobody_foresaw_is_told_without_details(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(server.application.models, "find", broken)
    for path in ("/v1/chat/completions", "/tokenize"):
        body = {"messages": [{"role": "user", "content": "x"}]}
        response = send("POST", server.url + path, json=body)
        assert response.status_code == 500
        assert "secret" not in check_refusal(path, response)
        assert response.headers["x-request-id"]
    assert "a secret" in caplog.text


# The end


def test_draining() -> None:
    stopping = application()
    stopping.drain()
    for method, path in KEYED:
        response = ask(stopping.asgi, method, path, json={})
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert "shutting down" in check_refusal(path, response)
    assert ask(stopping.asgi, "GET", "/health").status_code == 200
    assert ask(stopping.asgi, "GET", "/v1/models", headers={"Host": "evil.example"}).status_code == 403
