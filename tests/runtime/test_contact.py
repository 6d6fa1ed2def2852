"""sec-18: who finds a weakness is told where to report it (RFC 9116)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("help@wallet.example", "mailto:help@wallet.example"),
        ("mailto:help@wallet.example", "mailto:help@wallet.example"),
        ("https://wallet.example/report", "https://wallet.example/report"),
        ("Ask at the bar.", "http://127.0.0.1:8000/support"),
        ("javascript:alert(1)", "http://127.0.0.1:8000/support"),
        ("https://wallet.example\nContact: mailto:b@c.example", "http://127.0.0.1:8000/support"),
    ],
)
def test_the_operators_contact_is_where_weaknesses_are_reported(
    client: Client, settings: Any, contact: str, link: str
) -> None:
    settings.SUPPORT_CONTACT, settings.PUBLIC_URL = contact, "http://127.0.0.1:8000"
    answer = client.get("/.well-known/security.txt")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.content.decode().splitlines())
    assert fields["Contact"] == link
    assert fields["Canonical"] == "http://127.0.0.1:8000/.well-known/security.txt"
    ends = datetime.strptime(fields["Expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(days=30) < ends - datetime.now(UTC) < timedelta(days=365)


def test_without_a_contact_there_is_no_such_file(client: Client, settings: Any) -> None:
    settings.SUPPORT_CONTACT = ""
    assert client.get("/.well-known/security.txt").status_code == 404
