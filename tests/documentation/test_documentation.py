"""The user's documentation, pasted from top to bottom into a shell against a started server.

`specification.txt` is that documentation word for word. Only the base URL, the token, the invoice
and the addresses are changed; three examples have slips, and get the clear error they deserve.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.runtime.test_up import Server

pytestmark = pytest.mark.slow

SPECIFICATION = (Path(__file__).parent / "specification.txt").read_text()
BASE = "https://staging.coinos.io/api"
EXAMPLES = [line for line in SPECIFICATION.splitlines() if line.startswith("curl ")]


def example(*words: str) -> str:
    """The one documented command that contains all these words."""
    found = [line for line in EXAMPLES if all(word in line for word in words)]
    assert len(found) == 1, found
    return found[0]


class Shell:
    """A shell in which `$token` and the server's address are set."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.token = ""

    def paste(self, command: str, **replacements: str) -> tuple[int, Any]:
        """Run a documented curl command; returns the status and the JSON body."""
        for old, new in {BASE: self.base, "$token": self.token, **replacements}.items():
            command = command.replace(old, new)
        words = iter(shlex.split(command)[1:])
        url, headers, body = "", {}, None
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(words).encode()
            else:
                url = word
        try:
            with urlopen(Request(url, body, headers), timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as refused:
            return refused.code, json.load(refused)


class Receiver(ThreadingHTTPServer):
    """A shop's webhook endpoint on this machine."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/payment/received"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append(self.headers)
        self.server.calls.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="coinos-docs-"))
    server = Server(folder / "data")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


def until(condition: Any, *, seconds: float) -> float:
    """Wait for a condition; returns how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - started


def test_every_documented_example_answers_as_the_documentation_says(server: Server) -> None:
    shell = Shell(f"http://127.0.0.1:{server.port}/api")

    def simnet(*argv: str) -> str:
        done = server.run(".venv/bin/python", "manage.py", "simnet", *argv)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def balance() -> int:
        status, me = shell.paste(ME_WITH_TOKEN)
        assert status == 200
        return int(me["balance"])

    # --- accounts ---
    status, registered = shell.paste(example("/register"))
    assert status == 200
    assert registered["username"] == "demo"
    assert {"id", "token", "sk", "pubkey", "currency", "currencies"} <= set(registered)
    taken, body = shell.paste(example("/register"))
    assert (taken, body["code"]) == (409, "username_taken")
    shell.paste(example("/register"), demo="alice")

    status, logged_in = shell.paste(example("/login"))
    assert status == 200
    assert logged_in["user"]["username"] == "demo"
    shell.token = logged_in["token"]

    status, body = shell.paste(example("/me"))  # the documented sample sends no token
    assert (status, body["code"]) == (401, "unauthorized")
    assert balance() == 0

    status, body = shell.paste(example("/user"))  # no token either, and a trailing comma
    assert status == 401
    with_token = example("/user") + ' -H "Authorization: Bearer $token"'
    status, body = shell.paste(with_token)
    assert (status, body["code"]) == (400, "invalid_json")
    status, body = shell.paste(with_token, **{'"demo", }': '"demo" }'})
    assert (status, body["user"]["username"]) == (200, "demo")

    # --- invoices ---
    status, invoice = shell.paste(example('"amount": 1000', '"type": "lightning"'))
    assert status == 200
    assert (invoice["amount"], invoice["tip"], invoice["received"]) == (1000, None, 0)
    assert invoice["hash"] == invoice["text"]
    assert re.fullmatch(r"lnbcrt[0-9a-z]+", invoice["hash"])
    simnet("pay", invoice["hash"])
    assert until(lambda: balance() == 1000, seconds=10) < 2

    status, onchain = shell.paste(example('"type": "bitcoin"'))
    assert status == 200
    assert onchain["text"] == f"bitcoin:{onchain['hash']}?amount=0.00003141"
    documented = {"amount", "tip", "type", "prompt", "rate", "hash", "text", "currency", "uid"}
    assert documented | {"received", "created", "id", "pending"} <= set(onchain)

    # the documented command ends in a stray quote, which no shell accepts
    fetch = example("/invoice/bc1")
    with pytest.raises(ValueError, match="No closing quotation"):
        shlex.split(fetch)
    fetch = fetch.rstrip("'")
    documented_address = "bc1qmhfk9stzffhd9umzmld92vff7zg3mdlh7rvvaj"
    for key in (onchain["hash"], invoice["hash"], invoice["paymentHash"]):
        status, found = shell.paste(fetch, **{documented_address: key})
        assert status == 200
        assert found["received"] == (0 if key == onchain["hash"] else 1000)

    simnet("deposit", onchain["hash"], "200000")
    until(
        lambda: (
            shell.paste(fetch, **{documented_address: onchain["hash"]})[1]["pending"] == 200_000
        ),
        seconds=10,
    )
    assert balance() == 1000
    simnet("mine")
    until(lambda: balance() == 201_000, seconds=10)

    # --- webhook ---
    shop = Receiver()
    command = example("webhooksecret")
    status, hooked = shell.paste(command, **{"https://example.com/payment/received": shop.url})
    assert status == 200
    simnet("pay", hooked["hash"], "2500")
    until(lambda: shop.calls, seconds=10)
    assert shop.calls[0] == {
        "amount": 2500,
        "confirmed": True,
        "hash": hooked["hash"],
        "received": 2500,
        "status": "settled",
        "text": hooked["text"],
        "secret": "webhooksecret",
    }
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= {
        name.lower() for name in shop.headers[0]
    }
    shop.shutdown()

    # --- payments ---
    pay = example("/payments", "payreq")
    documented_invoice = re.search(r"lnbc[0-9a-z]{100,}", pay)
    assert documented_invoice
    outside = simnet("invoice", "5000")
    status, paid = shell.paste(pay, **{documented_invoice[0]: outside})
    assert status == 200
    assert (paid["amount"], paid["status"], paid["confirmed"]) == (-5000, "settled", True)
    assert re.fullmatch(r"[0-9a-f]{64}", paid["ref"])
    status, body = shell.paste(pay)  # the documented invoice is of another network
    assert (status, body["code"]) == (400, "invalid_payment_request")

    before = balance()
    status, sent = shell.paste(example("/send", "alice"))
    assert status == 200
    assert (sent["amount"], sent["type"], sent["with"]["username"]) == (-5000, "internal", "alice")
    assert balance() == before - 5000

    withdraw = example("/bitcoin/send")
    documented_target = "bc1q3unh97w4rmelflrm2hvdwz37d8kray3vn4d5ca"
    status, body = shell.paste(withdraw)
    assert (status, body["code"]) == (400, "invalid_address")
    status, withdrawn = shell.paste(withdraw, **{documented_target: simnet("address")})
    assert status == 200
    assert (withdrawn["amount"], withdrawn["confirmed"]) == (-5000, True)
    assert re.fullmatch(r"[0-9a-f]{64}", withdrawn["hash"])

    status, history = shell.paste(LIST)
    assert status == 200
    assert history["count"] == 6
    amounts = [payment["amount"] for payment in history["payments"]]
    assert amounts == [-5000, -5000, -5000, 2500, 200_000, 1000]
    fees = paid["fee"] + withdrawn["fee"]
    assert balance() == sum(amounts) - fees


ME_WITH_TOKEN = example("/me") + ' -H "Authorization: Bearer $token"'
LIST = next(line for line in EXAMPLES if "/payments" in line and " -d " not in line)
