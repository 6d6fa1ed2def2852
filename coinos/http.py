"""The one guarded fetcher: whatever we fetch from the outside is fetched here (P10).

A URL that a user gives us is an attempt to make this machine talk to somebody else.
So a name is looked up once per connection, every address it has must be public, and the socket
is opened to one of those checked addresses; TLS and `Host` still speak the name. Nothing is
redirected, decompressed, or taken from the environment, and a request ends after its total
time however slowly the other side drips.

Built on httpcore, the transport under httpx: it has the hook where a connection is opened, and
none of the conveniences (redirects, proxies, cookies, netrc) that would have to be switched off.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import httpcore
import httpx
from django.conf import settings
from django.utils.translation import gettext_noop as _

from coinos import limits
from coinos.db import let_go_of_connection
from coinos.errors import Busy, CoinosError
from coinos.places import Places

KindName = Literal["webhook", "lnurl", "avatar", "rates"]


@dataclass(frozen=True)
class Kind:
    """What one sort of URL may do. The address rules are the same for all that users give us."""

    timeout_s: float = 10
    first_byte_s: float | None = None
    """When the head of the answer must be there; by default `timeout_s`."""
    any_port: bool = False
    """Plain http and ports other than 443 are accepted too."""
    keep_long_answers: bool = False
    """A too long answer is cut; otherwise it is a failure."""
    ours: bool = False
    """The URL is written in our own source, so any address will do."""


KINDS: dict[KindName, Kind] = {
    "webhook": Kind(timeout_s=20, first_byte_s=10, any_port=True, keep_long_answers=True),
    "lnurl": Kind(),
    "avatar": Kind(),
    "rates": Kind(ours=True, any_port=True),
}

ASKING_OTHERS_S = 10.0
"""For all that one request asks others, who may be slow on purpose."""

CONNECT_S = 5.0
DNS_S = 3.0
MAX_BYTES = 64 * 1024
MAX_URL_LENGTH = 2048
MAX_ADDRESSES_TRIED = 4
WRITE_BYTES = 4096

# A host name as DNS knows it. Its last label may not look like a number in any base: those are
# addresses in disguise (0, 127.1, 2130706433, 0x7f000001, 017700000001).
HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# Global unicast is the only IPv6 range that can be public: IPv4-mapped addresses and NAT64 lie
# outside it. Of what is inside, these embed other addresses or are reserved; `is_global` alone
# lets several of them pass.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NEVER_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class FetchFailed(CoinosError):
    """The other side could not be reached or did not answer properly. Trying later may help."""

    status = 503
    code = "fetch_failed"
    title = _("The other server did not answer")
    message = _("The other server did not answer")
    permanent = False


class TookTooLong(FetchFailed):
    """The other side did not answer within the time that the request had."""


class AnswerTooLong(FetchFailed):
    """The other side answered with more than is read."""


class UrlRefused(FetchFailed):
    """We do not go there, now or later. `field` names the input, when the caller set it."""

    status = 400
    code = "invalid_request"
    title = _("URL refused")
    message = _("This URL is refused")
    permanent = True


@dataclass(frozen=True)
class Response:
    """An answer of any status, 3xx included: nothing is followed. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, numbers with a point as Decimal. Raises FetchFailed."""
        try:
            return json.loads(self.body, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise FetchFailed(_("The other server did not answer with JSON")) from error


def fetch(
    url: str,
    *,
    kind: KindName,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    max_bytes: int = MAX_BYTES,
) -> Response:
    """One request, on a kept-alive connection if there is one; returns within `timeout_s`.

    `timeout_s` is the total, lookup and TLS included (default: that of the kind). Never inside
    a transaction. Raises UrlRefused (permanent) and FetchFailed (temporary; whether the other
    side saw the request is unknown).
    """
    return fetcher(kind).fetch(
        url,
        method=method,
        body=body,
        headers=headers,
        timeout_s=timeout_s,
        max_bytes=max_bytes,
    )


def check_url(url: str, *, kind: KindName, field: str | None = None) -> None:
    """Refuse at input what `fetch` would refuse; a name that cannot be resolved now may pass.

    This is for a good error message only: `fetch` checks again when it connects. May wait `DNS_S`
    for the name, so not inside a transaction; while many do, a name passes unchecked. Raises
    UrlRefused with `field`.
    """
    try:
        target = _parse(url, KINDS[kind])
        let_go_of_connection()
        with _checking_names.take() if _literal(target.host) is None else nullcontext():
            _checked_addresses(target.host, target.port, KINDS[kind], time.monotonic() + DNS_S)
    except UrlRefused as refusal:
        refusal.field = field
        raise
    except (httpcore.ConnectError, httpcore.TimeoutException, Busy):
        pass


@contextmanager
def asking_others(by: Hashable) -> Iterator[float]:
    """A place among the requests that wait for somebody outside, for the user `by`; and the moment
    of time.monotonic() by which all that is asked within the block is over.

    Look first whether the user may do what this is for. Raises `Busy` and `RateLimited`, at
    once."""
    with for_look_ups.take(by):
        yield time.monotonic() + ASKING_OTHERS_S


for_look_ups = Places(limits.LOOK_UPS.at_most, each=limits.LOOK_UPS_OF_USER.at_most)
_checking_names = Places(limits.NAMES_CHECKED.at_most)


@functools.cache
def fetcher(kind: KindName) -> Fetcher:
    """This process's fetcher for `kind`. Each kind has its own: slow webhooks delay no LNURL."""
    return Fetcher(kind)


