"""The LNURL-pay endpoints. Errors are HTTP 200 with a reason, as wallets expect them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from coinos import answers, limits
from coinos.api import ApiView, ok
from coinos.errors import CoinosError, RateLimited
from invoices import lnurl
from invoices.models import Invoice


class LnurlView(ApiView):
    """Open to everybody; tokens and cookies are not looked at."""

    authentication_classes: Any = ()
    optional_auth = True
    counted = {"GET": limits.LNURL}

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, CoinosError) and not isinstance(exc, RateLimited):
            return ok({"status": "ERROR", "reason": exc.message})
        return super().handle_exception(exc)


class PayRequestView(LnurlView):
    """GET /.well-known/lnurlp/:username, /api/lnurlp/:username, /api/pay/:username[/:amount]."""

    @extend_schema(responses=answers.PayRequest)
    def get(self, request: Request, username: str, amount: str | None = None) -> Response:
        """Who is paid, and between which amounts (LUD-06)."""
        answer = lnurl.pay_request(username, amount)
        return ok(
            {
                "tag": "payRequest",
                "callback": _absolute("lnurl-callback", answer.token),
                "minSendable": answer.min_msat,
                "maxSendable": answer.max_msat,
                "metadata": answer.metadata,
                "commentAllowed": lnurl.COMMENT_CHARACTERS,
            },
        )


class CallbackView(LnurlView):
    """GET /api/lnurl/:token?amount=<msat>[&comment=]: the invoice."""

    @extend_schema(
        parameters=[
            OpenApiParameter("amount", int, required=True, description="millisatoshi"),
            OpenApiParameter("comment", str, description="at most 512 characters (LUD-12)"),
        ],
        responses=answers.LnurlInvoice,
    )
    def get(self, request: Request, token: str) -> Response:
        """The invoice for `amount` millisatoshi, and a `comment` (LUD-06, LUD-12)."""
        invoice = lnurl.request_invoice(
            token,
            amount_msat=request.query_params.get("amount", ""),
            comment=request.query_params.get("comment", ""),
        )
        verify = _absolute("lnurl-verify", invoice.id)
        return ok({"pr": invoice.hash, "routes": [], "verify": verify})


class VerifyView(LnurlView):
    """GET /api/lnurl/verify/:id: has it been paid? (LUD-21)"""

    counted = {"GET": limits.LNURL_VERIFY}

    @extend_schema(responses=answers.LnurlVerified)
    def get(self, request: Request, invoice_id: str) -> Response:
        """Has that invoice been paid? (LUD-21)"""
        invoice: Invoice = lnurl.settled_invoice(invoice_id)
        return ok(
            {
                "status": "OK",
                "settled": invoice.is_paid,
                "preimage": invoice.preimage if invoice.is_paid else None,
                "pr": invoice.hash,
            },
        )


def _absolute(name: str, argument: object) -> str:
    return settings.PUBLIC_URL + reverse(name, args=[argument])
