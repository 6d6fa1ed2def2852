"""Whatever arrives, the answer is a clear 4xx and never a 500 (F08, F09, F10, I14)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import Activity, Transfer, User
from coinos.drf import MAX_DEPTH
from tests.api.endpoints import POSTS, Endpoint, with_value
from tests.cast import fund, token_of

UNAVAILABLE = ("node_unavailable", "rate_unavailable")

NOT_JSON_OBJECTS = {
    "no JSON": b"{",
    "trailing comma": b'{ "username": "demo", }',
    "single quotes": b"{'username': 'demo'}",
    "bare word": b"demo",
    "array": b'[{"username": "demo"}]',
    "string": b'"demo"',
    "number": b"5",
    "true": b"true",
    "two objects": b"{}{}",
    "NaN": b'{"amount": NaN}',
    "Infinity": b'{"amount": -Infinity}',
    "duplicate keys": b'{"amount": 1, "amount": 2}',
    "duplicate keys inside": b'{"invoice": {"amount": 1, "amount": 2}}',
    "5,000 open brackets": b"[" * 5000,
    "5,000 open objects": b'{"a":' * 5000,
    "nested too deep": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "nested arrays": b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
    "a lone surrogate": rb'{"username": "\ud800"}',
    "a lone surrogate as key": rb'{"\udfff": 1}',
    "NUL": rb'{"username": "a\u0000b"}',
    "a raw NUL": b'{"username": "a\x00b"}',
    "a raw line feed in text": b'{"username": "a\nb"}',
    "a huge integer": b'{"amount": ' + b"9" * 5000 + b"}",
    "a huge exponent": b'{"amount": 1e' + b"9" * 30 + b"}",
    "not UTF-8": b'{"username": "\xff\xfe"}',
    "UTF-16": '{"username": "demo"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "comments": b'{"amount": 1 /* one */}',
}

STRANGE: list[Any] = [
    True,
    -1,
    1.5,
    10**30,
    "",
    "x" * 6000,
    "\u202e\u200b\ufeff\U0001f4a9",
    "'; DROP TABLE ledger_transfer; --",
    "http://127.0.0.1:1/",
    [],
    {"a": {"b": [None]}},
]

NOT_SATS: list[Any] = [
    *STRANGE,
    [1],
    False,
    1e308,
    2**63,
    "-1",
    "\u0661\u0662",
    1000.0,
    1e3,
    -(2**63),
    2**64,
    2_100_000_000_000_001,
    " ",
    " 1",
    "+1",
    "1.00",
    "1e3",
    "1_000",
    "1,000",
    "0x10",
    "\uff11\uff10",
    "NaN",
    "null",
]


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice_token(alice: User, bob: User) -> str:
    fund(alice, 10_000)
    return token_of(alice)


def post(endpoint: Endpoint, body: bytes | dict[str, Any], token: str) -> Any:
    return Client(raise_request_exception=False).post(
        f"/api{endpoint.path}",
        body if isinstance(body, bytes) else json.dumps(body),
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )


@pytest.mark.parametrize("name", NOT_JSON_OBJECTS)
def test_what_is_no_json_object_is_refused_by_every_endpoint(alice_token: str, name: str) -> None:
    """F10"""
    for endpoint in POSTS:
        if endpoint.path.endswith(("/logout", "/cancel")):
            continue  # reads no body
        answer = post(endpoint, NOT_JSON_OBJECTS[name], alice_token)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json"), endpoint


@pytest.mark.parametrize(
    ("endpoint", "pointer"),
    [(endpoint, pointer) for endpoint in POSTS for pointer in endpoint.fields],
    ids=str,
)
def test_no_value_of_any_field_breaks_the_server(
    alice_token: str, endpoint: Endpoint, pointer: str
) -> None:
    """F08, F09: there are no nodes and no rates here: a request that is in order may say so."""
    for value in STRANGE:
        body = with_value(endpoint.body, pointer, value)
        answer = post(endpoint, body, alice_token)
        assert answer.status_code < 500 or answer.json()["code"] in UNAVAILABLE, value


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/payments", "/amount"),
        ("/payments", "/fee"),
        ("/payments", "/maxfee"),
        ("/send", "/amount"),
        ("/bitcoin/send", "/amount"),
        ("/bitcoin/fee", "/amount"),
        ("/app", "/max_amount"),
        ("/user", "/threshold"),
    ],
)
def test_an_amount_is_a_whole_number_of_sats_and_nothing_else(
    alice_token: str, path: str, pointer: str
) -> None:
    """F08, F09: nothing moves."""
    endpoint = next(endpoint for endpoint in POSTS if endpoint.path == path)
    for value in NOT_SATS:
        answer = post(endpoint, with_value(endpoint.body, pointer, value), alice_token)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_amount"), value
        assert answer.json()["errors"][0]["pointer"] == f"#{pointer}"
    assert not Activity.objects.exists()
    assert Transfer.objects.exclude(kind="operator.credit").count() == 0


def test_members_that_nobody_reads_do_no_harm_beside_an_idempotency_key(alice_token: str) -> None:
    """They are part of the fingerprint, whatever they are."""
    strange = f'[1.5, 1e400, {10**30}, {{"a": null}}]'
    body = f'{{"username": "bob", "amount": 1, "more": {strange}}}'
    for _ in range(2):
        answer = Client(raise_request_exception=False).post(
            "/api/send",
            body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {alice_token}", "Idempotency-Key": "one"},
        )
        assert (answer.status_code, answer.json()["amount"]) == (200, -1)
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert Activity.objects.filter(amount_sat=-1).count() == 1


def test_digits_in_a_string_are_an_amount(alice_token: str) -> None:
    endpoint = next(endpoint for endpoint in POSTS if endpoint.path == "/send")
    answer = post(endpoint, {"username": "bob", "amount": "1000"}, alice_token)
    assert (answer.status_code, answer.json()["amount"]) == (200, -1000)


@pytest.mark.parametrize(
    "query",
    [
        "limit=abc",
        "limit=-1",
        "limit=1.5",
        "limit=99999999999999999999",
        "offset=-5",
        "offset=99999999999999999999",
        "offset=9223372036854775807",
        "start=abc",
        "start=-1",
        "start=NaN",
        "end=99999999999999999999",
        "end=999999999999999999",
        "start=%00",
        "status=%00",
        "status=nonsense",
        "aid=%00",
        "received=%F0%9F%98%80",
        "limit=%D9%A1",
    ],
)
@pytest.mark.parametrize("path", ["/payments", "/invoices"])
def test_no_query_breaks_a_list(alice_token: str, path: str, query: str) -> None:
    answer = Client(raise_request_exception=False).get(
        f"/api{path}?{query}", headers={"Authorization": f"Bearer {alice_token}"}
    )
    assert answer.status_code in (200, 400, 404), answer.content


@pytest.mark.parametrize(
    "path",
    [
        "/users/",
        "/app/",
        "/invoice/",
        "/payments/",
        "/pay/",
        "/pay/alice/",
        "/lnurlp/",
        "/lnurl/",
        "/lnurl/verify/",
        "/contacts/",
    ],
)
@pytest.mark.parametrize(
    "key",
    [
        "%00",
        "x%00y",
        "%ED%A0%80",
        "%FF",
        "-1",
        "9" * 40,
        "x" * 9000,
        "%E2%80%AE",
        "lnbcrt1",
        "LNBCRT1QQ",
        "bcrt1q",
        "..%2F..%2Fme",
        "{}",
        "ab" * 32,
        "ab" * 32 + ":0",
        "ab" * 32 + ":99999999999",
        "00000000-0000-4000-8000-000000000000",
    ],
)
def test_no_path_breaks_the_server(alice_token: str, path: str, key: str) -> None:
    answer = Client(raise_request_exception=False).get(
        f"/api{path}{key}?amount=%00", headers={"Authorization": f"Bearer {alice_token}"}
    )
    assert answer.status_code in (200, 400, 404), answer.content
