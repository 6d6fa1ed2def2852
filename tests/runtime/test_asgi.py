"""Which requests get a thread of their own, and which are streams on the event loop."""

from __future__ import annotations

import inspect
import re
import uuid

import pytest
from django.urls import resolve

from accounts import credentials
from accounts.models import Session, User
from coinos.asgi import stream_routes
from coinos.caller import Caller, calling
from coinos.joined import Joined


@pytest.mark.parametrize(
    ("path", "is_stream"),
    [
        ("events", True),
        ("api/events", True),
        ("payments.csv", True),
        ("invoice/6e1c7a0c-63b6-4f0b-a7de-1f4a0b6dbe7c/events", True),
        ("api/me", False),
        ("payments", False),
        ("no/such/page", False),
    ],
)
def test_streams_are_told_from_pages_by_their_route(path: str, is_stream: bool) -> None:
    assert any(route.match(path) for route in stream_routes) == is_stream


def test_every_async_view_is_reached_as_a_stream() -> None:
    for route in stream_routes:
        path = re.sub(
            r"<(\w+):\w+>",
            lambda found: str(uuid.UUID(int=1)) if found[1] == "uuid" else "1",
            str(route),
        )
        assert inspect.iscoroutinefunction(resolve(f"/{path}").func), path


def test_a_written_statement_reads_a_session_as_django_does(alice: User) -> None:
    with calling(Caller("api", address="2001:db8::1")):
        made = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    ours = credentials.live_session(made.id)
    djangos = Session.objects.select_related("user").get(id=made.id)
    assert ours is not None
    for field in Session._meta.concrete_fields:
        assert getattr(ours, field.attname) == getattr(djangos, field.attname)
    for field in User._meta.concrete_fields:
        assert getattr(ours.user, field.attname) == getattr(djangos.user, field.attname)


def test_where_a_left_join_finds_nothing_there_is_no_instance() -> None:
    users = Joined(user=User)
    assert users.read([None] * len(User._meta.concrete_fields)) == [None]
