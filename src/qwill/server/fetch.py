"""Fetching images and videos from the web, and from nowhere else.

Whoever can make a server fetch could make it ask what only the server reaches: the machine itself, its network, the
metadata of a cloud. So every host is resolved once, all its addresses are checked, and the connection goes to a checked
address, not to a name that may have another one by then. Each redirect is a new host and is checked like the first.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from socket import SOCK_STREAM

import httpx

from qwill import __version__
from qwill.errors import MediaError
from qwill.server.settings import Limits

AT_ONCE = 32  # fetches of all requests
REDIRECTS = 5
CONNECT_SECONDS = 5.0  # before the host's next address is tried
HIGHEST_PORT = 65_535
SHOWN = 200  # characters of an address in a message
REDIRECTING = (301, 302, 303, 307, 308)
# Connections are not kept: one that was opened for a name must not serve another name on the same address.
ONE_USE = httpx.Limits(max_keepalive_connections=0)

# IPv6 that is in use: global unicast, without what leads to IPv4 by other ways (6to4, Teredo) and examples' addresses.
# NAT64, mapped and compatible forms of IPv4 addresses lie outside of it.
GLOBAL_IPV6 = ip_network("2000::/3")
NOT_GLOBAL_IPV6 = [ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
# Beside those that Python knows as private in all its versions: protocol assignments, relays of 6to4.
NOT_GLOBAL_IPV4 = [ip_network(text) for text in ("192.0.0.0/24", "192.88.99.0/24")]

Resolve = Callable[[str], Awaitable[Sequence[str]]]


class Fetcher:
    """Fetches for all requests of a server. `private`: from any address, not only public ones."""

    def __init__(
        self, limits: Limits, private: bool, resolve: Resolve | None = None, trust: ssl.SSLContext | None = None
    ) -> None:
        """`resolve` gives the IP addresses of a host; `trust` says whose certificates are good, else the web's are."""
        self._limits = limits
        self._private = private
        self._resolve = resolve or _resolve
        self._given_trust = trust
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, address: str, kind: str) -> bytes:
        """What is at an http: or https: address. Raises MediaError, which tells nothing of what was found instead."""
        try:
            async with asyncio.timeout(self._limits.media_seconds), self._slots:
                return await self._follow(address)
        except TimeoutError:
            reason = f"it does not come within {self._limits.media_seconds:g} s"
        except _Unfetched as error:
            reason = str(error)
        except (httpx.InvalidURL, ValueError):  # ValueError: of Python's own parts for addresses
            reason = "that is no web address"
        except (httpx.HTTPError, OSError):
            reason = "its server does not answer as web servers do"
        shown = address if len(address) <= SHOWN else f"{address[:SHOWN]}…"
        raise MediaError(f"the {kind} at {shown} cannot be fetched: {reason}")

    async def _follow(self, address: str) -> bytes:
        url = httpx.URL(address)
        for _ in range(1 + REDIRECTS):
            async with self._get(url) as response:
                if response.status_code not in REDIRECTING or "location" not in response.headers:
                    return await self._contents(response)
                url = url.join(response.headers["location"])
        raise _Unfetched(f"it is redirected more than {REDIRECTS} times")

    @asynccontextmanager
    async def _get(self, url: httpx.URL) -> AsyncIterator[httpx.Response]:
        """The response, its body not read yet. The bare transport knows no proxies, cookies, passwords or redirects."""
        addresses = await self._addresses(url)
        async with httpx.AsyncHTTPTransport(self._trust, trust_env=False, limits=ONE_USE) as transport:
            response = await _connected(transport, url, addresses)
            try:
                yield response
            finally:
                await response.aclose()

    async def _addresses(self, url: httpx.URL) -> Sequence[str]:
        """Where to connect to. Raises _Unfetched."""
        if url.scheme not in ("http", "https") or not url.host:
            raise _Unfetched("only http: and https: addresses are fetched")
        if url.port is not None and not 0 < url.port <= HIGHEST_PORT:
            raise _Unfetched("that is no web address")
        if url.userinfo:
            raise _Unfetched("it has a user name in its address; leave that out")
        addresses = await self._resolve(url.raw_host.decode("ascii"))
        # The same words for a host that is not there as for one that may not be asked.
        if not addresses or not (self._private or all(is_public(address) for address in addresses)):
            raise _Unfetched("its host has no public address")
        return addresses

    async def _contents(self, response: httpx.Response) -> bytes:
        if response.status_code != 200:
            raise _Unfetched(f"its server answers {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Unfetched("its server sends it compressed, which was not asked for")
        most = self._limits.media_bytes
        stated = response.headers.get("content-length", "")
        contents = bytearray()
        too_large = stated.isdecimal() and int(stated) > most
        if not too_large:
            async for piece in response.aiter_raw():
                contents += piece
                too_large = len(contents) > most
                if too_large:
                    break
        if too_large:
            raise _Unfetched(f"it has more than {most} bytes")
        return bytes(contents)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return self._given_trust or httpx.create_ssl_context(trust_env=False)


class _Unfetched(Exception):
    """Why nothing was fetched, as the user reads it."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open web's."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in network for network in NOT_GLOBAL_IPV4)
    assert isinstance(ip, IPv6Address)
    return ip in GLOBAL_IPV6 and ip.is_global and not any(ip in network for network in NOT_GLOBAL_IPV6)


async def _connected(transport: httpx.AsyncHTTPTransport, url: httpx.URL, addresses: Sequence[str]) -> httpx.Response:
    """The answer of the first of the addresses that can be connected to."""
    headers = {
        "Host": url.netloc.decode("ascii"),
        "User-Agent": f"qwill/{__version__}",
        "Accept": "image/*, video/*, */*;q=0.5",
        "Accept-Encoding": "identity",
    }
    extensions = {"timeout": {"connect": CONNECT_SECONDS}, "sni_hostname": url.raw_host.decode("ascii")}
    failure: Exception | None = None
    for address in addresses:
        request = httpx.Request("GET", url.copy_with(host=address), headers=headers, extensions=extensions)
        try:
            return await transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = error
    assert failure is not None
    raise failure


async def _resolve(host: str) -> list[str]:
    """All addresses of a host in the order of preference; none for one that is not there."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a name that no host can have
        return []
    return list(dict.fromkeys(str(place[0]) for *_, place in found))
