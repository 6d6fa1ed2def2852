"""A page that plays the rest of the world. It exists only where the network is simulated."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_http_methods

from accounts.authentication import user_of
from coinos import limits
from coinos.errors import CoinosError, InvalidRequest, NodeUnavailable, Unauthorized
from coinos.money import MSAT_PER_SAT, parse_sat
from coinos.simnet.control import Control, ControlError
from coinos.throttling import limited
from coinos.web import next_url, sentence
from invoices.models import Invoice
from invoices.services import InvoiceDraft, create_invoice

ADDRESS_CHARACTERS = 100


class OutsideRefused(CoinosError):
    """Raised with simnet's own words, which say what the outside world could not do."""

    code = "simnet"
    title = gettext_noop("The outside world could not do that")


@require_http_methods(["GET", "HEAD", "POST"])
@limited(post=limits.SIMNET)
def page(request: HttpRequest) -> HttpResponse:
    context: dict[str, Any] = {"here": "simnet"}
    if request.method == "POST":
        try:
            context |= _act(request)
        except CoinosError as error:
            messages.error(request, sentence(error))
        if request.POST.get("next"):
            return redirect(next_url(request, request.path))
    return render(request, "coinos/simnet.html", context)


def _act(request: HttpRequest) -> dict[str, Any]:
    """Do what the button says; returns what the page shows of it."""
    given = request.POST
    control = Control(settings.SIMNET_CONTROL)
    try:
        match given.get("action"):
            case "pay":
                _pay(control, given.get("text", "").strip(), _amount(given.get("amount", "")))
                messages.success(request, _("Paid from outside"))
            case "coins":
                coins_sat = _amount(given.get("amount", "")) or 100_000
                control.deposit(_own_address(request), coins_sat)
                messages.success(
                    request, _("The coins are on their way; mine a block to confirm them")
                )
            case "mine":
                control.mine(1)
                messages.success(request, _("A block was mined"))
            case "invoice":
                amount_sat = _amount(given.get("amount", ""))
                bolt11 = control.invoice(
                    amount_msat=amount_sat * MSAT_PER_SAT if amount_sat else None,
                    node=given.get("node") or "carol",
                )
                return _result(_("A Lightning invoice from outside"), bolt11)
            case "address":
                return _result(_("A bitcoin address outside"), control.address())
            case _:
                raise InvalidRequest(gettext_noop("Choose what the outside world should do"))
    except ControlError as error:
        raise OutsideRefused(error.message) from error
    except OSError as error:
        raise NodeUnavailable(gettext_noop("simnet does not answer; is it running?")) from error
    return {}


def _own_address(request: HttpRequest) -> str:
    """A new address of whoever is signed in."""
    if getattr(request, "credential", None) is None:
        raise Unauthorized()
    draft = InvoiceDraft(type=Invoice.Type.BITCOIN, memo="Coins from simnet")
    return create_invoice(user_of(request), draft, own=True).hash


def _pay(control: Control, text: str, amount_sat: int | None) -> None:
    bare = text.removeprefix("lightning:").removeprefix("bitcoin:").split("?")[0]
    if bare.lower().startswith("ln"):
        amount_msat = amount_sat * MSAT_PER_SAT if amount_sat else None
        try:
            control.pay(bare.lower(), amount_msat=amount_msat)
        except ControlError as error:
            # An invoice with an amount needs none; its own page sends it along all the same.
            if error.code not in ("wrong_amount", "bad_amount") or amount_msat is None:
                raise
            control.pay(bare.lower())
    else:
        if not amount_sat:
            raise InvalidRequest(gettext_noop("How many sats should be sent to the address?"))
        control.deposit(bare[:ADDRESS_CHARACTERS], amount_sat)


def _amount(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        return parse_sat(text.strip())
    except ValueError as error:
        raise InvalidRequest(
            gettext_noop("Enter a whole number of sats, in digits only")
        ) from error


def _result(title: str, text: str) -> dict[str, Any]:
    return {"result_title": title, "result": text, "result_is_payable": True}
