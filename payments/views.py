"""Pages for sending, and what became of every payment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.authentication import user_of
from accounts.errors import IdempotencyInProgress, InvalidPin
from accounts.models import Activity, Contact, User
from accounts.rows import days, rows
from accounts.search import LINES_READ, is_id, search
from accounts.selectors import (
    StatementFilter,
    TotalsByCurrency,
    contacts,
    line_of,
    page_and_totals,
    statement_page,
)
from accounts.services import pin_contact
from accounts.statement import MEMO_MAX_CHARACTERS
from coinos import limits
from coinos.errors import Busy, CoinosError, NotFound, RateLimited
from coinos.throttling import count, limited
from coinos.web import (
    Units,
    add_error,
    posted,
    said,
    sentence,
    sign_in_first,
    signed_in,
)
from payments import idempotency
from payments.errors import CannotBump, PaymentFailed
from payments.export import csv_lines
from payments.fees import USUAL_SIZE_VB
from payments.forms import (
    BumpForm,
    ConfirmForm,
    HistoryForm,
    SendAgainForm,
    SendAmountForm,
    SendForm,
)
from payments.selectors import gift_of, own_payment_by_key, payment_of, recent_addresses
from payments.services.bump import bump_own, suggested_rate_sat_vb
from payments.services.cancel import cancel
from payments.services.lnurl import DescriptionDiffers, RemoteRefused
from payments.services.pasted import Bill, Target, everything_sat, look, pay, price, target_of
from payments.timeline import decided_by, fee_returned_sat, progress, timeline

PAYMENTS_PER_PAGE = 30
PENDING_ON_TOP = 20
CONTACTS_SHOWN = 10
PINNED_SHOWN = 30

# --- Sending: paste, amount, confirm, pay --------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.LOOK)
def send(request: HttpRequest) -> HttpResponse:
    """Paste anything. POST goes on to the amount, or to the confirmation when it is known; with
    what was chosen before, to change it or to try again."""
    form = SendAgainForm(posted(request), initial={"text": request.GET.get("text", "")})
    if form.is_valid():
        chosen = form.cleaned_data
        text = chosen["text"].strip()
        try:
            target = look(user_of(request), text)
            if target.fixed_sat is None:
                return _amount_page(request, target, chosen=chosen)
            bill = price(user_of(request), target, target.fixed_sat)
        except CoinosError as error:
            form.add_error("text", sentence(error))
        else:
            confirm_form = _confirm_form(target, bill, memo=chosen["memo"])
            return _confirm_page(request, target, bill, confirm_form)
    return _send_page(request, form)


@require_POST
@signed_in
@limited(post=limits.LOOK)
def confirm(request: HttpRequest) -> HttpResponse:
    """The amount is chosen: show what it costs."""
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
                target,
                bill,
                amount_sat=amount_sat,
                memo=form.cleaned_data["memo"],
                tell=form.cleaned_data["tell"],
                fee_rate=rate,
                subtract=subtract,
            )
            return _confirm_page(request, target, bill, confirm_form)
    except CoinosError as error:
        add_error(form, error)
    return _amount_page(request, target, form)


@require_POST
@signed_in
@limited(post=limits.SPEND)
def pay_confirmed(request: HttpRequest) -> HttpResponse:
    """Pay exactly what the confirmation page showed. Posting it again shows the first result."""
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
            any_description=shown["any_description"],
            tell=shown["tell"].split(),
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
    new key, so that trying again is a new payment; after a warning, it is to agree."""
    user, shown = user_of(request), form.cleaned_data
    try:
        if isinstance(error, DescriptionDiffers):
            target = target_of(user, error.destination, error.service)
            shown["any_description"] = True
        elif isinstance(error, RemoteRefused | Busy | RateLimited):
            raise error  # it took its time: do not ask again at once
        else:
            target = look(user, shown["text"])
        bill = price(
            user,
            target,
            shown["amount_sat"],
            fee_rate_sat_vb=shown["fee_rate"],
            subtract=shown["subtract"],
        )
    except CoinosError:  # it cannot even be looked up any more: stay with what was pasted
        pasted = SendAgainForm(shown)
        pasted.is_valid()
        pasted.add_error("text", sentence(error))
        return _send_page(request, pasted)
    key = shown["key"] if isinstance(error, InvalidPin) else ConfirmForm.new_key()
    again = ConfirmForm({**shown, "key": key}, target=target)
    again.is_valid()
    add_error(again, error)
    if isinstance(error, PaymentFailed):
        again.add_error(None, _("Nothing was paid and your sats are back. You can try again."))
    return _confirm_page(request, target, bill, again)


