"""What an open page alone may not do: it needs the password of the last minutes."""

from __future__ import annotations

import time

from django.forms import BaseForm, CharField, PasswordInput
from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts import services
from accounts.authentication import user_of
from accounts.authenticators import StepUp
from accounts.forms import pin_input
from coinos.errors import CoinosError
from coinos.web import sentence

CONFIRMED_FOR_S = 300
CONFIRMED_AT = "confirmed_at"


def note_confirmed(request: HttpRequest) -> None:
    """The password was typed just now."""
    request.session[CONFIRMED_AT] = time.time()


def with_password(request: HttpRequest, form: BaseForm) -> BaseForm:
    """Add a password field unless it was typed within the last five minutes."""
    if time.time() - request.session.get(CONFIRMED_AT, 0) > CONFIRMED_FOR_S:
        form.fields["password"] = CharField(
            max_length=4096,
            strip=False,
            label=_("Your password"),
            widget=PasswordInput(attrs={"autocomplete": "current-password"}),
        )
    return form


def proof_of(request: HttpRequest, form: BaseForm) -> StepUp | None:
    """What a change of an authenticator asks for; None when the form now says what is missing."""
    return StepUp() if password_is_confirmed(request, form) else None


def with_pin(request: HttpRequest, form: BaseForm) -> BaseForm:
    """Add a field for the PIN where the account has one: for forms that let somebody else spend.
    The service says whether it was right."""
    if user_of(request).has_pin:
        form.fields["pin"] = CharField(required=False, label="PIN", widget=pin_input())
    return form


def password_is_confirmed(request: HttpRequest, form: BaseForm) -> bool:
    """Whether the password was right, or was not asked for; else the form says so."""
    if "password" not in form.fields:
        return True
    try:
        services.confirm_password(user_of(request), form.cleaned_data["password"])
    except CoinosError as error:
        form.add_error("password", sentence(error))
        return False
    note_confirmed(request)
    return True
