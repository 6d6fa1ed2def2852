"""The table of doors, executed: the running application is asked whether each row is true."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.core.management import get_commands
from django.test import RequestFactory, override_settings
from django.urls import get_resolver

from accounts.models import AuditEvent, User
from coinos import limits, urls  # noqa: F401 – registers what the admin knows
from coinos.api import not_found
from coinos.limits import By
from coinos.simnet.control import Control
from coinos.throttling import key_of
from tests.api.endpoints import routes
from tests.cast import PASSWORD, available_sat
from tests.database import clone_of_template
from tests.doors import cast
from tests.doors.cast import World, fingerprint, has_written, undone
from tests.doors.door import CREDENTIALS, Action, Command, Door
from tests.doors.page import PAGE, page
from tests.doors.table import ACTIONS, COMMANDS, DJANGOS, DOORS

# Not ways in: they say of every path that nobody knows that there is nothing.
NOTHING_THERE = {not_found, AdminSite.catch_all_view}
RATES = {rate.name: rate for rate in limits.all_rates()}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


# --- Every way has a row --------------------------------------------------------------------------


def all_routes() -> dict[str, Any]:
    """Route and view of everything that the URLconf knows; tables of the admin as one."""
    found = {}
    for route, view in routes(get_resolver().url_patterns):
        plain = getattr(view, "model_admin", None) or view
        if getattr(plain, "__func__", plain) in NOTHING_THERE or "catch_all" in str(view):
            continue
        has_row = any(door.route == route for door in DOORS)  # a page of that table alone
        found[route if has_row else _of_any_table(route)] = view
    return found


def _of_any_table(route: str) -> str:
    for model in admin.site._registry:
        meta = model._meta
        route = route.replace(
            f"/admin/{meta.app_label}/{meta.model_name}/", "/admin/<app>/<model>/"
        )
    return re.sub(r"^/admin/\^\(\?P<app_label>.*", "/admin/<app>/", route)


def expanded(doors: list[Door]) -> Iterator[Door]:
    """The doors with one for each table of the admin, where a row means any of them."""
    for door in doors:
        if "<model>" in door.route:
            for model in admin.site._registry:
                meta = model._meta
                route = door.route.replace("<app>", meta.app_label)
                yield replace(door, route=route.replace("<model>", str(meta.model_name)))
        elif "<app>" in door.route:
            yield replace(door, route=door.route.replace("<app>", "accounts"))
        else:
            yield door


def test_every_route_has_a_row() -> None:
    written = set(all_routes())
    assert written - {door.route for door in DOORS} == set(), "without a row"
    assert {door.route for door in DOORS} - written == set(), "rows of no route"


def test_every_command_has_a_row() -> None:
    """Django's, too: `changepassword` was a door that nobody had looked at."""
    known = [command.name for command in COMMANDS] + list(chain(*DJANGOS.values()))
    assert sorted(known) == sorted(set(known))
    assert set(get_commands()) == set(known)


def test_every_action_of_the_admin_has_a_row() -> None:
    request = RequestFactory().get("/admin/")
    request.user = User(is_superuser=True, is_staff=True, is_active=True)
    offered = {
        f"{model._meta.model_name}.{name}"
        for model, of_model in admin.site._registry.items()
        for name in of_model.get_actions(request)
    }
    assert offered == {f"{action.model}.{action.name}" for action in ACTIONS}


def test_the_page_of_doors_is_the_table() -> None:
    """`python -m tests.doors` writes it anew."""
    assert PAGE.read_text() == page()


def test_no_row_is_there_twice() -> None:
    names = [door.name for door in DOORS]
    assert sorted(names) == sorted(set(names))


# --- The world ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any, simnet: Control) -> Iterator[World]:
    """One for all rows: what each of them does is undone."""
    with (
        django_db_blocker.unblock(),
        clone_of_template(f"coinos_test_doors_{simnet.path.parent.name.replace('-', '_')}"),
        cast.settings_of(simnet),
    ):
        yield cast.make_world(simnet)


def knock(
    world: World, door: Door, caller: cast.Caller, *, without: str = "", **instead: Any
) -> Any:
    """Call a door in the way that succeeds with the right credential; without one field of it, or
    with another value."""
    body = {**(door.way(world) if door.way else door.body or {}), **instead}
    body.pop(without, None)
    answer = caller.call(door.method, door.filled(world.values), body)
    if answer.streaming:
        answer.close()
    return answer


def tried_at(door: Door) -> tuple[str, ...]:
    """All credentials, but where many doors are alike: some."""
    if door not in DOORS and "/accounts/user/" not in door.route:  # one more table of the admin
        return ("nobody", "web session", *(["operator"] if door.needs == "closed" else []))
    if door.needs == "none":
        return ("nobody", "web session", "operator", "login token")
    return CREDENTIALS


def is_turned_away(door: Door, answer: Any) -> bool:
    """Refused for want of a credential, or sent to where one gets one."""
    if answer.status_code == 302:
        return door.needs != "none" and answer.headers["Location"].startswith(
            ("/login", "/admin/login/")
        )
    return answer.status_code in (401, 403)