def _confirm_form(
    target: Target,
    bill: Bill,
    *,
    amount_sat: int | None = None,
    memo: str = "",
    tell: Collection[str] = (),
    fee_rate: int | None = None,
    subtract: bool = False,
) -> ConfirmForm:
    is_routed = not target.is_internal and not target.is_onchain
    return ConfirmForm(
        initial={
            "text": target.text,
            "amount_sat": amount_sat or bill.amount_sat,
            "max_fee_sat": bill.fee_max_sat if is_routed else None,
            "fee_rate": fee_rate,
            "subtract": subtract,
            "memo": memo,
            "tell": " ".join(tell),
            "key": ConfirmForm.new_key(),
        },
        target=target,
    )


def _send_page(request: HttpRequest, form: forms.Form) -> HttpResponse:
    known = contacts(user_of(request), PINNED_SHOWN + CONTACTS_SHOWN)
    pinned = [row for row in known if row.pinned]
    recent: list[tuple[datetime, Contact | None, str]] = [
        (row.last_paid, row, "") for row in known if not row.pinned
    ]
    recent += [
        (payment.created, None, payment.recipient)
        for payment in recent_addresses(user_of(request), CONTACTS_SHOWN)
    ]
    recent.sort(key=lambda row: row[0], reverse=True)
    context = {
        "form": form,
        "pinned": pinned,
        "recent": recent[:CONTACTS_SHOWN],
        "here": "send",
    }
    return render(request, "payments/send.html", context, status=422 if form.errors else 200)


@require_POST
@signed_in
def pin(request: HttpRequest) -> HttpResponse:
    """Keep a contact on top, or no longer."""
    pin_contact(user_of(request), said(request, "contact"), pinned="pinned" in request.POST)
    return redirect("send")


def _amount_page(
    request: HttpRequest,
    target: Target,
    form: SendAmountForm | None = None,
    *,
    chosen: dict[str, Any] | None = None,
) -> HttpResponse:
    user = user_of(request)
    chosen = chosen or {}
    amount_sat = chosen.get("amount_sat") or target.suggested_sat
    # What a bitcoin link says of itself reaches nobody else: it is the payer's own note.
    note = target.memo[:MEMO_MAX_CHARACTERS] if target.is_onchain else ""
    form = form or SendAmountForm(
        owner=user,
        target=target,
        size_vb=_size_vb(user, target, amount_sat),
        initial={
            "text": target.text,
            "amount": amount_sat,
            "memo": chosen.get("memo") or note,
            "fee_rate": chosen.get("fee_rate"),
        },
    )
    context = {
        "form": form,
        "target": target,
        "most_sat": everything_sat(user, target),
        "here": "send",
    }
    return render(request, "payments/amount.html", context, status=422 if form.errors else 200)


