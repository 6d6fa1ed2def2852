"""The pages of gifts: the giver's list, the voucher with its link, and what the taker sees."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from accounts.authentication import user_of
from accounts.errors import InvalidPin
from coinos import limits
from coinos.errors import CoinosError
from coinos.throttling import limited
from coinos.web import add_error, posted, sentence, sign_in_first, signed_in
from payments import idempotency, services
from payments.forms import ConfirmForm, GiftForm, PinOnlyForm
from payments.models import Gift
from payments.selectors import gifts_of
from payments.services.gifts import gift_by_token

ALREADY_MADE = gettext_lazy(
    "This gift has already been made. Its link was shown once; choose “New link” to get another"
    " one."
)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.SPEND)
def gifts(request: HttpRequest) -> HttpResponse:
    """Gifts that were made. POST makes one and shows its link, this once."""
    user = user_of(request)
    form = GiftForm(posted(request), owner=user, initial={"key": ConfirmForm.new_key()})
    if form.is_valid():
        shown = {name: form.cleaned_data[name] for name in ("amount_sat", "days", "memo")}
        try:
            made = services.make_gift(
                credential=request.credential,  # type: ignore[attr-defined]
                pin=form.cleaned_data["pin"],
                named=idempotency.name_of(form.cleaned_data["key"], path=request.path, body=shown),
                **shown,
            )
        except CoinosError as error:
            form = form.again(error)
        else:
            if made:
                return voucher(request, *made)
            messages.info(request, ALREADY_MADE)
            return redirect("gifts")
    context = {"form": form, "gifts": gifts_of(user), "here": "send"}
    return render(request, "payments/gifts.html", context, status=422 if form.errors else 200)


@require_POST
@signed_in
@limited(post=limits.SPEND)
def replace_link(request: HttpRequest, gift_id: UUID) -> HttpResponse:
    """A new link; the old one ends. Asks for the PIN first, where there is one."""
    try:
        replaced = services.replace_link(
            credential=request.credential,  # type: ignore[attr-defined]
            gift_id=gift_id,
            pin=request.POST.get("pin"),
        )
    except InvalidPin as error:
        return ask_pin_for_link(request, error, back=reverse("gifts"))
    return voucher(request, *replaced)


def ask_pin_for_link(request: HttpRequest, error: InvalidPin, *, back: str) -> HttpResponse:
    """The page that asks for the PIN before there is a new link, with what was wrong with one
    that was typed."""
    form = PinOnlyForm(request.POST if "pin" in request.POST else None)
    if form.is_valid():
        add_error(form, error)
    context = {"form": form, "back": back, "here": "send"}
    status = 422 if form.errors else 200
    return render(request, "payments/gift_link.html", context, status=status)


@require_POST
@signed_in
@limited(post=limits.SPEND)
def take_back(request: HttpRequest, gift_id: UUID) -> HttpResponse:
    services.take_back(user_of(request), gift_id)
    messages.success(request, _("The gift is yours again"))
    return redirect("gifts")


@require_http_methods(["GET", "HEAD", "POST"])
@limited(get=limits.GIFT, post=limits.GIFT)
def gift(request: HttpRequest, token: str) -> HttpResponse:
    """What whoever has the link sees; POST takes it into the account that is signed in."""
    taker = user_of(request) if getattr(request, "credential", None) else None
    problem = ""
    if request.method == "POST":
        if taker is None:
            return sign_in_first(request)
        try:
            services.take_gift(taker, token)
        except CoinosError as error:
            problem = sentence(error)
        else:
            messages.success(request, _("The gift is yours"))
            return redirect("home")
    found = gift_by_token(token)
    context = {
        "gift": found,
        "problem": problem,
        "is_own": taker == found.giver,
        "is_taker": taker is not None and taker == found.taker,
    }
    response = render(request, "payments/gift.html", context, status=409 if problem else 200)
    response["Cache-Control"] = "no-store"
    response["X-Robots-Tag"] = "noindex"
    return response


def voucher(request: HttpRequest, gift: Gift, token: str) -> HttpResponse:
    """The link of a gift, which is shown this once."""
    path = reverse("gift", args=[token])
    context = {
        "gift": gift,
        "link": settings.PUBLIC_URL + path,
        "path": path,
        "back": reverse("fund", args=[gift.giver.username])
        if gift.giver.is_fund
        else reverse("gifts"),
        "here": "send",
    }
    return render(request, "payments/gift_voucher.html", context)
