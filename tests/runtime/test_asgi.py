"""How requests are answered: each in one thread, and what all of them read."""

from __future__ import annotations

import inspect

from django.urls import get_resolver

from accounts import credentials
from accounts.models import Session, User
from coinos.caller import Caller, calling
from coinos.joined import Joined
from coinos.routes import routes


def test_no_view_is_async() -> None:
    """It would run on an event loop of its own, in a request's thread. What goes on for long is an
    iterator, which `coinos.streaming` sends."""
    found = [
        route
        for route, view in routes(get_resolver().url_patterns)
        if inspect.iscoroutinefunction(view)
    ]
    assert found == []


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