def _size_vb(user: User, target: Target, amount_sat: int | None) -> int:
    """How large the transaction would be: as the wallet would build it when the amount is known,
    else as most are."""
    if not target.fees or not amount_sat:
        return USUAL_SIZE_VB
    rate = target.fees.half_hour
    try:
        bill = price(user, target, amount_sat, fee_rate_sat_vb=rate)
    except CoinosError:
        return USUAL_SIZE_VB
    return -(-(bill.fee_sat or 0) // rate)


def _confirm_page(
    request: HttpRequest, target: Target, bill: Bill, form: ConfirmForm
) -> HttpResponse:
    told = (form["tell"].value() or "").split()
    context = {
        "form": form,
        "target": target,
        "bill": bill,
        "told": [asked.text for asked in target.asked if asked.kind in told],
        "here": "send",
    }
    return render(request, "payments/confirm.html", context, status=422 if form.errors else 200)


# --- What became of payments ---------------------------------------------------------------------


@require_safe
@signed_in
def payments(request: HttpRequest) -> HttpResponse:
    """The statement, newest first, with what is undecided on top; `?before=` is the last payment
    of the page before."""
    user = user_of(request)
    form, wanted = _history(request)
    before = _line_of(user, request.GET.get("before", ""))
    listed, counted, pending = wanted, wanted, []
    if wanted.status == "all":
        listed = replace(wanted, status="decided")
        counted = replace(wanted, status=None)  # failed ones did nothing to the balance
        if before is None:
            undecided = replace(wanted, status=Activity.Status.PENDING)
            pending = statement_page(user, undecided, limit=PENDING_ON_TOP + 1)
    lines, totals = page_and_totals(
        user, listed, counted, after=before, limit=PAYMENTS_PER_PAGE + 1
    )
    show = form.cleaned_data["show"]
    ranges = form.ranges(timezone.localdate())
    has_more = len(lines) > PAYMENTS_PER_PAGE
    units = Units(user)
    context = {
        "form": form,
        "pending": rows(pending[:PENDING_ON_TOP], units),
        "all_pending": form.query(show="pending") if len(pending) > PENDING_ON_TOP else "",
        "days": days(lines[:PAYMENTS_PER_PAGE], units),
        "older": form.query(before=str(lines[PAYMENTS_PER_PAGE - 1].id)) if has_more else "",
        "newest": form.query(),
        "show": show,
        "filters": [
            (form.query(show=key), key, label)
            for key, label in [
                ("all", _("All")),
                ("in", _("Received")),
                ("out", _("Sent")),
                ("pending", _("Pending")),
                ("failed", _("Failed")),
            ]
        ],
        "totals": _totals(user, totals) if wanted.status != Activity.Status.FAILED else [],
        "ranges": ranges,
        "is_narrowed": bool(wanted.start or wanted.end or wanted.ids is not None),
        "is_searched": wanted.ids is not None or not any(is_shown for *_, is_shown in ranges),
        "lines_read": LINES_READ,
        "is_first_page": before is None,
        "here": "payments",
    }
    return render(request, "payments/payments.html", context)


@require_safe
@signed_in
@limited(get=limits.EXPORT)
def export(request: HttpRequest) -> HttpResponse:
    """The same list, all pages of it, as a CSV file."""
    user = user_of(request)
    _, wanted = _history(request)
    name = f"coinos-{user.username}-{timezone.now():%Y-%m-%d}.csv"
    return StreamingHttpResponse(  # type: ignore[return-value]
        csv_lines(user, wanted),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _history(request: HttpRequest) -> tuple[HistoryForm, StatementFilter]:
    """The filter that the address asks for, and its form."""
    form = HistoryForm(request.GET)
    form.is_valid()
    form.cleaned_data.setdefault("show", "all")
    wanted = form.wanted()
    text = form.cleaned_data.get("q", "")
    if text:
        count(request, limits.SEARCH)
        wanted = search(user_of(request), wanted, text)
    return form, wanted


def _totals(user: User, found: TotalsByCurrency) -> list[dict[str, Any]]:
    """What the payments of this filter did to the balance, by direction and currency."""
    units = Units(user)
    return [
        {
            "incoming": incoming,
            "count": sums.count,
            "sats": sums.change_sat(incoming=incoming),
            "fiat": units.money(abs(sums.change_fiat(incoming=incoming)), currency)
            if sums.fiat
            else "",
        }
        for (incoming, currency), sums in sorted(found.items(), reverse=True)
    ]


@require_safe
def payment(request: HttpRequest, payment_id: UUID) -> HttpResponse:
    """One payment and its story, to its owner; a receipt to everybody else who has the link, and
    to the owner who asks with `?public` what they see. `?seen=` as on the invoice page."""
    user = user_of(request) if getattr(request, "credential", None) else None
    line = line_of(user, payment_id) if user else None
    if user is None or line is None or "public" in request.GET:
        return _receipt(request, payment_id, viewer=user)
    outgoing = payment_of(line)
    steps = timeline(line, outgoing, gift_of(line))
    can_be_cancelled = bool(outgoing and outgoing.can_be_cancelled)
    state = f"{line.status}-{outgoing.state if outgoing else ''}-{can_be_cancelled}-{len(steps)}"
    if request.GET.get("seen") == state:
        return HttpResponse(status=204)
    context = {
        "payment": line,
        "outgoing": outgoing,
        "steps": steps,
        "state": state,
        "progress": progress(line, outgoing),
        "decided_by": decided_by(outgoing) if line.status == Activity.Status.PENDING else None,
        "now": timezone.now(),
        "fee_returned_sat": fee_returned_sat(outgoing) if outgoing else 0,
        "given": line.success_action,
        "here": "payments",
    }
    return render(request, "payments/payment.html", context)


@require_POST
@signed_in
@limited(post=limits.SPEND)
def cancel_payment(request: HttpRequest, payment_id: UUID) -> HttpResponse:
    """Take a payment back that has not been sent yet."""
    own = own_payment_by_key(str(payment_id), user_of(request))
    try:
        cancel(own.id)
    except CoinosError as error:
        messages.error(request, sentence(error))
    else:
        messages.success(request, _("Cancelled. Your sats are back."))
    return redirect("payment", own.id)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.SPEND)
def bump_payment(request: HttpRequest, payment_id: UUID) -> HttpResponse:
    """A higher fee for a payment that waits for a block."""
    own = own_payment_by_key(str(payment_id), user_of(request))
    if not own.can_be_bumped:
        messages.info(request, sentence(CannotBump()))
        return redirect("payment", own.id)
    suggested_sat_vb = suggested_rate_sat_vb(own)
    form = BumpForm(posted(request), initial={"fee_rate": suggested_sat_vb})
    if form.is_valid():
        try:
            bump_own(
                credential=request.credential,  # type: ignore[attr-defined]
                payment=own,
                fee_rate_sat_vb=form.cleaned_data["fee_rate"],
                pin=form.cleaned_data["pin"],
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            messages.success(request, _("It goes out with the higher fee now."))
            return redirect("payment", own.id)
    assert own.fee_sat is not None
    assert own.fee_rate_sat_vb
    context = {
        "form": form,
        "payment": own,
        "suggested_sat_vb": suggested_sat_vb,
        "more_sat": max(0, own.fee_sat * suggested_sat_vb // own.fee_rate_sat_vb - own.fee_sat),
        "here": "payments",
    }
    return render(request, "payments/bump.html", context, status=422 if form.errors else 200)


def _receipt(request: HttpRequest, payment_id: UUID, *, viewer: User | None) -> HttpResponse:
    """What a shared link shows: that so much was paid, when and how, and only once it is settled.
    Not the note, the fees or the balance; and whose payment it was only to the other side, who
    knows."""
    count(request, limits.RECEIPT)
    line = Activity.objects.select_related("user").filter(id=payment_id).first()
    if line is None or line.status != Activity.Status.SETTLED:
        if viewer is None:
            return sign_in_first(request)  # whose payment it is sees more
        raise NotFound(gettext_noop("There is no such payment in your account"))
    is_onchain = line.type == Activity.Type.BITCOIN
    is_other_side = viewer is not None and viewer.id == line.counterparty_id
    context = {
        "payment": line,
        "amount_sat": abs(line.with_tip_sat),
        "owner": line.user.display or line.user.username if is_other_side else "",
        "txid": ((line.ref or "").partition(":")[0] if line.is_incoming else line.hash)
        if is_onchain
        else "",
    }
    response = render(request, "payments/receipt.html", context)
    response["X-Robots-Tag"] = "noindex"
    return response


def _line_of(user: User, payment_id: str) -> Activity | None:
    return line_of(user, UUID(payment_id)) if is_id(payment_id) else None
