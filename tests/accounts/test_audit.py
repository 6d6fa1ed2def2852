"""The audit log says who did what, through which door and from where (V16.3)."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from accounts import services
from accounts.audit import audit
from accounts.models import AuditEvent, Session, User
from coinos.caller import NOBODY, Caller, caller, caller_middleware, calling
from tests.cast import PASSWORD, Api, api_of, give_password


def test_a_change_through_the_api_is_noted_with_where_it_came_from(alice: User) -> None:
    body = {"newpin": "123456", "current_password": PASSWORD}
    api_of(give_password(alice)).post("/user", body, User_Agent="curl/8.0")
    event = AuditEvent.objects.get(user=alice, action="pin.set")
    assert (event.door, event.address, event.user_agent) == ("api", "127.0.0.1", "curl/8.0")
    assert caller() == NOBODY  # it ended with the request


def test_a_session_is_noted_with_where_it_came_from(db: None) -> None:
    body = {"user": {"username": "dora", "password": "correct horse"}}
    Api().post("/register", body, User_Agent="a phone " + "x" * 300)
    session = Session.objects.get(user__username="dora")
    assert session.address == "127.0.0.1"
    assert session.user_agent == ("a phone " + "x" * 300)[:200]


def test_a_command_and_a_task_have_no_address(alice: User) -> None:
    with calling(Caller("command")):
        services.freeze(alice, actor="operator", reason="test")
    services.unfreeze(alice, actor="operator", reason="test")
    doors = AuditEvent.objects.filter(user=alice).order_by("id").values_list("door", "address")
    assert list(doors) == [("command", None), ("task", None)]


def test_the_servers_log_has_the_same_as_a_line_of_json_once_it_is_committed(
    alice: User, caplog: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with caplog.at_level(logging.INFO, logger="coinos.audit"):
        with calling(Caller("page", address="192.0.2.7", user_agent="Firefox")):
            with django_capture_on_commit_callbacks(execute=True):
                audit(alice, "something.happened", object="x", detail={"reason": "é"})
                assert caplog.messages == []
    assert json.loads(caplog.messages[0]) == {
        "action": "something.happened",
        "user": str(alice.id),
        "actor": "user",
        "object": "x",
        "door": "page",
        "address": "192.0.2.7",
        "user_agent": "Firefox",
        "detail": {"reason": "é"},
    }


@pytest.mark.parametrize(
    ("path", "door"), [("/api/health", "api"), ("/login", "page"), ("/admin/login/", "admin")]
)
def test_the_door_is_known_by_the_path(path: str, door: str) -> None:
    seen: list[Caller] = []

    def view(request: Any) -> HttpResponse:
        seen.append(caller())
        return HttpResponse()

    caller_middleware(view)(RequestFactory().get(path, REMOTE_ADDR="unix"))
    assert seen == [Caller(door)]