# A forked worker must not share its parent's connections.
os.register_at_fork(after_in_child=fetcher.cache_clear)


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Whom we believe who a server is: read once, it takes 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


class Fetcher:
    """Fetches URLs of one kind and keeps connections open between requests; thread-safe.

    `before_connecting` is told the address, and may refuse it by raising a `FetchFailed`."""

    def __init__(
        self,
        kind: KindName,
        *,
        ssl_context: ssl.SSLContext | None = None,
        before_connecting: Callable[[str], None] = lambda address: None,
    ) -> None:
        self.kind = KINDS[kind]
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context or _authorities(),
            max_connections=200,
            max_keepalive_connections=50,
            keepalive_expiry=30,
            network_backend=_CheckedBackend(self.kind, before_connecting),
        )

    def close(self) -> None:
        self._pool.close()

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Response:
        """See the function `fetch`."""
        target = _parse(url, self.kind)
        let_go_of_connection()
        total_s = timeout_s or self.kind.timeout_s
        started = time.monotonic()
        # httpcore hands these to our backend and streams as they are. There they are moments,
        # not durations: a duration per read would let a slow drip go on for ever.
        deadline = started + total_s
        first_byte_s = min(self.kind.first_byte_s or total_s, total_s)
        timeouts = {
            "pool": total_s,
            "connect": min(started + CONNECT_S, deadline),
            "read": started + first_byte_s,
            "write": started + first_byte_s,
        }
        sent_headers = {name.lower(): value for name, value in (headers or {}).items()} | {
            "host": target.host_header,
            "user-agent": "coinos",
            "accept-encoding": "identity",
        }
        if body is not None:
            sent_headers["content-length"] = str(len(body))
        request = httpcore.Request(
            method,
            httpcore.URL(
                scheme=target.scheme, host=target.host, port=target.port, target=target.path
            ),
            headers=[(name.encode(), value.encode()) for name, value in sent_headers.items()],
            content=body,
            extensions={"timeout": timeouts},
        )
        try:
            return self._send(request, max_bytes, body_until=deadline)
        except httpcore.TimeoutException as error:
            waited_s = first_byte_s if time.monotonic() < deadline else total_s
            raise TookTooLong(f"The other server did not answer within {waited_s:g} s") from error
        except httpcore.ConnectError as error:
            why = re.sub(r"^\[Errno -?\d+\] ", "", str(error))  # people read it, on /webhooks
            raise FetchFailed(f"No connection to the other server: {why}") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise FetchFailed(_("The other server broke the connection")) from error

    def _send(self, request: httpcore.Request, max_bytes: int, body_until: float) -> Response:
        response = self._pool.handle_request(request)
        request.extensions["timeout"]["read"] = body_until  # which the stream below goes by
        body = bytearray()
        try:
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > max_bytes:
                    break
        finally:
            response.close()
        if len(body) > max_bytes and not self.kind.keep_long_answers:
            raise AnswerTooLong(f"The other server answered with more than {max_bytes} bytes")
        return Response(
            status=response.status,
            headers={
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            },
            body=bytes(body[:max_bytes]),
            cut=len(body) > max_bytes,
        )


@dataclass(frozen=True)
class _Target:
    scheme: str
    host: str
    port: int
    path: bytes

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default_port = 443 if self.scheme == "https" else 80
        return host if self.port == default_port else f"{host}:{self.port}"


