"""A new password for somebody who has forgotten the old one and has no confirmed e-mail address.

Instead of Django's command of this name, which would leave every sign-in as it is: whoever asks for
a new password may be throwing out a thief."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import authenticators, names
from accounts.models import User
from coinos.errors import CoinosError


class Command(BaseCommand):
    help = (
        "Set a user's password and end all of the user's sign-ins. The new password is asked for,"
        " or read as one line from standard input. A second factor and the PIN stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument(
            "--reason", required=True, help="For the audit log: how you know who asked"
        )
        parser.add_argument(
            "--revoke-api-keys", action="store_true", help="End the user's API keys too"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=names.normalise(options["username"])).first()
        if user is None or user.is_fund:
            raise CommandError(f"There is no user {options['username']}.")
        if not options["reason"].strip():
            raise CommandError("Write a reason for the audit log.")
        try:
            authenticators.set_password_as_operator(
                user,
                new=_typed(user.username),
                actor=whoever_runs_this(),
                reason=options["reason"].strip(),
                api_keys=options["revoke_api_keys"],
            )
        except CoinosError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{user.username} has a new password and is signed out everywhere.")


def _typed(username: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass(f"New password of {username}: ")
    if getpass.getpass("Once more: ") != first:
        raise CommandError("The two are not the same. Nothing was changed.")
    return first


def whoever_runs_this() -> str:
    """How the audit log names whoever runs this: by the account of this machine."""
    try:
        return f"operator {getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return "operator"
