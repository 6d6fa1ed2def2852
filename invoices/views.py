"""Pages for receiving: make an invoice, show it to whoever pays, public pages, webhooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import streams
from accounts.authentication import user_of
from accounts.models import User
from accounts.views import wallet
from coinos import limits
from coinos.errors import CoinosError, NodeUnavailable, NotFound
from coinos.throttling import limited
from coinos.web import add_error, posted, signed_in
from invoices import selectors, services
from invoices.codes import codes
from invoices.errors import InvoiceAlreadySettled, InvoiceExpired
from invoices.forms import AmountForm, ReceiveForm, TipForm
from invoices.lnurl import lnurl_of
from invoices.models import Deposit, Invoice

NEWS = timedelta(minutes=2)
EPOCH = datetime.fromtimestamp(0, UTC)

# --- Asking for money ----------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.INVOICE_CREATE)
def receive(request: HttpRequest) -> HttpResponse:
    user = user_of(request)
    form = ReceiveForm(posted(request), owner=user)
    if form.is_valid():
        invoice = _create(request, user, form, form.draft(), own=True)
        if invoice:  # on one device: the payer answers first, then sees the code
            return redirect("tip" if invoice.awaits_tip else "invoice", invoice.id)
    context = {
        "form": form,
        "minimum_sat": settings.MIN_DEPOSIT_SAT,
        "lnurl": lnurl_of(user.username),
        "here": "receive",
    }
    return render(request, "invoices/receive.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@limited(post=limits.INVOICE_CREATE)
def person(request: HttpRequest, username: str) -> HttpResponse:
    """`/alice`: her own wallet to herself; to others who she is and a form that pays her."""
    viewer = _viewer(request)
    owner = selectors.payee(username, viewer=viewer)
    if viewer == owner:
        return wallet(request)
    form = AmountForm(posted(request), owner=owner)
    if form.is_valid():
        invoice = _create(request, owner, form, form.draft(), own=False)
        if invoice:
            return redirect("invoice", invoice.id)
    context = {"owner": owner, "form": form, "lnurl": lnurl_of(owner.username)}
    return render(request, "invoices/person.html", context, status=422 if form.errors else 200)


@require_safe
def sticker(request: HttpRequest, username: str) -> HttpResponse:
    """A page to print and put up in a shop: bitcoin is accepted here, and the code to pay by."""
    owner = selectors.payee(username, viewer=_viewer(request))
    context = {"owner": owner, "lnurl": lnurl_of(owner.username)}
    return render(request, "invoices/sticker.html", context)


def _create(
    request: HttpRequest,
    owner: User,
    form: AmountForm,
    draft: services.InvoiceDraft,
    *,
    own: bool,
) -> Invoice | None:
    """The new invoice, or None when it was refused and the form says why."""
    create = services.create_for_any_wallet if draft.with_address else services.create_invoice
    try:
        invoice = create(owner, draft, own=own)
    except NodeUnavailable:
        form.is_away = True
        form.add_error(
            None, _("The node cannot be reached and no invoice was made. Try again in a moment")
        )
        return None
    except CoinosError as error:
        add_error(form, error)
        return None
    if draft.with_address and not 0 < invoice.total_sat < settings.MIN_DEPOSIT_SAT:
        _say_what_is_left_out(request, invoice)
    return invoice


def _say_what_is_left_out(request: HttpRequest, invoice: Invoice) -> None:
    """A node was away, or there was no room for an address, and the invoice that was to have both
    ways has one."""
    if invoice.type == Invoice.Type.BITCOIN:
        messages.warning(
            request,
            _("The Lightning node cannot be reached right now, so this invoice is on-chain only"),
        )
    elif not invoice.addresses.exists():
        messages.warning(
            request,
            _("No bitcoin address can be made right now, so this invoice is Lightning only"),
        )


# --- Showing an invoice to whoever pays it -------------------------------------------------------


@require_safe
def invoice(request: HttpRequest, invoice_id: UUID) -> HttpResponse:
    """The invoice and what became of it. Nobody needs an account to see it.

    `?way=` picks one of its codes: any, lightning or bitcoin.
    `?seen=` is what the open page shows already: 204 when that is still true."""
    found = selectors.get_invoice(str(invoice_id))
    deposits = selectors.deposits_of(found)
    state = _state(found, deposits)
    if request.GET.get("seen") == state:
        return HttpResponse(status=204)
    viewer = _viewer(request)
    is_owner = viewer == found.user
    if found.awaits_tip and not is_owner and "seen" not in request.GET:
        return redirect("tip", found.id)
    ways = codes(found)
    context = {
        "invoice": found,
        "state": state,
        "is_owner": is_owner,
        "stage": _stage(found),
        "ways": ways,
        "code": next((code for code in ways if code.way == request.GET.get("way")), ways[0]),
        "deposits": deposits,
        "minimum_sat": settings.MIN_DEPOSIT_SAT,
        "is_news": _is_news(found, deposits),
        "go_on": _go_on(found.user, viewer),
        "deliveries": selectors.deliveries_of_invoice(found) if is_owner else [],
        "here": "receive",
    }
    return render(request, "invoices/invoice.html", context)


def _state(invoice: Invoice, deposits: list[Deposit]) -> str:
    """What of the invoice the page shows, in a word that changes with it."""
    confirmations = [deposit.confirmations for deposit in deposits if deposit.is_waiting]
    parts = [invoice.status, invoice.received_sat, invoice.pending_sat, invoice.tip_sat or 0]
    return "-".join(map(str, [*parts, *confirmations]))


def _stage(invoice: Invoice) -> str:
    """Which face the page wears: paid, arriving, expired or open."""
    if invoice.is_paid:
        return "paid"
    if invoice.pending_sat and not invoice.missing_sat:
        return "arriving"
    return "expired" if invoice.status == "expired" else "open"


def _go_on(owner: User, viewer: User | None) -> str:
    """Where somebody goes who is done with an invoice."""
    if viewer or owner.hidepay:
        return reverse("home")
    return reverse("person", args=[owner.username])


def _is_news(invoice: Invoice, deposits: list[Deposit]) -> bool:
    """Whether the money has just come: that is celebrated, once."""
    moments = [invoice.settled_at, *(deposit.created for deposit in deposits)]
    return max((moment for moment in moments if moment), default=EPOCH) > timezone.now() - NEWS


@require_http_methods(["GET", "HEAD", "POST"])
@limited(post=limits.INVOICE_EDIT)
def tip(request: HttpRequest, invoice_id: UUID) -> HttpResponse:
    """Ask the payer for a tip, before payment. Nobody needs an account to give one."""
    found = selectors.get_invoice(str(invoice_id))
    form = TipForm(posted(request), invoice=found)
    if found.takes_tip and form.is_valid():
        try:
            by_owner = _viewer(request) == found.user
            services.set_tip(found, form.cleaned_data["tip_sat"], by_owner=by_owner)
        except (InvoiceAlreadySettled, InvoiceExpired):
            pass  # the invoice's page says so
        except CoinosError as error:
            add_error(form, error)
        if not form.errors:
            return redirect("invoice", found.id)
    if not found.takes_tip:
        return redirect("invoice", found.id)
    context = {"invoice": found, "form": form, "is_owner": _viewer(request) == found.user}
    return render(request, "invoices/tip.html", context, status=422 if form.errors else 200)


@require_POST
@limited(post=limits.INVOICE_CREATE)
def renew(request: HttpRequest, invoice_id: UUID) -> HttpResponse:
    """A new invoice in place of an expired one, asked for by its owner or by a payer."""
    found = selectors.get_invoice(str(invoice_id))
    if found.status != "expired":
        return redirect("invoice", found.id)
    return redirect("invoice", services.renew_invoice(found, by=_viewer(request)).id)


@require_safe
@limited(get=limits.STREAM)
def invoice_events(request: HttpRequest, invoice_id: UUID) -> StreamingHttpResponse:
    """Server-sent events of one invoice: that something happened, without details."""
    if not selectors.find_invoice(str(invoice_id)):
        raise NotFound()
    return streams.respond(request, streams.watch_invoice(invoice_id))


def _viewer(request: HttpRequest) -> User | None:
    """Who is signed in, if anybody."""
    return user_of(request) if getattr(request, "credential", None) else None
