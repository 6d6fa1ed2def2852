"""Django's command, for accounts that also have books: the operator is a user of the wallet too."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.core.management.base import CommandError
from django.db import IntegrityError, transaction

from accounts import ledger
from accounts.audit import audit
from accounts.management.commands.changepassword import whoever_runs_this
from accounts.models import User
from coinos.errors import CoinosError


class Command(createsuperuser.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                super().handle(*args, **options)
                for user in User.objects.filter(is_superuser=True, ledger_account=None):
                    ledger.open_account(user)
                    audit(user, "operator.made", actor=whoever_runs_this())
        except IntegrityError as error:
            raise CommandError("A name has 2 to 24 small letters and digits.") from error
        except CoinosError as error:  # of the password, whatever the prompt may skip
            raise CommandError(error.message) from error
