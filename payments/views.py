"""Pages for sending, and what became of every payment."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.authentication import user_of
from accounts.errors import InvalidPin
from accounts.models import Activity
from accounts.selectors import StatementFilter, contacts, line_of, statement_page
from coinos.errors import CoinosError, NotFound
from coinos.web import add_error, limit_rate, posted, sentence, signed_in
from payments import idempotency
from payments.errors import IdempotencyInProgress
from payments.forms import ConfirmForm, SendAmountForm, SendForm
from payments.selectors import payment_of
from payments.services.pasted import Bill, Target, everything_sat, look, pay, price
from payments.timeline import decided_by, timeline

PAYMENTS_PER_PAGE = 30
CONTACTS_SHOWN = 10
FILTERS = {
    "all": StatementFilter(status="all"),
    "in": StatementFilter(status="all", incoming=True),
    "out": StatementFilter(status="all", incoming=False),
    "pending": StatementFilter(status=Activity.Status.PENDING),
    "failed": StatementFilter(status=Activity.Status.FAILED),
}

# --- Sending: paste, amount, confirm, pay --------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def send(request: HttpRequest) -> HttpResponse:
    """Paste anything. POST goes on to the amount, or to the confirmation when it is known."""
    form = SendForm(posted(request), initial={"text": request.GET.get("text", "")})
    if form.is_valid():
        limit_rate(request, "look", limit=30, window_s=60)
        text = form.cleaned_data["text"].strip()
        try:
            target = look(user_of(request), text)
            if target.fixed_sat is None:
                return _amount_page(request, target, text)
            bill = price(user_of(request), target, target.fixed_sat)
        except CoinosError as error:
            form.add_error("text", sentence(error))
        else:
            return _confirm_page(request, target, bill, _confirm_form(text, target, bill))
    return _send_page(request, form)


@require_POST
@signed_in
def confirm(request: HttpRequest) -> HttpResponse:
    """The amount is chosen: show what it costs."""
    limit_rate(request, "look", limit=30, window_s=60)
    user = user_of(request)
    pasted = SendForm(request.POST)
    if not pasted.is_valid():
        return _send_page(request, pasted)
    text = pasted.cleaned_data["text"].strip()
    try:
        target = look(user, text)
    except CoinosError as error:
        pasted.add_error("text", sentence(error))
        return _send_page(request, pasted)
    form = SendAmountForm(request.POST, owner=user, target=target)
    try:
        if form.is_valid():
            everything = form.cleaned_data["all"]
            rate = form.cleaned_data["fee_rate"]
            subtract = everything and target.is_onchain
            amount_sat = (
                everything_sat(user, target) if everything else form.cleaned_data["amount_sat"]
            )
            bill = price(user, target, amount_sat, fee_rate_sat_vb=rate, subtract=subtract)
            confirm_form = _confirm_form(
                text,
                target,
                bill,
                amount_sat=amount_sat,
                memo=form.cleaned_data["memo"],
                fee_rate=rate,
                subtract=subtract,
            )
            return _confirm_page(request, target, bill, confirm_form)
    except CoinosError as error:
        add_error(form, error)
    return _amount_page(request, target, text, form)


@require_POST
@signed_in
def pay_confirmed(request: HttpRequest) -> HttpResponse:
    """Pay exactly what the confirmation page showed. Posting it again shows the first result."""
    limit_rate(request, "spend", limit=10, window_s=10)
    form = ConfirmForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("That confirmation was not complete; nothing was sent."))
        return redirect("send")
    shown = dict(form.cleaned_data)
    key, pin = shown.pop("key"), shown.pop("pin")
    try:
        spent = pay(
            credential=request.credential,  # type: ignore[attr-defined]
            text=shown["text"],
            amount_sat=shown["amount_sat"],
            max_fee_sat=shown["max_fee_sat"],
            fee_rate_sat_vb=shown["fee_rate"],
            subtract=shown["subtract"],
            memo=shown["memo"],
            pin=pin,
            named=idempotency.name_of(key, path=request.path, body=shown),
        )
    except IdempotencyInProgress:
        messages.info(request, _("This payment is already on its way. Do not send it again."))
        return redirect("payments")
    except CoinosError as error:
        return _refused(request, form, error)
    return redirect("payment", spent.activity.id)


def _refused(request: HttpRequest, form: ConfirmForm, error: CoinosError) -> HttpResponse:
    """Nothing was sent: show the confirmation again with the reason and, but for a mistyped PIN, a
    new key, so that trying again is a new payment."""
    user, shown = user_of(request), form.cleaned_data
    try:
        target = look(user, shown["text"])
        bill = price(
            user,
            target,
            shown["amount_sat"],
            fee_rate_sat_vb=shown["fee_rate"],
            subtract=shown["subtract"],
        )
    except CoinosError:
        messages.error(request, sentence(error))
        return redirect("send")
    again = ConfirmForm(
        {**shown, "key": shown["key"] if isinstance(error, InvalidPin) else ConfirmForm.new_key()}
    )
    again.is_valid()
    add_error(again, error)
    return _confirm_page(request, target, bill, again)


def _confirm_form(
    text: str,
    target: Target,
    bill: Bill,
    *,
    amount_sat: int | None = None,
    memo: str = "",
    fee_rate: int | None = None,
    subtract: bool = False,
) -> ConfirmForm:
    is_routed = not target.is_internal and not target.is_onchain
    return ConfirmForm(
        initial={
            "text": text,
            "amount_sat": amount_sat or bill.amount_sat,
            "max_fee_sat": bill.fee_max_sat if is_routed else None,
            "fee_rate": fee_rate,
            "subtract": subtract,
            "memo": memo,
            "key": ConfirmForm.new_key(),
        }
    )


def _send_page(request: HttpRequest, form: forms.Form) -> HttpResponse:
    context = {
        "form": form,
        "contacts": contacts(user_of(request), CONTACTS_SHOWN),
        "here": "send",
    }
    return render(request, "payments/send.html", context, status=422 if form.errors else 200)


def _amount_page(
    request: HttpRequest, target: Target, text: str, form: SendAmountForm | None = None
) -> HttpResponse:
    user = user_of(request)
    form = form or SendAmountForm(
        owner=user,
        target=target,
        initial={"text": text, "amount": target.suggested_sat, "memo": ""},
    )
    context = {
        "form": form,
        "target": target,
        "most_sat": everything_sat(user, target),
        "here": "send",
    }
    return render(request, "payments/amount.html", context, status=422 if form.errors else 200)


def _confirm_page(
    request: HttpRequest, target: Target, bill: Bill, form: ConfirmForm
) -> HttpResponse:
    context = {"form": form, "target": target, "bill": bill, "here": "send"}
    return render(request, "payments/confirm.html", context, status=422 if form.errors else 200)


# --- What became of payments ---------------------------------------------------------------------


@require_safe
@signed_in
def payments(request: HttpRequest) -> HttpResponse:
    """The statement, newest first; `?before=` is the last payment of the page before."""
    user = user_of(request)
    show = request.GET.get("show", "all")
    wanted = FILTERS.get(show, FILTERS["all"])
    before = _own_line(request, request.GET.get("before", ""))
    lines = statement_page(user, wanted, after=before, limit=PAYMENTS_PER_PAGE + 1)
    context = {
        "payments": lines[:PAYMENTS_PER_PAGE],
        "next": lines[PAYMENTS_PER_PAGE - 1] if len(lines) > PAYMENTS_PER_PAGE else None,
        "show": show if show in FILTERS else "all",
        "filters": [
            ("all", _("All")),
            ("in", _("Received")),
            ("out", _("Sent")),
            ("pending", _("Pending")),
            ("failed", _("Failed")),
        ],
        "is_first_page": before is None,
        "here": "payments",
    }
    return render(request, "payments/payments.html", context)


@require_safe
@signed_in
def payment(request: HttpRequest, payment_id: UUID) -> HttpResponse:
    """One payment and its story. `?seen=` as on the invoice page."""
    line = _own_line(request, str(payment_id))
    if line is None:
        raise NotFound(gettext_noop("There is no such payment in your account"))
    outgoing = payment_of(line)
    steps = timeline(line, outgoing)
    state = f"{line.status}-{len(steps)}"
    if request.GET.get("seen") == state:
        return HttpResponse(status=204)
    context = {
        "payment": line,
        "outgoing": outgoing,
        "steps": steps,
        "state": state,
        "decided_by": decided_by(outgoing) if line.status == Activity.Status.PENDING else None,
        "here": "payments",
    }
    return render(request, "payments/payment.html", context)


def _own_line(request: HttpRequest, payment_id: str) -> Activity | None:
    try:
        wanted = UUID(payment_id)
    except ValueError:
        return None
    return line_of(user_of(request), wanted)
