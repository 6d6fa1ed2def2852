"""Every limit of the product: each route has one, nothing has two, and the documents say them."""

from __future__ import annotations

import ast
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.handlers.base import BaseHandler
from django.test import Client, RequestFactory
from django.urls import get_resolver, resolve

from coinos import limits, throttling
from coinos.limits import Rate, Unlimited
from tests.api.endpoints import ENDPOINTS, routes

ROOT = Path(__file__).parents[1]
FULL_HOUR = (time.time() // 3600 + 24) * 3600
ID = "00000000-0000-4000-8000-000000000000"
ARGUMENTS = {"uuid": ID, "int": "7", "str": "nobody", "path": "nobody"}


def paths() -> Iterator[str]:
    """A path for every pattern of the URLconf, those of the admin and of simnet too."""
    for route, _view in routes(get_resolver().url_patterns):
        path = re.sub(r"<(\w+):\w+>", lambda found: ARGUMENTS[found[1]], route)
        path = re.sub(r"\(\?P<\w+>.*?\)(?=[/$])", "nobody", path)
        yield path.replace("^.*$", "nowhere").replace("^", "").replace("$", "")


def limits_of(view: Any) -> dict[str, throttling.Limit]:
    if hasattr(view, "cls"):
        return dict(view.cls.counted)
    return dict(getattr(view, "limits", throttling.OF_PAGES))


# --- Every route has a limit ----------------------------------------------------------------------


def use_up(redis: Any, rate: Rate) -> None:
    """This network has used the rate up, in the window that begins at the full hour."""
    redis.set(throttling.key_of(rate, "127.0.0.1", FULL_HOUR), rate.at_most)


def test_whoever_has_used_up_the_limits_is_refused_on_every_route(
    settings: Any, redis: Any, db: None
) -> None:
    """The running application is asked, with both methods, whatever stands in its tables."""
    settings.RATE_LIMITS = True
    application, asking, answered = BaseHandler(), RequestFactory(), {}
    application.load_middleware()
    with time_machine.travel(FULL_HOUR, tick=False):
        for path in dict.fromkeys(paths()):
            view = resolve(path).func
            for method in ("GET", "POST"):
                limit = throttling.limit_of(limits_of(view), method)
                if isinstance(limit, Unlimited):
                    continue
                use_up(redis, limit)
                response = application.get_response(asking.generic(method, path))
                if response.status_code != 429 or int(response["Retry-After"]) < 1:
                    answered[f"{method} {path}"] = response.status_code
    assert answered == {}


def test_a_path_that_does_not_exist_is_counted_too(settings: Any, redis: Any, db: None) -> None:
    settings.RATE_LIMITS = True
    with time_machine.travel(FULL_HOUR, tick=False):
        for path in ("/no/such/page", "/api/no/such/endpoint"):
            assert Client().get(path).status_code == 404
        use_up(redis, limits.PAGE)
        for path in ("/no/such/page", "/api/no/such/endpoint"):
            assert Client().get(path).status_code == 429


def test_whoever_has_used_up_nothing_is_answered_on_every_route(
    settings: Any, redis: Any, db: None
) -> None:
    """The test above can fail."""
    settings.RATE_LIMITS = True
    assert Client().get("/privacy").status_code == 200
    assert Client().get("/api/me").status_code == 401


def test_a_route_without_a_limit_says_why() -> None:
    for _route, view in routes(get_resolver().url_patterns):
        for limit in limits_of(view).values():
            assert isinstance(limit, Rate) or len(limit.reason) > 20


def test_every_rate_is_counted_somewhere_and_under_a_name_of_its_own() -> None:
    module = ast.parse((ROOT / "coinos/limits.py").read_text())
    written = [node.targets[0].id for node in module.body if isinstance(node, ast.Assign)]  # type: ignore[attr-defined]
    names = [one.name for one in (*limits.all_rates(), *limits.all_bounds())]
    assert [name for name, times in Counter([*written, *names]).items() if times > 1] == []
    code = "".join(path.read_text() for path in modules())
    for name, value in vars(limits).items():
        if isinstance(value, Rate | limits.Bound):
            assert f"limits.{name}" in code, f"{name} limits nothing"


def test_no_rate_or_bound_is_made_outside_the_module() -> None:
    literals = re.compile(r"window_s=\d|\b(?:Rate|Bound)\(\s*\"")
    found = {path.name: literals.findall(path.read_text()) for path in modules()}
    assert {name: words for name, words in found.items() if words} == {}


def modules() -> list[Path]:
    """Our code, but the module of limits, the migrations and the simulated world."""
    folders = ("accounts", "invoices", "payments", "coinos")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    left_out = {"migrations", "simnet", "bench"}
    return [path for path in found if path.name != "limits.py" and not left_out & {*path.parts}]


# --- Clients that exist go on working -------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "floor"),
    [
        (limits.INVOICE_CREATE, 30),
        (limits.INVOICE_EDIT, 30),
        (limits.INVOICE_READ, 30),
        (limits.SPEND, 10),
    ],
)
def test_no_rate_is_below_its_floor(rate: Rate, floor: int) -> None:
    assert rate.at_most * 10 / rate.window_s >= floor