ALL = list(expanded(DOORS))
NO_STREAMS = [door for door in ALL if not door.stream]
STREAMS = [door for door in ALL if door.stream]


@pytest.mark.parametrize("door", NO_STREAMS, ids=str)
def test_a_door_opens_for_the_credentials_of_its_row_and_no_other(world: World, door: Door) -> None:
    """Who is turned away has changed nothing. sec-7, sec-10: a webhook is set by who is paid, and
    by no token that may only read."""
    found = {}
    tried = tried_at(door)
    for credential in tried:
        with undone():
            if door.before and credential == door.caller:
                door.before(world)
            wrote_before = has_written()
            answer = knock(world, door, world.callers[credential])
            found[credential] = not is_turned_away(door, answer)
            if not found[credential]:
                assert has_written() == wrote_before, credential
    expected = {credential: credential in door.accepts for credential in tried}
    assert found == expected


OPEN = [
    door
    for door in NO_STREAMS
    if door.needs != "closed" and (door in DOORS or "/accounts/user/" in door.route)
]


@pytest.mark.parametrize("door", OPEN, ids=str)
def test_a_door_does_what_its_row_says(world: World, door: Door) -> None:
    """It opens, writes what it says to the audit log, takes money only where it says so; and a GET
    changes nothing."""
    with undone():
        if door.before:
            door.before(world)
        last = last_audited()
        before_sat = money(world)
        wrote_before = has_written()
        answer = knock(world, door, world.callers[door.caller])
        assert answer.status_code in door.expected, answer.content
        if door.method == "GET" and not door.writes:
            assert has_written() == wrote_before
        assert audited_since(last) == sorted(door.audit)
        is_lower = any(now < then for now, then in zip(money(world), before_sat, strict=True))
        assert is_lower == (door.lowers == "now")


def money(world: World) -> list[int]:
    return [available_sat(user) for user in (world.alice, world.bob, world.tara, world.pot)]


# --- What is asked for besides a credential -------------------------------------------------------


def test_whatever_can_lower_a_balance_asks_for_the_pin() -> None:
    """P22, sec-9: so say the rows, which the next test holds to the application."""
    assert [door.name for door in DOORS if door.lowers and not door.pin] == []


def of_table(**wanted: Any) -> list[Door]:
    """The doors whose rows say something there."""
    return [door for door in OPEN if all(getattr(door, name) for name in wanted)]


@pytest.mark.parametrize("door", of_table(pin=True), ids=str)
def test_without_the_pin_nothing_happens(world: World, door: Door) -> None:
    """P22, sec-9: left out, wrong or of another type, by whatever credential; an API key that can
    spend stands for it."""
    wrong: list[dict[str, Any]] = [{"without": door.pin}, {door.pin: "000000"}, {door.pin: ""}]
    wrong += [{door.pin: 123456}] if door.is_api else []
    for credential in door.accepts & {"web session", "login token", "token cookie"}:
        for change in wrong:
            with undone():
                if door.before:
                    door.before(world)
                before, before_sat = fingerprint(), money(world)
                answer = knock(world, door, world.callers[credential], **change)
                assert answer.status_code in (200, 400, 403, 422), credential
                assert not door.is_api or answer.status_code in (400, 403)
                assert fingerprint() == before, (credential, change)
                assert money(world) == before_sat
    if "spend key" in door.accepts:
        with undone():
            if door.before:
                door.before(world)
            answer = knock(world, door, world.callers["spend key"], without=door.pin)
            assert answer.status_code == 200


@pytest.mark.parametrize("door", of_table(step_up=True), ids=str)
def test_an_open_session_alone_is_not_enough_where_the_row_says_so(
    world: World, door: Door
) -> None:
    """sec-12: the password of the last minutes, or a password or code with every call."""
    if door.step_up == "recent":
        caller, field = world.callers["left open"], "password"
        right = {field: PASSWORD}
    else:
        caller, field, right = world.callers[door.caller], door.step_up, {}
    for change in ({"without": field}, {field: "wrong"}, {field: ""}):
        with undone():
            if door.before:
                door.before(world)
            before = fingerprint()
            answer = knock(world, door, caller, **change)
            assert answer.status_code in (400, 401, 403, 422), change
            assert fingerprint() == before, change
    with undone():
        if door.before:
            door.before(world)
        assert knock(world, door, caller, **right).status_code in door.expected


@pytest.mark.parametrize("door", of_table(guard=True), ids=str)
def test_no_other_site_calls_it_in_a_readers_browser(world: World, door: Door) -> None:
    """P02"""
    if door.guard == "csrf":
        ours = world.callers[door.caller]
        theirs = [ours.from_elsewhere(), ours.without_csrf_token()]
    else:
        ours = world.callers["token cookie"]
        theirs = [ours.from_elsewhere(), ours.without_origin()]
    for caller in theirs:
        with undone():
            if door.before:
                door.before(world)
            before = fingerprint()
            assert knock(world, door, caller).status_code == 403
            assert fingerprint() == before


