"""The pages of funds, for whoever owns or manages one. To everybody else there is no such page: the
link that people pay is the fund's public one, `/<name>`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import funds as accounts_funds
from accounts import ledger
from accounts.authentication import user_of
from accounts.errors import InvalidPin
from accounts.forms import FundForm, FundProfileForm, ManagerForm
from accounts.models import Activity
from accounts.rows import Row, rows
from accounts.selectors import Line, StatementFilter, statement_page
from accounts.services import BalanceLeft
from accounts.step_up import password_is_confirmed, with_password, with_pin
from accounts.views import HIDE_BALANCE
from coinos import limits
from coinos.errors import CoinosError, InvalidRequest, RateLimited
from coinos.throttling import limited
from coinos.web import Units, add_error, posted, sentence, signed_in
from invoices.lnurl import lnurl_of
from payments import idempotency, services
from payments.forms import ConfirmForm, GiftForm, TakeOutForm
from payments.gift_pages import ALREADY_MADE, ask_pin_for_link, voucher
from payments.selectors import gifts_of

PAYMENTS_SHOWN = 50


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.FUND)
def funds(request: HttpRequest) -> HttpResponse:
    """The funds that one owns or manages. POST opens a new one."""
    user = user_of(request)
    form = FundForm(posted(request))
    if form.is_valid():
        try:
            made = accounts_funds.create_fund(user, **form.cleaned_data)
        except CoinosError as error:
            add_error(form, error)
        else:
            messages.success(request, _("Your fund is open. Share its link with people"))
            return redirect("fund", made.username)
    context = {"form": form, "funds": accounts_funds.funds_of(user), "here": "send"}
    return render(request, "payments/funds.html", context, status=422 if form.errors else 200)


@require_safe
@signed_in
def fund(request: HttpRequest, name: str) -> HttpResponse:
    return fund_page(request, name)


def fund_page(
    request: HttpRequest,
    name: str,
    *,
    profile: BaseForm | None = None,
    manager: BaseForm | None = None,
) -> HttpResponse:
    """The page of one fund, with a form that was refused."""
    user = user_of(request)
    found = accounts_funds.fund_for(user, name)
    lines = statement_page(found, StatementFilter(status="all"), limit=PAYMENTS_SHOWN)
    context: dict[str, Any] = {
        "fund": found,
        "is_owner": found.owner_id == user.id,
        "is_hidden": request.COOKIES.get(HIDE_BALANCE) == "yes",
        "balance": ledger.balance_of(found.id),
        "rows": _rows(lines, Units(user)),
        "gifts": gifts_of(found),
        "managers": accounts_funds.managers_of(found),
        "lnurl": lnurl_of(found.username),
        "profile": profile
        or FundProfileForm(initial={"display": found.display, "about": found.about}),
        "manager": manager or with_pin(request, with_password(request, ManagerForm())),
        "here": "send",
    }
    return render(request, "payments/fund.html", context, status=422 if profile or manager else 200)


def _rows(lines: list[Line], units: Units) -> list[Row]:
    """Each leads to its receipt, which there is once it is settled."""
    return [
        row if row.status == Activity.Status.SETTLED else replace(row, url="")
        for row in rows(lines, units)
    ]


# --- Spending ------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.SPEND)
def take_out(request: HttpRequest, name: str) -> HttpResponse:
    """Move an amount to one's own balance."""
    user = user_of(request)
    found = accounts_funds.fund_for(user, name)
    form = TakeOutForm(posted(request), owner=user, initial={"key": ConfirmForm.new_key()})
    if form.is_valid():
        shown = {word: form.cleaned_data[word] for word in ("amount_sat", "memo")}
        try:
            services.take_out(
                credential=request.credential,  # type: ignore[attr-defined]
                fund=found,
                pin=form.cleaned_data["pin"],
                named=_named(request, form, shown),
                **shown,
            )
        except CoinosError as error:
            form = form.again(error)
        else:
            messages.success(request, _("The sats are in your wallet"))
            return redirect("fund", found.username)
    return _spend_page(request, "payments/fund_take.html", found, form)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.SPEND)
