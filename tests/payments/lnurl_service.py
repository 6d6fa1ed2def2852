"""A Lightning Address service of somebody else, on loopback: it may say anything."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from bech32 import bech32_encode, convertbits

from coinos.simnet.control import Control


@dataclass
class Service:
    """An LNURL-pay service on loopback. `terms` and `more` are added to its two answers; or
    `invoice` answers the callback, given msat."""

    url: str = ""
    terms: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    invoice: Callable[[int], Any] = lambda amount_msat: None
    asked: list[int] = field(default_factory=list)
    query: dict[str, str] = field(default_factory=dict)
    """Of the callback, as it came last."""
    status: int = 200
    drips: str = ""
    """What comes a byte at a time, for minutes: `/terms` or `/pay`."""

    @property
    def lnurl(self) -> str:
        return lnurl_of(f"{self.url}/terms")

    @property
    def all_terms(self) -> dict[str, Any]:
        return {
            "tag": "payRequest",
            "callback": f"{self.url}/pay?for=bob",
            "minSendable": 1000,
            "maxSendable": 10**9,
            "metadata": '[["text/plain","bob"]]',
        } | self.terms

    @property
    def committed(self) -> str:
        """What its invoices have to commit to (LUD-06, LUD-18)."""
        return str(self.all_terms["metadata"]) + self.query.get("payerdata", "")


def lnurl_of(url: str) -> str:
    """LUD-01"""
    return str(bech32_encode("lnurl", convertbits(url.encode(), 8, 5)))


@pytest.fixture
def service(network: Control) -> Iterator[Service]:
    with serving(network) as found:
        yield found


@contextmanager
def serving(network: Control) -> Iterator[Service]:
    """A service whose invoices are of `network`, until the block ends."""
    found = Service(
        invoice=lambda amount_msat: {
            "pr": network.invoice(amount_msat, found.committed, hashed=True),
            "routes": [],
            **found.more,
        }
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/terms":
                answer: Any = found.all_terms
            else:
                found.query = dict(parse_qsl(url.query))
                amount_msat = int(found.query["amount"])
                found.asked.append(amount_msat)
                answer = found.invoice(amount_msat)
            self.send_response(found.status)
            self.end_headers()
            with suppress(OSError):  # nobody waits for the end of it
                for _ in range(10_000 if found.drips == url.path else 0):
                    self.wfile.write(b" ")
                    time.sleep(0.05)
                self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()
