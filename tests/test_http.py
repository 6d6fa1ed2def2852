"""The guarded fetcher: where it does not go, and what it does not put up with (P10, P11)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coinos import http
from coinos.http import Fetcher, FetchFailed, UrlRefused, check_url

PUBLIC_ADDRESS = "93.184.215.14"

LOCAL_HOSTS = [
    "127.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "localhost.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::7f00:1]",
    "[fec0::1]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fd00::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "１２７.0.0.1",
    "①②⑦.0.0.1",
]

BROKEN_URLS = [
    "",
    "example.com",
    "//example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "https://",
    "https:///path",
    "https:example.com",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com\\@127.0.0.1/",
    "https://exa mple.com/",
    "https://example.com\r\nx: y/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:x/",
    "https://exa%00mple.com/",
    "https://[::1/",
    "https://a..b/",
    "https://-/" + "x" * 2048,
    "http://example.com:443/",
    "https://1572394766/",  # a public address in decimal, octal and hex
    "https://0135.184.215.14/",
    "https://0x5d.184.215.14/",
    "https://0x5db8d70e/",
    "https://93.184.55054/",
    "https://expyuzz4wqqyqhjn.onion/",
    None,
    17,
    ["https://example.com/"],
]


@pytest.fixture(autouse=True)
def nothing_private_is_allowed(settings: Any) -> None:
    settings.ALLOW_PRIVATE_URLS = []
    settings.OWN_ADDRESSES = []


@pytest.fixture
def loopback_is_allowed(settings: Any) -> None:
    settings.ALLOW_PRIVATE_URLS = [ipaddress.ip_network("127.0.0.0/8")]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What names resolve to: a list of addresses, or an iterator of such lists."""
    names: dict[str, Any] = {}

    def lookup(host: str) -> list[str]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        answer = names[host]
        return answer if isinstance(answer, list) else next(answer)

    monkeypatch.setattr(http, "lookup", lookup)
    return names


