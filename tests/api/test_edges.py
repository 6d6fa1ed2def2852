"""What holds for every endpoint: errors, methods, bodies, other origins, slashes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import User
from tests.cast import api_of, token_of

PROBLEM = "application/problem+json"


@pytest.fixture
def caller() -> Client:
    """Checks CSRF as a server does, which Django's test client leaves out by default."""
    return Client(enforce_csrf_checks=True, raise_request_exception=False)


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The body of an error, after checking the shape that all of them have."""
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == PROBLEM
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"{settings.PUBLIC_URL}/docs/errors#{code}"
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"] == body["message"] == body["error"] != ""
    for entry in body.get("errors", []):
        assert entry["pointer"].startswith("#/")
        assert entry["detail"]
    return body


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api/me/too", "/api/", "/api", "/api/%00", "/api/me%00"]
)
def test_an_unknown_path_is_a_problem_for_every_method(
    caller: Client, method: str, path: str
) -> None:
    problem(getattr(caller, method)(path), 404, "not_found")


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
@pytest.mark.parametrize("path", ["/api/me", "/api/user", "/api/register", "/api/health"])
def test_another_method_is_405_and_says_which_are_allowed(
    caller: Client, alice: User, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {token_of(alice)}"}
    answer = getattr(caller, method)(path, headers=headers)
    problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} & set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize("path", ["/api/me", "/api/ro", "/api/contacts", "/api/apps"])
def test_reading_endpoints_do_not_take_a_post(alice: User, path: str) -> None:
    assert api_of(alice).post(path.removeprefix("/api"), {}).status_code == 405


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "",
        "nonsense",
    ],
)
def test_another_content_type_is_415(caller: Client, db: None, content_type: str) -> None:
    answer = caller.post("/api/register", b'{"username":"demo"}', content_type=content_type)
    problem(answer, 415, "unsupported_media_type")
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
def test_json_may_name_its_charset(caller: Client, db: None, content_type: str) -> None:
    body = b'{"user":{"username":"demo","password":"hunter2"}}'
    assert caller.post("/api/register", body, content_type=content_type).status_code == 200


def test_a_body_above_64_kilobytes_is_413(caller: Client, db: None) -> None:
    body = {"user": {"username": "demo", "password": "hunter2", "more": ""}}
    body["user"]["more"] = "x" * (64 * 1024 - len(json.dumps(body)))
    fits = caller.post("/api/register", body, content_type="application/json")
    assert fits.status_code == 200
    body["user"]["more"] += "x"
    problem(caller.post("/api/register", body, content_type="application/json"), 413, "too_large")


@pytest.mark.parametrize("body", [b"", b"  \n", b"null"])
def test_an_empty_body_counts_as_an_empty_object(caller: Client, alice: User, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {token_of(alice)}"}
    answer = caller.post("/api/user", body, content_type="application/json", headers=headers)
    assert answer.status_code == 200


def test_a_post_without_any_body_or_type_is_an_empty_object(caller: Client, alice: User) -> None:
    headers = {"Authorization": f"Bearer {token_of(alice)}"}
    assert caller.generic("POST", "/api/logout", headers=headers).status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "image/png", "nonsense", ""])
def test_the_answer_is_json_whatever_is_accepted(caller: Client, alice: User, accept: str) -> None:
    headers = {"Authorization": f"Bearer {token_of(alice)}", "Accept": accept}
    answer = caller.get("/api/me?format=xml", headers=headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


def test_head_is_answered_without_a_body(caller: Client, alice: User) -> None:
    answer = caller.head("/api/me", headers={"Authorization": f"Bearer {token_of(alice)}"})
    assert (answer.status_code, answer.content) == (200, b"")


def test_too_many_parameters_are_refused(caller: Client, alice: User) -> None:
    headers = {"Authorization": f"Bearer {token_of(alice)}"}
    answer = caller.get("/api/payments?" + "&".join(["limit=1"] * 300), headers=headers)
    problem(answer, 400, "invalid_request")


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_the_stream_of_events_is_only_read(caller: Client, alice: User, method: str) -> None:
    headers = {"Authorization": f"Bearer {token_of(alice)}"}
    problem(getattr(caller, method)("/api/events", headers=headers), 405, "method_not_allowed")


def test_a_bug_of_ours_says_nothing_of_the_inside(
    caller: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("password=hunter2 at /srv/coinos")

    monkeypatch.setattr("accounts.ledger.balance_of", broken)
    answer = caller.get("/api/me", headers={"Authorization": f"Bearer {token_of(alice)}"})
    body = problem(answer, 500, "internal_error")
    assert len(body["instance"]) == 36
    assert b"hunter2" not in answer.content
    assert b"RuntimeError" not in answer.content


# --- Slashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/me/", "/api/me//"])
def test_a_trailing_slash_is_tolerated(caller: Client, alice: User, path: str) -> None:
    answer = caller.get(path, headers={"Authorization": f"Bearer {token_of(alice)}"})
    assert answer.json()["username"] == "alice"


def test_a_post_is_not_redirected(caller: Client, db: None) -> None:
    body = {"user": {"username": "demo", "password": "hunter2"}}
    answer = caller.post("/api/register/", body, content_type="application/json")
    assert (answer.status_code, answer.json()["username"]) == (200, "demo")


# --- Other origins -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/me", "/api/register", "/api/payments", "/api/nothing"])
def test_any_origin_may_ask_first(caller: Client, path: str) -> None:
    answer = caller.options(
        path,
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        },
    )
    assert answer.status_code == 200
    allowed = {name.lower() for name in answer.headers["Access-Control-Allow-Headers"].split(", ")}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert {"GET", "POST"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    assert {"authorization", "content-type", "idempotency-key"} <= allowed


def test_answers_and_errors_may_be_read_by_any_origin(caller: Client, alice: User) -> None:
    headers = {"Origin": "https://shop.example", "Authorization": f"Bearer {token_of(alice)}"}
    for path in ("/api/me", "/api/nothing", "/api/users/nobody"):
        answer = caller.get(path, headers=headers)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


def test_cookies_never_cross_origins(caller: Client, alice: User) -> None:
    caller.cookies["token"] = token_of(alice)
    assert caller.get("/api/me").status_code == 200
    answer = caller.get("/api/me", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_pages_are_not_open_to_other_origins(caller: Client, db: None) -> None:
    answer = caller.get("/nothing", headers={"Origin": "https://shop.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/api/health", "/api/nothing"])
def test_answers_carry_the_security_headers(caller: Client, db: None, path: str) -> None:
    headers = caller.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"


def test_private_answers_are_kept_by_no_cache(caller: Client, alice: User) -> None:
    answer = caller.get("/api/me", headers={"Authorization": f"Bearer {token_of(alice)}"})
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_a_machine_asks_for_health_under_any_name_and_for_nothing_else(client: Client) -> None:
    """sec-18: only our own name is answered to. A health check knows none."""
    for host in ("127.0.0.1:8000", "localhost", "web", "10.0.0.7"):
        assert client.get("/api/health", headers={"host": host}).status_code in (200, 503)
        assert client.get("/api/health/", headers={"host": host}).status_code in (200, 503)
    for path in ("/api/me", "/login", "/api/healthy"):
        answer = client.get(path, headers={"host": "web"})
        assert answer.status_code == 400, path
