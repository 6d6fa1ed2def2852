"""QR codes as pictures: of a Lightning Address and of an invoice."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from coinos import limits, qr
from coinos.throttling import limited
from invoices import selectors
from invoices.codes import codes
from invoices.lnurl import lnurl_of

PERSON_CACHED_S = 24 * 3600


@require_safe
@limited(get=limits.QR_PICTURE)
def of_person(request: HttpRequest, username: str, format: str) -> HttpResponse:
    """The Lightning Address, for a shop's own page or a sticker. Not of who hides the page."""
    owner = selectors.payee(username)
    return _picture(
        request,
        f"LIGHTNING:{lnurl_of(owner.username)}".upper(),
        name=owner.username,
        format=format,
        cached=f"public, max-age={PERSON_CACHED_S}",
    )


@require_safe
@limited(get=limits.QR_PICTURE)
def of_invoice(request: HttpRequest, invoice_id: UUID, format: str) -> HttpResponse:
    """What the invoice's page shows; `?way=` picks a code as it does there."""
    invoice = selectors.get_invoice(str(invoice_id))
    ways = codes(invoice)
    code = next((code for code in ways if code.way == request.GET.get("way")), ways[0])
    # A tip changes it: ask again each time.
    return _picture(request, code.qr, name="invoice", format=format, cached="no-cache")


def _picture(
    request: HttpRequest, payload: str, *, name: str, format: str, cached: str
) -> HttpResponse:
    etag = f'"{hashlib.sha256(f"{format}:{payload}".encode()).hexdigest()[:32]}"'
    response = get_conditional_response(request, etag=etag)
    if response is None:
        response = HttpResponse(qr.picture(payload, format), content_type=qr.TYPES[format])
        response["Content-Disposition"] = f'inline; filename="{name}.{format}"'
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["ETag"], response["Cache-Control"] = etag, cached
    return response