class Server:
    """A server on loopback that answers every connection with `behave(connection)`."""

    def __init__(self, behave: Callable[[socket.socket], None], tls: ssl.SSLContext | None) -> None:
        self.connections = 0
        self._behave = behave
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self._behave(connection)
        except OSError:
            pass  # the client has had enough, which is what these tests are about


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(behave: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(behave, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = connection.recv(65536)
        if not chunk:
            raise OSError("no request")
        request += chunk
    head, _, body = request.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer_with(payload: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(payload)

    return behave


def http_answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@pytest.fixture
def webhook() -> Iterator[Fetcher]:
    fetcher = Fetcher("webhook")
    yield fetcher
    fetcher.close()


# --- Where it does not go ------------------------------------------------------------------


@pytest.mark.parametrize("host", LOCAL_HOSTS)
@pytest.mark.parametrize("kind", ["webhook", "lnurl", "avatar"])
def test_a_private_host_is_refused_at_input_and_at_fetch(host: str, kind: http.KindName) -> None:
    url = f"https://{host}/"
    with pytest.raises(UrlRefused):
        check_url(url, kind=kind)
    with pytest.raises(UrlRefused):
        http.fetch(url, kind=kind)


@pytest.mark.parametrize("url", BROKEN_URLS)
@pytest.mark.parametrize("kind", ["webhook", "lnurl"])
def test_what_is_no_plain_url_is_refused(
    url: Any, kind: http.KindName, dns: dict[str, Any]
) -> None:
    dns["example.com"] = [PUBLIC_ADDRESS]
    with pytest.raises(UrlRefused):
        check_url(url, kind=kind)
    with pytest.raises(UrlRefused):
        http.fetch(url, kind=kind)


@pytest.mark.parametrize("url", ["http://example.com/", "https://example.com:8443/"])
def test_only_a_webhook_may_use_plain_http_or_another_port(url: str, dns: dict[str, Any]) -> None:
    dns["example.com"] = [PUBLIC_ADDRESS]
    check_url(url, kind="webhook")
    for kind in ("lnurl", "avatar"):
        with pytest.raises(UrlRefused):
            check_url(url, kind=kind)


def test_allowing_a_private_network_does_not_relax_the_rules_for_public_hosts(
    dns: dict[str, Any], loopback_is_allowed: None
) -> None:
    dns["example.com"] = [PUBLIC_ADDRESS]
    dns["both.example"] = ["127.0.0.1", PUBLIC_ADDRESS]
    check_url("http://127.0.0.1:5000/", kind="lnurl")
    for url in ("http://example.com/", "http://both.example/", "https://10.0.0.1/"):
        with pytest.raises(UrlRefused):
            check_url(url, kind="lnurl")


def test_a_public_name_is_accepted(dns: dict[str, Any]) -> None:
    dns["xn--bcher-kva.example"] = [PUBLIC_ADDRESS, "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
    check_url("https://bücher.example/hook?token=1#part", kind="webhook")
    check_url("HTTPS://XN--BCHER-KVA.example./", kind="lnurl")


def test_one_private_address_among_public_ones_is_enough_to_refuse(dns: dict[str, Any]) -> None:
    dns["evil.example"] = [PUBLIC_ADDRESS, "::ffff:10.0.0.1"]
    with pytest.raises(UrlRefused):
        check_url("https://evil.example/", kind="webhook")


def test_our_own_and_the_nodes_public_addresses_are_refused(
    settings: Any, dns: dict[str, Any]
) -> None:
    dns["node.example"] = [PUBLIC_ADDRESS]
    settings.OWN_ADDRESSES = [ipaddress.ip_network(PUBLIC_ADDRESS)]
    with pytest.raises(UrlRefused):
        check_url("https://node.example/", kind="webhook")


def test_a_public_address_of_this_machine_is_refused_once_connected(
    serve: Callable[..., Server],
    dns: dict[str, Any],
    webhook: Fetcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loopback stands in for an address that is public and ours: the test machine has none."""
    received: list[bytes] = []
    server = serve(lambda connection: received.append(connection.recv(10)))
    dns["us.example"] = ["127.0.0.1"]
    monkeypatch.setattr(http, "_is_public", lambda address: True)
    with pytest.raises(UrlRefused):
        webhook.fetch(f"http://us.example:{server.port}/")
    assert b"".join(received) == b""


def test_a_name_that_flips_after_the_check_is_refused_and_never_connected(
    serve: Callable[..., Server], dns: dict[str, Any], webhook: Fetcher
) -> None:
    server = serve(answer_with(http_answer(b"secret")))
    dns["flip.example"] = iter([[PUBLIC_ADDRESS], ["127.0.0.1"]])
    url = f"http://flip.example:{server.port}/"
    check_url(url, kind="webhook")
    with pytest.raises(UrlRefused):
        webhook.fetch(url)
    assert server.connections == 0


def test_a_name_is_looked_up_once_per_connection_and_the_checked_address_is_used(
    serve: Callable[..., Server],
    dns: dict[str, Any],
    webhook: Fetcher,
    loopback_is_allowed: None,
) -> None:
    server = serve(answer_with(http_answer(b"ok")))
    dns["flip.example"] = itertools.chain([["127.0.0.1"]], itertools.repeat(["10.0.0.1"]))
    assert webhook.fetch(f"http://flip.example:{server.port}/").body == b"ok"
    assert next(dns["flip.example"]) == ["10.0.0.1"]  # the fetch took exactly one answer


def test_a_redirect_is_reported_and_not_followed(
    serve: Callable[..., Server], webhook: Fetcher, loopback_is_allowed: None
) -> None:
    inside = serve(answer_with(http_answer(b"secret")))
    outside = serve(
        answer_with(http_answer(b"", status="302 Found", headers=f"Location: {inside.url}\r\n"))
    )
    response = webhook.fetch(outside.url)
    assert (response.status, response.ok) == (302, False)
    assert inside.connections == 0


def test_proxies_of_the_environment_are_ignored(
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    loopback_is_allowed: None,
) -> None:
    proxy = serve(answer_with(http_answer(b"from the proxy")))
    server = serve(answer_with(http_answer(b"direct")))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    assert Fetcher("webhook").fetch(server.url).body == b"direct"
    assert proxy.connections == 0


def test_a_refusal_names_the_field_and_is_permanent_while_a_failure_is_not(
    dns: dict[str, Any],
) -> None:
    with pytest.raises(UrlRefused) as refusal:
        check_url("https://127.0.0.1/", kind="webhook", field="/invoice/webhook")
    assert (refusal.value.field, refusal.value.status) == ("/invoice/webhook", 400)
    assert refusal.value.permanent
    with pytest.raises(FetchFailed) as failure:
        http.fetch("https://nobody.example/", kind="webhook")
    assert not failure.value.permanent
    assert not isinstance(failure.value, UrlRefused)


def test_a_name_that_cannot_be_resolved_now_is_accepted_at_input(dns: dict[str, Any]) -> None:
    check_url("https://not-yet.example/", kind="webhook")


# --- What it sends and returns -------------------------------------------------------------


def test_a_post_arrives_as_it_was_signed(
    serve: Callable[..., Server],
    dns: dict[str, Any],
    webhook: Fetcher,
    loopback_is_allowed: None,
) -> None:
    requests: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(http_answer(b"", status="503 Busy", headers="Retry-After: 7\r\n"))

    server = serve(behave)
    dns["shop.example"] = ["127.0.0.1"]
    response = webhook.fetch(
        f"http://shop.example:{server.port}/paid?x=1",
        method="POST",
        body=b'{"amount":1000}',
        headers={"webhook-id": "msg_1", "Host": "evil.example"},
    )
    head, body = requests[0].split(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /paid?x=1 http/1.1"
    assert f"host: shop.example:{server.port}".encode() in lines
    assert b"host: evil.example" not in lines
    assert b"webhook-id: msg_1" in lines
    assert body == b'{"amount":1000}'
    assert (response.status, response.headers["retry-after"]) == (503, "7")


def test_a_connection_is_kept_for_the_next_request(
    serve: Callable[..., Server], webhook: Fetcher, loopback_is_allowed: None
) -> None:
    def behave(connection: socket.socket) -> None:
        while True:
            read_request(connection)
            connection.sendall(http_answer(b"ok"))

    server = serve(behave)
    for _ in range(3):
        assert webhook.fetch(server.url).body == b"ok"
    assert server.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    serve: Callable[..., Server], webhook: Fetcher, loopback_is_allowed: None
) -> None:
    closed = threading.Event()

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(http_answer(b"ok"))
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    server = serve(behave)
    webhook.fetch(server.url)
    closed.wait(5)
    assert webhook.fetch(server.url).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b"[NaN]", b'{"a":Infinity}', b"\xff\xfe\x00", b"[" * 60_000]
)
def test_an_answer_that_is_no_json_is_a_failure(body: bytes) -> None:
    with pytest.raises(FetchFailed):
        http.Response(status=200, headers={}, body=body).json()


def test_a_refused_connection_is_said_in_words(loopback_is_allowed: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchFailed) as failure:
        Fetcher("webhook").fetch(f"http://127.0.0.1:{port}/")
    assert failure.value.message == "No connection to the other server: Connection refused"


# --- What it does not put up with ----------------------------------------------------------


def drip(*, head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    return behave


@pytest.mark.parametrize(
    "behave",
    [
        drip(head=b"", piece=b"H"),
        drip(head=b"HTTP/1.1 200 OK\r\n", piece=b"x: y\r\n"),
        drip(head=b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", piece=b"x"),
        drip(head=b"", piece=b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        lambda connection: time.sleep(5),
    ],
    ids=["status line", "headers", "body", "early hints", "silence"],
)
def test_a_slow_drip_ends_at_the_total_time(
    behave: Callable[[socket.socket], None],
    serve: Callable[..., Server],
    webhook: Fetcher,
    loopback_is_allowed: None,
) -> None:
    server = serve(behave)
    started = time.monotonic()
    with pytest.raises(FetchFailed):
        webhook.fetch(server.url, timeout_s=0.5)
    assert time.monotonic() - started < 3


def test_an_answer_must_begin_in_time_and_may_then_take_longer(
    serve: Callable[..., Server],
    loopback_is_allowed: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sec-13: who only accepts a call holds it up for half as long as who answers slowly may."""
    assert http.KINDS["webhook"].first_byte_s == 10
    monkeypatch.setitem(http.KINDS, "webhook", http.Kind(first_byte_s=1.5, any_port=True))
    may_end = threading.Event()

    def slowly(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
        may_end.wait(5)
        connection.sendall(b"k")

    def silently(connection: socket.socket) -> None:
        read_request(connection)
        may_end.wait(5)

    with pytest.raises(FetchFailed, match=r"within 1\.5 s"):
        Fetcher("webhook").fetch(serve(silently).url)
    threading.Timer(1.7, may_end.set).start()
    assert Fetcher("webhook").fetch(serve(slowly).url).body == b"ok"


def test_whoever_fetches_may_refuse_an_address_before_a_connection_is_made(
    serve: Callable[..., Server], loopback_is_allowed: None
) -> None:
    def refuse(address: str) -> None:
        raise FetchFailed(f"not {address}")

    server = serve(answer_with(http_answer(b"ok")))
    with pytest.raises(FetchFailed, match=r"not 127\.0\.0\.1"):
        Fetcher("webhook", before_connecting=refuse).fetch(server.url)


def test_a_lookup_that_hangs_ends_at_the_total_time(
    monkeypatch: pytest.MonkeyPatch, webhook: Fetcher
) -> None:
    asleep = threading.Event()
    monkeypatch.setattr(http, "lookup", lambda host: asleep.wait(20) or [])
    started = time.monotonic()
    with pytest.raises(FetchFailed):
        webhook.fetch("http://slow.example/", timeout_s=0.3)
    assert time.monotonic() - started < 3
    asleep.set()


def read_slowly(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    while connection.recv(65_536):
        time.sleep(0.005)


@pytest.mark.parametrize("behave", [lambda connection: time.sleep(5), read_slowly])
def test_a_receiver_that_hardly_reads_ends_at_the_total_time(
    behave: Callable[[socket.socket], None],
    serve: Callable[..., Server],
    webhook: Fetcher,
    loopback_is_allowed: None,
) -> None:
    server = serve(behave)
    started = time.monotonic()
    with pytest.raises(FetchFailed):
        webhook.fetch(server.url, method="POST", body=b"x" * 100_000_000, timeout_s=0.5)
    assert time.monotonic() - started < 3


ENDLESS_BODIES = {
    "no length": drip(head=b"HTTP/1.1 200 OK\r\n\r\n", piece=b"x" * 100_000),
    "chunked": drip(
        head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        piece=b"186a0\r\n" + b"x" * 100_000 + b"\r\n",
    ),
    "huge length": drip(
        head=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", piece=b"x" * 100_000
    ),
}


@pytest.mark.parametrize("behave", ENDLESS_BODIES.values(), ids=ENDLESS_BODIES.keys())
def test_a_huge_body_is_read_only_to_the_limit(
    behave: Callable[[socket.socket], None],
    serve: Callable[..., Server],
    webhook: Fetcher,
    loopback_is_allowed: None,
) -> None:
    server = serve(behave)
    response = webhook.fetch(server.url)
    assert (len(response.body), response.cut) == (http.MAX_BYTES, True)
    with pytest.raises(FetchFailed, match="more than 65536 bytes"):
        Fetcher("lnurl").fetch(server.url)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 200_000,
    ],
)
def test_a_broken_answer_is_a_temporary_failure(
    payload: bytes, serve: Callable[..., Server], webhook: Fetcher, loopback_is_allowed: None
) -> None:
    server = serve(answer_with(payload))
    with pytest.raises(FetchFailed) as failure:
        webhook.fetch(server.url, timeout_s=2)
    assert not failure.value.permanent


def test_a_closed_port_is_a_temporary_failure(webhook: Fetcher, loopback_is_allowed: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchFailed) as failure:
        webhook.fetch(f"http://127.0.0.1:{port}/")
    assert not failure.value.permanent


# --- TLS -----------------------------------------------------------------------------------


class Certificate:
    """A self-signed certificate for `name`, with the contexts of its server and of a believer."""

    def __init__(self, folder: Path, name: str, *, days: int = 1) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=30))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = folder / "certificate.pem"
        pem.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(pem)
        self.server.sni_callback = lambda _, name, __: self.names_asked.append(name)
        self.names_asked: list[str | None] = []
        self.believer = ssl.create_default_context(cafile=str(pem))


def test_tls_is_verified_for_the_name_while_connecting_to_the_checked_address(
    serve: Callable[..., Server], dns: dict[str, Any], loopback_is_allowed: None, tmp_path: Path
) -> None:
    certificate = Certificate(tmp_path, "shop.example")
    server = serve(answer_with(http_answer(b"ok")), certificate.server)
    dns["shop.example"] = dns["other.example"] = ["127.0.0.1"]
    fetcher = Fetcher("webhook", ssl_context=certificate.believer)
    assert fetcher.fetch(f"https://shop.example:{server.port}/").body == b"ok"
    assert certificate.names_asked == ["shop.example"]
    with pytest.raises(FetchFailed):  # the same address under a name the certificate lacks
        fetcher.fetch(f"https://other.example:{server.port}/")


def test_nothing_is_sent_to_a_server_with_a_bad_certificate(
    serve: Callable[..., Server], dns: dict[str, Any], loopback_is_allowed: None, tmp_path: Path
) -> None:
    """P11: a bad certificate means not delivered."""
    requests: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(http_answer(b"ok"))

    dns["shop.example"] = ["127.0.0.1"]
    unknown_issuer = Certificate(tmp_path, "shop.example")
    server = serve(behave, unknown_issuer.server)
    with pytest.raises(FetchFailed):
        Fetcher("webhook").fetch(f"https://shop.example:{server.port}/", method="POST", body=b"x")

    expired = Certificate(tmp_path, "shop.example", days=-1)
    server = serve(behave, expired.server)
    with pytest.raises(FetchFailed):
        Fetcher("webhook", ssl_context=expired.believer).fetch(
            f"https://shop.example:{server.port}/", method="POST", body=b"x"
        )
    assert requests == []


def test_a_tls_handshake_that_stalls_ends_at_the_total_time(
    serve: Callable[..., Server], webhook: Fetcher, loopback_is_allowed: None
) -> None:
    server = serve(lambda connection: time.sleep(5))
    started = time.monotonic()
    with pytest.raises(FetchFailed):
        webhook.fetch(f"https://127.0.0.1:{server.port}/", timeout_s=0.5)
    assert time.monotonic() - started < 3