# --- The documents --------------------------------------------------------------------------------

PERIODS = {
    30: "30 s",
    5: "5 s",
    10: "10 s",
    60: "minute",
    600: "10 minutes",
    3600: "hour",
    24 * 3600: "day",
}


def table_of_rates() -> str:
    rows = [
        f"| {rate.of} | {rate.at_most:,} | {PERIODS[rate.window_s]} | {rate.by} |"
        + (f" {rate.together:,} |" if rate.together else " |")
        for rate in limits.all_rates()
    ]
    head = "| what | at most | in a | counted by | all together |\n|---|---:|---|---|---:|"
    return "\n".join([head, *rows])


def table_of_bounds() -> str:
    rows = [
        f"| {bound.of} | {bound.at_most:,} | {bound.by} | {bound.beyond} |"
        for bound in limits.all_bounds()
    ]
    return "\n".join(["| what | at most | for one | the next one |\n|---|---:|---|---|", *rows])


def table_of_endpoints() -> str:
    """What the endpoints of the API are counted against, in the order of the module."""
    counted: dict[Rate, list[str]] = {}
    for endpoint in ENDPOINTS:
        match = resolve(f"/api{endpoint.path}")
        limit = throttling.limit_of(limits_of(match.func), endpoint.method)
        if isinstance(limit, Rate) and limit not in (limits.READ, limits.CHANGE):
            route = re.sub(r"<\w+:(\w+)>", r":\1", match.route.removeprefix("api/"))
            counted.setdefault(limit, []).append(f"`{endpoint.method} /{route}`")
    for method, limit in (("GET", limits.READ), ("POST", limits.CHANGE)):
        counted[limit] = [f"every other `{method}`"]
    rows = [
        f"| {', '.join(counted[rate])} | {rate.at_most:,} in {_in_words(rate.window_s)} |"
        f" {rate.by} |"
        for rate in limits.all_rates()
        if rate in counted
    ]
    return "\n".join(["| endpoints | at most | counted by |\n|---|---|---|", *rows])


def _in_words(seconds: int) -> str:
    period = PERIODS[seconds]
    return period if period[0].isdigit() else f"{'an' if period[0] == 'h' else 'a'} {period}"


@pytest.mark.parametrize(
    ("document", "table"),
    [
        ("docs/operating.md", table_of_rates),
        ("docs/operating.md", table_of_bounds),
        ("docs/api.md", table_of_endpoints),
    ],
    ids=["rates", "bounds", "endpoints"],
)
def test_the_documents_state_these_numbers(document: str, table: Any) -> None:
    right = table()
    assert right in (ROOT / document).read_text(), f"Put this into {document}:\n\n{right}\n"
