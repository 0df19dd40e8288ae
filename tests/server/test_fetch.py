"""Fetching from the web: what is refused before anybody is asked, and what answers may be."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwill.errors import MediaError
from qwill.server import fetch
from qwill.server.fetch import Fetcher, is_public
from qwill.server.settings import Limits

PICTURE = bytes(range(256)) * 3
HERE = ("127.0.0.1",)
REFUSED = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "100.127.255.255", "169.254.169.254", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::8.8.8.8",
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1",
    "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450::5"]


def answer(contents: bytes = PICTURE, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(contents)}")
    return "\r\n".join([*lines, "", ""]).encode() + contents


@dataclass
class Web:
    """A server on this machine: what it was asked, by line and header."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "pictures.example", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def web(answers: Callable[[str], Any], host: str = "127.0.0.1", **more: Any) -> AsyncIterator[Web]:
    """`answers` gives the bytes for a path; if it gives an awaitable, the bytes that come of it."""
    state = Web()
    tasks = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            state.asked.append(head)
            given = answers(head.split()[1])
            writer.write(given if isinstance(given, bytes) else await given)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):  # the client left
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, host, 0, **more)
    state.port = listening.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        listening.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # a connection may only now be taken
            for task in tasks:
                task.cancel()
            await asyncio.wait(others, timeout=0.01)


class Names:
    """A resolver that knows some names, and remembers what it was asked."""

    def __init__(self, known: Mapping[str, Sequence[str]] | None = None) -> None:
        self._known = known
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return HERE if self._known is None else self._known.get(host, ())


def fetcher(
    names: Names | None = None, private: bool = True, trust: ssl.SSLContext | None = None, **limits: Any
) -> Fetcher:
    return Fetcher(Limits(**limits), private, names or Names(), trust)


def refusal(address: str, **more: Any) -> str:
    """Why an address is not fetched, where nobody may be asked."""
    with pytest.raises(MediaError) as caught:
        asyncio.run(fetcher(**more).fetch(address, "image"))
    return str(caught.value)


@pytest.fixture
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*_: Any) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", connect)


def test_contents_come_as_they_are() -> None:
    names = Names()

    async def main() -> None:
        async with web(lambda path: answer(Content_Type="text/html", Set_Cookie="a=b")) as site:
            one = fetcher(names)
            for _ in range(2):
                assert await one.fetch(site.url("/a%20b?c=d#e"), "image") == PICTURE
            for head in site.asked:
                lines = head.lower().splitlines()
                assert lines[0] == "get /a%20b?c=d http/1.1"
                assert f"host: pictures.example:{site.port}" in lines
                assert "accept-encoding: identity" in lines
                assert not any(line.startswith(("cookie:", "authorization:", "referer:")) for line in lines)

    asyncio.run(main())
    assert names.asked == ["pictures.example"] * 2  # once for each fetch: nobody can answer differently the second time


@pytest.mark.parametrize("address", REFUSED)
@pytest.mark.usefixtures("no_connections")
def test_hosts_that_are_not_public(address: str) -> None:
    for addresses in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        names = Names({"inner.example": addresses})
        assert "no public address" in refusal("http://inner.example/secret", names=names, private=False)
        assert names.asked == ["inner.example"]


