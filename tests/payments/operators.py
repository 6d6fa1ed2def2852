"""Operators of the stories, and how they work: by command or in the admin."""

from __future__ import annotations

import io
import sys
from typing import Any

from django.core.management import call_command
from django.test import Client

from accounts.models import User
from payments.operations import By
from tests.cast import give_password, make_user


def make_operator(name: str) -> User:
    return give_password(make_user(name, is_staff=True, is_superuser=True))


def by(user: User) -> By:
    return By(f"operator {user.username}", user)


def run(*words: str, typed: str = "") -> str:
    """`manage.py operator …`, with what is typed at its prompts; returns what it prints."""
    said, before = io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(typed)
    try:
        call_command("operator", *words, stdout=said)
    finally:
        sys.stdin = before
    return said.getvalue()


def press(
    office: Client, model: str, action: str, row: Any, reason: str = "because", **more: str
) -> str:
    """Run an action of the admin on a row; returns the page that the operator sees then."""
    body = {"action": action, "_selected_action": str(row.pk), "reason": reason, "index": "0"}
    answer = office.post(f"/admin/payments/{model}/", body | more, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())