def test_no_door_opens_under_a_foreign_host_name(world: World) -> None:
    answers = {}
    for door in NO_STREAMS:
        with undone():
            caller = world.callers["nobody"].at_host("elsewhere.example")
            answers[door.name] = knock(world, door, caller).status_code
    # Whoever asks whether the server is well may know no more than its address.
    assert [name for name, status in answers.items() if status != 400] == ["GET /api/health"]


def test_a_method_without_a_row_is_no_way_in(world: World) -> None:
    """With the best credential that there is."""
    known = {(door.method, door.route) for door in ALL}
    routes_of = {door.route: door for door in ALL if not door.stream}
    let_in = {}
    for route, door in routes_of.items():
        who = {"full": "login token", "operator": "operator", "closed": "operator"}
        best = "login token" if door.is_api else who.get(door.needs, "web session")
        for method in METHODS:
            if (method, route) in known:
                continue
            with undone():
                answer = world.callers[best].call(method, door.filled(world.values), {})
                # Django's views of the admin show their page to any method.
                is_shown = door.is_admin or answer.status_code in (403, 404, 405)
                if not is_shown or has_written():
                    let_in[f"{method} {route}"] = answer.status_code
    assert let_in == {}


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", OPEN, ids=str)
def test_a_call_is_counted_where_its_row_says_and_refused_beyond(
    world: World, door: Door, redis: Any
) -> None:
    rate = RATES[door.rates[0]]
    counted_by = "127.0.0.1"
    if rate.by != By.NETWORK and door.needs != "none" and door.caller != "half signed in":
        counted_by = str(world.whose[door.caller])
    with undone(), override_settings(RATE_LIMITS=True):
        if door.before:
            door.before(world)
        answer = knock(world, door, world.callers[door.caller])
        assert answer.status_code in door.expected
        keys = [key.decode() for key in redis.scan_iter("throttle:*")]
        assert sorted(key.split(":")[1] for key in keys) == sorted(door.rates)
        key = key_of(rate, counted_by, time.time())
        assert key in keys
    redis.flushdb()
    redis.set(key, rate.at_most)
    with undone(), override_settings(RATE_LIMITS=True):
        if door.before:
            door.before(world)
        refused = knock(world, door, world.callers[door.caller])
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= rate.window_s


# --- The audit log --------------------------------------------------------------------------------


def last_audited() -> int:
    return AuditEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0


def audited_since(last: int) -> list[str]:
    return sorted(AuditEvent.objects.filter(id__gt=last).values_list("action", flat=True))


# --- Actions and commands -------------------------------------------------------------------------


def act(world: World, action: Action, caller: cast.Caller, reason: str) -> Any:
    row = getattr(world, action.of) if action.of else world.rows[action.model]
    body = {"action": action.name, "_selected_action": str(row.pk), "reason": reason, "index": "0"}
    path = f"/admin/{row._meta.app_label}/{action.model}/"
    return caller.call("POST", path, body | action.body)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.model}.{action.name}")
def test_an_action_is_for_operators_and_audited_as_its_row_says(
    world: World, action: Action
) -> None:
    for credential in CREDENTIALS:
        with undone():
            before = fingerprint()
            answer = act(world, action, world.callers[credential], "because")
            if credential != "operator":
                assert answer.status_code in (302, 403), credential
                assert fingerprint() == before, credential
    with undone():
        last = last_audited()
        assert act(world, action, world.callers["operator"], "because").status_code == 302
        assert audited_since(last) == sorted(action.audit)
        event = AuditEvent.objects.latest("id")
        assert event.actor == "operator olga"
        assert event.detail.get("reason", "") == (action.asked if action.reason else "")
    if action.reason:
        with undone():
            before = fingerprint()
            act(world, action, world.callers["operator"], " ")
            assert fingerprint() == before


@pytest.mark.parametrize("door", STREAMS, ids=str)
def test_a_stream_opens_for_the_credentials_of_its_row_and_no_other(
    world: World, door: Door, redis: Any
) -> None:
    """And is counted. Not undone: a stream gives its connection back."""
    found = {}
    for credential in CREDENTIALS:
        redis.flushdb()
        with override_settings(RATE_LIMITS=True):
            answer = knock(world, door, world.callers[credential])
        found[credential] = not is_turned_away(door, answer)
        if credential == door.caller:
            keys = [key.decode() for key in redis.scan_iter("throttle:*")]
            assert [key.split(":")[1] for key in keys] == door.rates
    assert found == {credential: credential in door.accepts for credential in CREDENTIALS}


CHANGING = [command for command in COMMANDS if command.way]


@pytest.mark.parametrize("command", CHANGING, ids=lambda command: command.name)
def test_a_command_is_audited_as_its_row_says(world: World, command: Command) -> None:
    assert command.way
    with undone():
        last = last_audited()
        command.way(world)
        assert audited_since(last) == sorted(command.audit)
