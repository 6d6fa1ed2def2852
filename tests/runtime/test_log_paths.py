"""sec-11: no token of a route that carries one in its path appears in a log."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client, RequestFactory
from django.urls import get_resolver

from accounts import links
from accounts.models import User
from coinos.logs import PARAMETER, PUBLIC_PARAMETERS, SECRET_PARAMETERS, redact
from coinos.routes import routes

SECRET = "n8VqyJk2uQ1tLsId-c29fb37a"
SAMPLES = {"int": "7", "uuid": "5a249032-7d1c-4c3f-9a90-1f0f9b2f4a11"}
ROUTES = sorted({route for route, _view in routes(get_resolver().url_patterns)})
NAMED_IN_A_PATTERN = re.compile(r"\(\?P<(\w+)>")


def sample(route: str) -> str:
    """A path of the route, with the secret where it has one."""

    def value(parameter: re.Match[str]) -> str:
        if parameter[1] in SECRET_PARAMETERS:
            return SECRET
        return SAMPLES.get(parameter[0][1:].partition(":")[0], "alice")

    return "/" + PARAMETER.sub(value, route)


WITH_A_SECRET = [route for route in ROUTES if SECRET in sample(route)]


def test_every_parameter_of_every_route_is_called_secret_or_public() -> None:
    """A new one fails here until somebody has said in coinos/logs.py which it is."""
    for route in ROUTES:
        plain = {found[1] for found in PARAMETER.finditer(route)}
        in_a_pattern = set(NAMED_IN_A_PATTERN.findall(route))
        unknown = (plain | in_a_pattern) - SECRET_PARAMETERS - PUBLIC_PARAMETERS
        assert not unknown, f"{route} has a parameter that is neither secret nor public: {unknown}"
        # Where it would stand in a path is not known.
        assert not in_a_pattern & SECRET_PARAMETERS, f"write {route} with path()"


def test_there_are_such_routes() -> None:
    assert {"reset/<uuid:user_id>/<str:token>", "gift/<str:token>"} <= set(WITH_A_SECRET)


@pytest.mark.parametrize("route", WITH_A_SECRET)
def test_no_refusal_logs_the_secret_of_the_path(
    route: str,
    log: StringIO,
    client: Client,
    db: None,
) -> None:
    path = sample(route)
    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
    strict.cookies["csrftoken"] = "a" * 32
    answers = [
        client.get(path),
        client.get(path + "/nothing-here"),
        client.post(path, {"password": "x"}),
        client.delete(path),
        strict.post(path, {"password": "x"}),
    ]
    assert [answer.status_code for answer in answers if answer.status_code >= 400]
    assert f"{path[: path.index(SECRET)]}[hidden]" in log.getvalue()
    assert SECRET not in log.getvalue()


def test_a_reset_link_is_of_no_use_to_who_reads_the_log(
    log: StringIO,
    alice: User,
) -> None:
    alice.email = "alice@example.com"
    alice.save()
    path = links.reset_url(alice).partition("://")[2].partition("/")[2]
    token = path.rpartition("/")[2]
    with_csrf = Client(enforce_csrf_checks=True)
    assert Client().post(f"/{path}", {"password": "x"}).status_code == 422
    assert with_csrf.post(f"/{path}", {"password": "long enough"}).status_code == 403
    assert "Unprocessable Entity: /reset/" in log.getvalue()
    assert "Forbidden (CSRF cookie not set.): /reset/" in log.getvalue()
    assert token not in log.getvalue()


@pytest.mark.parametrize("route", WITH_A_SECRET)
def test_it_is_hidden_wherever_a_path_is_written(route: str) -> None:
    path = sample(route)
    request: Any = RequestFactory().post(path)
    for line in (
        f"opened https://wallet.example.com{path}?v=1",
        f"GET /login?next={quote(path, safe='')}",
        f"GET /login?next={quote(quote(path, safe=''), safe='')}",
        f"failed on {request!r}",
        f'"Referer": "{path.upper().replace(SECRET.upper(), SECRET)}"',
    ):
        assert SECRET in line
        assert SECRET not in redact(line), line


def test_what_is_public_in_a_path_can_be_read() -> None:
    for path in ("/gifts/5a249032/link", "/api/payments/5a249032", "/alice/sticker", "/docs"):
        assert redact(f"Not Found: {path}") == f"Not Found: {path}"
