"""The page that shows every component of the design, in all its states. It exists with DEBUG only.

It is built from the real templates and forms, so it cannot show what the wallet does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.messages import constants
from django.contrib.messages.storage.base import Message
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.forms import PictureForm, PinForm, PreferencesForm, RegisterForm
from accounts.models import Activity, User
from accounts.rows import Row, rows
from coinos.web import Units
from invoices.forms import ReceiveForm
from payments.destinations import Onchain, Username
from payments.forms import SendForm
from payments.services.pasted import Target
from payments.timeline import Step

BOB = User(username="bob", display="Bob Baker")
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TOKENS = (
    "paper card sunken ink soft line field accent accent-soft danger danger-soft warn warn-soft"
)


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Raises `Http404` without DEBUG."""
    if not settings.DEBUG:
        raise Http404
    return render(request, "coinos/design.html", {"shows": [Show("light"), Show("dark")]})


@dataclass(frozen=True)
class Show:
    """What one theme shows. Nothing of it is in the database."""

    theme: str
    tokens = TOKENS.split()
    bob = BOB

    @cached_property
    def form(self) -> dict[str, forms.Form]:
        ids: Any = {"auto_id": f"{self.theme}-%s"}
        owner = User(currency="USD")
        return {
            "empty": RegisterForm({}, auto_id=f"{self.theme}-wrong-%s"),
            "register": RegisterForm(initial={"username": "alice"}, **ids),
            "preferences": PreferencesForm(initial={"theme": self.theme}, **ids),
            "picture": PictureForm(**ids),
            "pin": PinForm(**ids),
            "send": SendForm(**ids),
            "receive": ReceiveForm(owner=owner, **ids),
        }

    @cached_property
    def messages(self) -> list[Message]:
        return [
            Message(constants.SUCCESS, "Your preferences are saved"),
            Message(constants.ERROR, "You can send at most 25,000 sats"),
        ]

    @cached_property
    def rows(self) -> list[Row]:
        """A line in each state, each direction and each kind."""
        earlier = timezone.now() - timedelta(days=9)
        lines: list[Any] = [  # an Activity has all that a `Line` has
            _line(21_000, memo="Two books and a coffee"),
            _line(1_200, type=Activity.Type.INTERNAL, counterparty=BOB),
            _line(-4_200, fee_sat=21),
            _line(-12_000, status=Activity.Status.PENDING, memo="Rent, the part for the garage"),
            _line(50_000, status=Activity.Status.PENDING, type=Activity.Type.BITCOIN),
            _line(-900, status=Activity.Status.FAILED, reason="The recipient refused the payment"),
            _line(2_100_000_000, type=Activity.Type.BITCOIN, created=earlier),
        ]
        return rows(lines, Units(User(currency="USD")))

    @property
    def targets(self) -> list[Target]:
        return [
            Target(Username("bob"), "bob", memo="Thank you for Friday"),
            Target(Onchain(ADDRESS), ADDRESS),
        ]

    @property
    def steps(self) -> list[Step]:
        now = timezone.now()
        return [
            Step("Held: taken out of what you can spend", now),
            Step("Sent: on its way through the network", now),
            Step("Not known yet whether it arrived", None, "waiting"),
            Step("Failed: the recipient refused the payment", now, "failed"),
        ]


def _line(amount_sat: int, **fields: Any) -> Activity:
    usual = {"type": Activity.Type.LIGHTNING, "status": Activity.Status.SETTLED}
    price = {"currency": "USD", "rate": Decimal(100_000)}
    return Activity(**(usual | price | {"amount_sat": amount_sat} | fields))
