"""OpenAPI at /api/schema: valid, complete, and true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from jsonschema import Draft202012Validator

from accounts.models import User
from coinos import rates
from coinos.models import Rate
from coinos.urls import api_urls
from tests.api.endpoints import ENDPOINTS, routes
from tests.cast import PASSWORD, Api, api_of, fund, give_password


@pytest.fixture
def schema(anyone: Api, db: None) -> dict[str, Any]:
    answer = anyone.get("/schema")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.body
    return body


@pytest.fixture
def quoted(db: None, redis: Any) -> Iterator[None]:
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000.00", "CAD": "137000.00"})
    rates.forget()
    yield
    rates.forget()


def test_the_schema_is_valid_and_made_without_a_warning() -> None:
    """By the schema that OpenAPI 3.1 has of itself."""
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO())


def test_every_part_is_a_json_schema_and_every_reference_leads_to_one(
    schema: dict[str, Any],
) -> None:
    """What OpenAPI's own schema leaves open."""
    assert schema["openapi"].startswith("3.1.")
    parts = schema["components"]["schemas"]
    for part in parts.values():
        Draft202012Validator.check_schema(part)
    known = {f"#/components/schemas/{name}" for name in parts}
    assert set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(schema))) <= known


def test_the_webhook_is_described(schema: dict[str, Any]) -> None:
    """What a call looks like is held against it in tests/invoices/test_webhooks.py."""
    call = schema["webhooks"]["payment"]["post"]
    assert call["description"]
    assert {one["name"] for one in call["parameters"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    assert set(call["responses"]) == {"2XX", "410"}


def test_every_endpoint_is_described(schema: dict[str, Any]) -> None:
    left_out = {"/api/schema", "/api/schema/docs"}
    written = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
        for path, _ in routes(api_urls, "/api/")
        if "^" not in path
    }
    assert {path for path in schema["paths"] if path.startswith("/api/")} == written - left_out
    described = {method.upper() for operations in schema["paths"].values() for method in operations}
    assert described == {"GET", "POST"}
    below_api = [ways for path, ways in schema["paths"].items() if path.startswith("/api/")]
    assert sum(map(len, below_api)) == len(ENDPOINTS) - len(left_out)


def test_it_says_which_endpoints_need_a_token(schema: dict[str, Any]) -> None:
    def security(method: str, path: str) -> Any:
        return schema["paths"][path][method].get("security")

    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert security("get", "/api/me") == [{"token": []}]
    assert security("post", "/api/send") == [{"token": []}]
    assert security("post", "/api/invoice") == [{"token": []}, {}]
    assert not security("post", "/api/register")
    assert not security("get", "/api/rates")


def test_every_operation_shows_the_shape_of_errors(schema: dict[str, Any]) -> None:
    problem = {"$ref": "#/components/schemas/Problem"}
    for operations in schema["paths"].values():
        for operation in operations.values():
            content = operation["responses"]["4XX"]["content"]
            assert content["application/problem+json"]["schema"] == problem


def test_every_operation_has_a_sentence(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path}"


def check(schema: dict[str, Any], method: str, path: str, status: str, answer: Any) -> None:
    """The body is as the schema says, and holds no member that the schema does not know."""
    content = schema["paths"][path][method]["responses"][status]["content"]
    (described,) = content.values()
    wanted = closed(schema, described["schema"])
    errors = [
        f"{'/'.join(map(str, error.path))}: {error.message}"
        for error in Draft202012Validator(wanted).iter_errors(answer.body)
    ]
    assert errors == [], (method, path)


def closed(schema: dict[str, Any], part: Any) -> Any:
    """The part with its references put in, and its objects closed."""
    if isinstance(part, list):
        return [closed(schema, entry) for entry in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[1]
        return closed(schema, schema["components"]["schemas"][name])
    found = {name: closed(schema, value) for name, value in part.items()}
    if "properties" in found and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


def test_what_is_answered_is_what_is_described(
    schema: dict[str, Any], alice: User, bob: User, quoted: None
) -> None:
    fund(give_password(alice), 10_000)
    api, anyone = api_of(alice), Api()
    user = {"username": "demo", "password": "hunter2"}
    check(schema, "post", "/api/register", "200", anyone.post("/register", {"user": user}))
    check(schema, "post", "/api/login", "200", anyone.post("/login", user))
    check(schema, "get", "/api/me", "200", api.get("/me"))
    settings = {"display": "A", "about": "a", "email": "a@b.example", "tip": 5}
    body = settings | {"current_password": PASSWORD}
    check(schema, "post", "/api/user", "200", api.post("/user", body))
    check(schema, "get", "/api/users/{key}", "200", anyone.get("/users/alice"))
    sent = api.post("/send", {"username": "bob", "amount": 5, "memo": "hi"})
    check(schema, "post", "/api/send", "200", sent)
    check(schema, "get", "/api/payments", "200", api.get("/payments"))
    check(schema, "get", "/api/payments", "200", api_of(bob).get("/payments"))
    for reader in (api, anyone):
        check(
            schema, "get", "/api/payments/{key}", "200", reader.get(f"/payments/{sent.body['id']}")
        )
    check(schema, "get", "/api/contacts", "200", api.get("/contacts"))
    check(schema, "post", "/api/app", "200", api.post("/app", {"name": "shop", "pubkey": KEY}))
    check(schema, "get", "/api/apps", "200", api.get("/apps"))
    check(schema, "get", "/api/app/{pubkey}", "200", api.get(f"/app/{KEY}"))
    check(schema, "post", "/api/apps/delete", "200", api.post("/apps/delete", {"pubkey": KEY}))
    for path in ("/health", "/rates", "/rate", "/fx"):
        check(schema, "get", f"/api{path}", "200", anyone.get(path))
    check(schema, "post", "/api/logout", "200", api.post("/logout"))


def test_errors_are_as_described(schema: dict[str, Any], alice: User) -> None:
    api = api_of(alice)
    for answer in (
        Api().get("/me"),
        api.post("/send", {"username": "bob", "amount": "1.5"}),
        api.post("/user", {"tip": -1}),
    ):
        check(schema, "post", "/api/send", "4XX", answer)


KEY = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


def test_the_reference_page_needs_nothing_inline(client: Client, db: None) -> None:
    answer = client.get("/api/schema/docs")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style| on\w+=| style=", page)
    for file in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert client.get(file).status_code == 200, file