@pytest.mark.parametrize("address", PUBLIC)
def test_hosts_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.usefixtures("no_connections")
def test_a_host_that_is_not_there_is_told_in_the_same_words() -> None:
    inner, missing = (
        refusal(f"http://{name}/", names=Names({"inner.example": ["10.0.0.1"]}), private=False)
        for name in ("inner.example", "other.example")
    )
    assert missing == inner.replace("inner", "other")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "[::1]", "[::ffff:127.0.0.1]",
     "[::]", "169.254.169.254", "[fe80::1]", "1２7.0.0.1"],
)  # fmt: skip
@pytest.mark.usefixtures("no_connections")
def test_the_machine_itself_however_it_is_spelled(host: str) -> None:
    """Names are resolved as the system does it, which takes many spellings for an address."""
    with pytest.raises(MediaError, match=r"no (public|web) address"):
        asyncio.run(Fetcher(Limits(), private=False).fetch(f"http://{host}:80/", "image"))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://", "only http"), ("http:///x", "only http"), ("https:/x", "only http"),
        ("ftp://a.example/x", "only http"), ("HTTP:\\\\a.example/x", "only http"),
        ("http://user:word@a.example/", "user name"), ("http://user@a.example/", "user name"),
        ("http://a.example:99999/", "no web address"), ("http://a.example:x/", "no web address"),
        ("http://a.example:0/", "no web address"), ("http://a\0b.example/", "no web address"),
        ("http://①/", "no web address"),
        ("http://a.example/" + "x" * 100_000, "no web address"), ("http://\ud800.example/", "no web address"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_connections")
def test_addresses_that_are_none(address: str, reason: str) -> None:
    with pytest.raises(MediaError, match=reason) as caught:
        asyncio.run(fetcher().fetch(address, "video"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_long_names_and_bad_labels_are_no_hosts() -> None:
    """With the system's resolver, which has errors of its own for them."""
    for host in ("a" * 64 + ".example", "a..example", "-", "no-such-name.invalid"):
        with pytest.raises(MediaError, match=r"no (web|public) address"):
            asyncio.run(Fetcher(Limits(), private=True).fetch(f"http://{host}/", "image"))


def test_each_redirect_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1")
    names = Names({"outer.example": HERE, "inner.example": ["10.0.0.7"]})

    async def main() -> None:
        async with web(lambda path: answer(b"a secret", "302 Found", Location="http://inner.example/admin")) as site:
            with pytest.raises(MediaError, match=r"outer.*no public address") as caught:
                await fetcher(names, private=False).fetch(site.url(host="outer.example"), "image")
            assert "inner" not in str(caught.value)
            assert "secret" not in str(caught.value)
            assert len(site.asked) == 1

    asyncio.run(main())
    assert names.asked == ["outer.example", "inner.example"]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects(status: str) -> None:
    async def main(most: int) -> bytes:
        def answers(path: str) -> bytes:
            step = int(path.strip("/"))
            if step == most:
                return answer()
            return answer(b"", status, Location=f"../{step + 1}", Set_Cookie="a=b; Path=/")

        async with web(answers) as site:
            try:
                return await fetcher().fetch(site.url("/0"), "image")
            finally:
                assert len(site.asked) == min(most, 5) + 1
                assert not any("cookie" in head.lower() for head in site.asked)

    assert asyncio.run(main(5)) == PICTURE
    with pytest.raises(MediaError, match="more than 5 times"):
        asyncio.run(main(6))


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "http://[", "http://u:p@a.example/", "\x80"],
)
def test_redirects_to_what_is_not_fetched(target: str) -> None:
    async def main() -> None:
        async with web(lambda path: answer(b"", "302 Found", Location=target)) as site:
            with pytest.raises(MediaError):
                await fetcher().fetch(site.url(), "image")

    asyncio.run(main())


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial", "304 Not Modified", "401 No", "404 No", "500 No"])
def test_answers_that_are_none(status: str) -> None:
    async def main() -> None:
        contents = b"" if status[:3] in ("204", "304") else b"a secret"
        async with web(lambda path: answer(contents, status)) as site:
            with pytest.raises(MediaError, match=f"answers {status[:3]}") as caught:
                await fetcher().fetch(site.url(), "image")
            assert "secret" not in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [b"SSH-2.0-a secret\r\n", b"", b"\0" * 100_000, b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"a" * 500_000, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ntoo short"],
)  # fmt: skip
def test_servers_that_speak_something_else(said: bytes) -> None:
    async def main() -> None:
        async with web(lambda path: said) as site:
            with pytest.raises(MediaError, match="does not answer as web servers do") as caught:
                await fetcher().fetch(site.url(), "image")
            assert "secret" not in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [answer(b"x" * 100, Content_Length=str(10**15)), answer(b"x" * 1001),
     answer(b"3E9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", Transfer_Encoding="chunked"),
     b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001],
)  # fmt: skip
def test_too_much(said: bytes) -> None:
    async def main() -> None:
        async with web(lambda path: said) as site:
            with pytest.raises(MediaError, match="more than 1000 bytes"):
                await fetcher(media_bytes=1000).fetch(site.url(), "image")

    asyncio.run(main())


def test_as_much_as_there_may_be() -> None:
    async def main() -> None:
        async with web(lambda path: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000) as site:
            assert await fetcher(media_bytes=1000).fetch(site.url(), "image") == b"x" * 1000

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_compressed_answers_are_not_unpacked(encoding: str) -> None:
    async def main() -> None:
        async with web(lambda path: answer(Content_Encoding=encoding)) as site:
            with pytest.raises(MediaError, match="compressed"):
                await fetcher().fetch(site.url(), "image")

    asyncio.run(main())


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
def test_servers_that_take_their_time(begun: bytes) -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def slowly() -> bytes:
            await left.wait()
            return begun

        async with web(lambda path: slowly()) as site:
            with pytest.raises(MediaError, match=r"within 0\.2 s"):
                await fetcher(media_seconds=0.2).fetch(site.url(), "image")

    asyncio.run(main())


def test_the_next_address_is_tried() -> None:
    async def main() -> None:
        async with web(lambda path: answer(), host="127.0.0.2") as site:
            names = Names({"pictures.example": ["127.0.0.1", "127.0.0.2"]})
            assert await fetcher(names).fetch(site.url(), "image") == PICTURE

    asyncio.run(main())


def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    test_contents_come_as_they_are()


def test_fetches_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "AT_ONCE", 2)

    async def main() -> None:
        full, active, most = asyncio.Event(), 0, 0

        async def slowly() -> bytes:
            nonlocal active, most
            active += 1
            most = max(most, active)
            if active == 2:
                full.set()
            await full.wait()
            active -= 1
            return answer()

        async with web(lambda path: slowly()) as site:
            one = fetcher()
            found = await asyncio.gather(*(one.fetch(site.url(f"/{index}"), "image") for index in range(7)))
            assert found == [PICTURE] * 7
            assert most == 2

    asyncio.run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for pictures.example, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example", "-keyout", str(file),
        "-out", f"{file}.crt",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


def test_certificates_are_those_of_names_not_of_addresses(certificate: Path) -> None:
    told: list[str | None] = []
    identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    identity.load_cert_chain(certificate)
    identity.sni_callback = lambda connection, name, context: told.append(name)
    trust = ssl.create_default_context(cafile=certificate)

    async def main() -> None:
        async with web(lambda path: answer(), ssl=identity) as site:
            one = fetcher(trust=trust)
            assert await one.fetch(site.url(scheme="https"), "image") == PICTURE
            with pytest.raises(MediaError, match="does not answer"):
                await one.fetch(site.url(scheme="https", host="other.example"), "image")
            with pytest.raises(MediaError, match="does not answer"):
                await fetcher().fetch(site.url(scheme="https"), "image")
            assert len(site.asked) == 1
            assert f"host: pictures.example:{site.port}" in site.asked[0].lower()

    asyncio.run(main())
    assert told == ["pictures.example", "other.example", "pictures.example"]
