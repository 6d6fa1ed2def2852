"""What happens outside the browser: people are made, money comes, the books are read."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from coinos import embedded
from coinos.simnet.control import Control
from tests.accounts.mailbox import Mailbox
from tests.runtime.test_up import Server

PASSWORD = "correct horse battery"
PATIENCE_S = 20
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """An account, and the token with which a test reads its books beside the browser."""

    name: str
    token: str
    password: str = PASSWORD


class World:
    def __init__(self, server: Server, mailbox: Mailbox) -> None:
        self.server = server
        self.mailbox = mailbox
        self.host = f"127.0.0.1:{server.port}"
        self.url = f"http://{self.host}"
        data_dir: Path = server.data_dir
        self.outside = Control(embedded.socket_path(data_dir, "simnet/control"))

    def person(self, name: str, sats: int = 0) -> Person:
        """Somebody new, of that name and a number, with so much money from outside."""
        person = self.register(self.free_name(name))
        if sats:
            self.outside.pay(self.invoice(person, amount=sats)["hash"])
            self.until(lambda: self.balance(person) == sats)
        return person

    def register(self, name: str) -> Person:
        made = self.server.post("/api/register", {"user": {"username": name, "password": PASSWORD}})
        return Person(name, made["token"])

    def free_name(self, name: str) -> str:
        return f"{name}{next(_numbers)}"

    def invoice(self, person: Person, **fields: Any) -> dict[str, Any]:
        fields = {"type": "lightning"} | fields
        return self.server.post("/api/invoice", {"invoice": fields}, token=person.token)

    def send(self, person: Person, path: str, **fields: Any) -> None:
        """Pay over the API; that a payment was refused is a result, too."""
        with contextlib.suppress(HTTPError):
            self.server.post(path, fields, token=person.token)

    def balance(self, person: Person) -> int:
        return int(self.server.get("/api/me", token=person.token)["balance"])

    def has_expired(self, invoice: dict[str, Any]) -> bool:
        found = self.server.get(f"/api/invoice/{invoice['id']}")
        return bool(found["status"] == "expired")

    def link_in_mail(self, to: str, part: str) -> str:
        """The path of the link to that part of the site in a message to this address, which may
        still be on its way."""
        found: list[str] = []

        def arrived() -> bool:
            for message in self.mailbox.messages:
                if message["To"] == to:
                    text = message.get_content()  # type: ignore[attr-defined]
                    found.extend(re.findall(rf"{re.escape(self.url)}(/{part}/\S+)", text))
            return bool(found)

        self.until(arrived)
        return found[-1]

    def until(self, promise: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not promise():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)
