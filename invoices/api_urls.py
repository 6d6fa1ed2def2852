"""The receiving side of the API, below /api."""

from __future__ import annotations

from django.urls import path

from invoices import api, lnurl_api

urlpatterns = [
    path("invoice", api.CreateInvoiceView.as_view()),
    path("invoice/<str:key>", api.InvoiceView.as_view()),
    path("invoices", api.InvoicesView.as_view()),
    path("pay/<str:username>", lnurl_api.PayRequestView.as_view()),
    path("pay/<str:username>/<str:amount>", lnurl_api.PayRequestView.as_view()),
    path("lnurlp/<str:username>", lnurl_api.PayRequestView.as_view()),
    path("lnurl/verify/<str:invoice_id>", lnurl_api.VerifyView.as_view(), name="lnurl-verify"),
    path("lnurl/<str:token>", lnurl_api.CallbackView.as_view(), name="lnurl-callback"),
]