def _parse(url: str, kind: Kind) -> _Target:
    """The parts we will use, so that no second parser can see another host. Raises UrlRefused."""
    if not isinstance(url, str) or len(url) > MAX_URL_LENGTH or "\\" in url:
        raise UrlRefused(_("This is not a URL"))
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").removesuffix(".")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UrlRefused(_("This is not a URL")) from error
    if parsed.scheme not in ("http", "https") or not host:
        if kind.any_port:
            raise UrlRefused(_("The URL must begin with https:// or http://"))
        raise UrlRefused(_("The URL must begin with https://"))
    if parsed.userinfo:
        raise UrlRefused(_("The URL may not contain a user name or password"))
    if not _is_plain_host(host):
        raise UrlRefused(_("The host of the URL is neither a name nor a plain address"))
    if host.endswith(".onion"):
        raise UrlRefused(_("Onion services cannot be reached"))
    port = parsed.port if parsed.port is not None else 443 if parsed.scheme == "https" else 80
    if not 1 <= port <= 65535 or (parsed.scheme == "http" and port == 443):
        raise UrlRefused(_("The port of the URL is not valid"))
    # A developer's own network (ALLOW_PRIVATE_URLS, never on mainnet) is asked when connecting.
    if (parsed.scheme, port) != ("https", 443) and not (kind.any_port or _private_allowed()):
        raise UrlRefused(_("The URL must begin with https:// and use port 443"))
    return _Target(scheme=parsed.scheme, host=host, port=port, path=parsed.raw_path)


def _is_plain_host(host: str) -> bool:
    if ":" in host:
        return _literal(host) is not None
    if HOST_NAME.fullmatch(host) is None:
        return False
    return not NUMBER.fullmatch(host.rsplit(".", 1)[-1]) or _literal(host) is not None


def _literal(host: str) -> IPAddress | None:
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def lookup(host: str) -> list[str]:
    """Every address of `host`, by the system's resolver. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _checked_addresses(host: str, port: int, kind: Kind, deadline: float) -> list[str]:
    """The addresses of `host`, looked up once, when all of them may be connected to.

    Raises UrlRefused, httpcore.ConnectError, httpcore.ConnectTimeout.
    """
    addresses = [host] if _literal(host) else _look_up_until(deadline, host)
    if not kind.ours:
        for address in addresses:
            _check_address(ipaddress.ip_address(address), port, kind)
    return addresses


def _look_up_until(deadline: float, host: str) -> list[str]:
    """`lookup` in a thread of its own, because the system's resolver has no timeout."""
    answer: Future[list[str]] = Future()

    def look_up() -> None:
        try:
            answer.set_result(lookup(host))
        except Exception as error:  # the waiting side raises it
            answer.set_exception(error)

    threading.Thread(target=look_up, daemon=True, name="lookup").start()
    try:
        return answer.result(_seconds_left(deadline))
    except TimeoutError as error:
        raise httpcore.ConnectTimeout("the name could not be looked up in time") from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("the name cannot be found") from error


def _check_address(address: IPAddress, port: int, kind: Kind) -> None:
    """Raises UrlRefused unless `address` is public, or the operator's own and allowed by name."""
    if _in(address, _private_allowed()):
        return
    if not _is_public(address) or _in(address, settings.OWN_ADDRESSES):
        raise UrlRefused(_("URLs to private networks are refused"))
    if port != 443 and not kind.any_port:
        raise UrlRefused(_("The URL must begin with https:// and use port 443"))


def _is_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not _in(address, NEVER_PUBLIC)


def _in(
    address: IPAddress, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    return any(address in network for network in networks)


def _private_allowed() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return settings.ALLOW_PRIVATE_URLS


def _seconds_left(deadline: float | None) -> float:
    if deadline is None:
        raise ValueError("every wait has a deadline")
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ConnectTimeout("out of time")
    return left


class _CheckedBackend(httpcore.NetworkBackend):
    """Opens connections, to checked addresses only. `timeout` is a moment of time.monotonic()."""

    def __init__(self, kind: Kind, before_connecting: Callable[[str], None]) -> None:
        self.kind = kind
        self._before_connecting = before_connecting
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        deadline = timeout or time.monotonic() + CONNECT_S
        addresses = _checked_addresses(host, port, self.kind, deadline)[:MAX_ADDRESSES_TRIED]
        failure: Exception = httpcore.ConnectError("the name has no address")
        for tried, address in enumerate(addresses):
            self._before_connecting(address)
            share_s = _seconds_left(deadline) / (len(addresses) - tried)
            try:
                stream = self._sockets.connect_tcp(
                    address, port, share_s, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self._refuse_ourselves(stream)
            return _DeadlineStream(stream)
        raise failure

    def _refuse_ourselves(self, stream: httpcore.NetworkStream) -> None:
        """A public address of this very machine is both ends of the connection."""
        own = stream.get_extra_info("client_addr")[0]
        if (
            own == stream.get_extra_info("server_addr")[0]
            and not self.kind.ours
            and not _in(ipaddress.ip_address(own), _private_allowed())
        ):
            stream.close()
            raise UrlRefused(_("URLs to private networks are refused"))


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose `timeout` arguments are moments of time.monotonic(), not durations."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces, because the stream below restarts its clock at each send.
        for start in range(0, len(buffer), WRITE_BYTES):
            self._stream.write(buffer[start : start + WRITE_BYTES], _seconds_left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _seconds_left(timeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left_s))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