def gift(request: HttpRequest, name: str) -> HttpResponse:
    """Hand out a gift and show its link, this once."""
    user = user_of(request)
    found = accounts_funds.fund_for(user, name)
    form = GiftForm(posted(request), owner=user, initial={"key": ConfirmForm.new_key()})
    if form.is_valid():
        shown = {word: form.cleaned_data[word] for word in ("amount_sat", "days", "memo")}
        try:
            made = services.make_gift_of_fund(
                credential=request.credential,  # type: ignore[attr-defined]
                fund=found,
                pin=form.cleaned_data["pin"],
                named=_named(request, form, shown),
                **shown,
            )
        except CoinosError as error:
            form = form.again(error)
        else:
            if made:
                return voucher(request, *made)
            messages.info(request, ALREADY_MADE)
            return redirect("fund", found.username)
    return _spend_page(request, "payments/fund_gift.html", found, form)


def _named(
    request: HttpRequest, form: TakeOutForm | GiftForm, shown: dict[str, Any]
) -> idempotency.Named | None:
    """The keys of a fund are those of all who manage it: what one sent answers nobody else."""
    body = shown | {"by": str(user_of(request).id)}
    return idempotency.name_of(form.cleaned_data["key"], path=request.path, body=body)


def _spend_page(request: HttpRequest, template: str, fund: Any, form: Any) -> HttpResponse:
    context = {"fund": fund, "form": form, "balance": ledger.balance_of(fund.id), "here": "send"}
    return render(request, template, context, status=422 if form.errors else 200)


@require_POST
@signed_in
@limited(post=limits.SPEND)
def link(request: HttpRequest, name: str, gift_id: UUID) -> HttpResponse:
    """A new link for a gift; the old one ends. Asks for the PIN first, where there is one."""
    found = accounts_funds.fund_for(user_of(request), name)
    try:
        replaced = services.replace_link_of_fund(
            credential=request.credential,  # type: ignore[attr-defined]
            fund=found,
            gift_id=gift_id,
            pin=request.POST.get("pin"),
        )
    except InvalidPin as error:
        return ask_pin_for_link(request, error, back=reverse("fund", args=[found.username]))
    return voucher(request, *replaced)


@require_POST
@signed_in
@limited(post=limits.SPEND)
def take_back(request: HttpRequest, name: str, gift_id: UUID) -> HttpResponse:
    user = user_of(request)
    found = accounts_funds.fund_for(user, name)
    services.take_back_gift_of_fund(user, found, gift_id)
    messages.success(request, _("The gift is back in the fund"))
    return redirect("fund", found.username)


# --- Roles, profile, the end ---------------------------------------------------------------------


@require_POST
@signed_in
def save_profile(request: HttpRequest, name: str) -> HttpResponse:
    form = FundProfileForm(request.POST)
    if not form.is_valid():
        return fund_page(request, name, profile=form)
    found = accounts_funds.change_fund(user_of(request), name, **form.cleaned_data)
    messages.success(request, _("The page of the fund is saved"))
    return redirect("fund", found.username)


@require_POST
@signed_in
@limited(post=limits.MANAGER)
def add_manager(request: HttpRequest, name: str) -> HttpResponse:
    """Asks for password and PIN: a manager spends without either of the owner's."""
    user = user_of(request)
    found = accounts_funds.fund_for(user, name)
    form = with_pin(request, with_password(request, ManagerForm(request.POST)))
    if form.is_valid() and password_is_confirmed(request, form):
        try:
            added = accounts_funds.add_manager(
                user, name, form.cleaned_data["username"], pin=form.cleaned_data.get("pin")
            )
        except (InvalidRequest, InvalidPin, RateLimited) as error:
            add_error(form, error)
        else:
            messages.success(
                request, _("%(name)s manages this fund now") % {"name": added.user.username}
            )
            return redirect("fund", found.username)
    return fund_page(request, name, manager=form)


@require_POST
@signed_in
def remove_manager(request: HttpRequest, name: str, role_id: int) -> HttpResponse:
    accounts_funds.remove_manager(user_of(request), name, role_id)
    messages.success(request, _("That person does not manage this fund any more"))
    return redirect("fund", name)


@require_POST
@signed_in
def leave(request: HttpRequest, name: str) -> HttpResponse:
    accounts_funds.leave_fund(user_of(request), name)
    messages.success(request, _("You do not manage this fund any more"))
    return redirect("funds")


@require_POST
@signed_in
def close(request: HttpRequest, name: str) -> HttpResponse:
    user = user_of(request)
    try:
        accounts_funds.close_fund(user, name)
    except BalanceLeft as error:
        messages.error(request, sentence(error))
        return redirect("fund", name)
    messages.success(request, _("The fund is closed"))
    return redirect("funds")
