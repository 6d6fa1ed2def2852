"""Payment endpoints, below /api/."""

from django.urls import path

from payments import api

urlpatterns = [
    path("user", api.AccountView.as_view()),
    path("payments", api.PaymentsView.as_view()),
    path("payments/<str:key>", api.PaymentView.as_view()),
    path("payments/<str:key>/cancel", api.CancelView.as_view()),
    path("payments/<str:key>/bump", api.BumpView.as_view()),
    path("send", api.SendView.as_view()),
    path("send/<str:lnaddress>/<str:amount>", api.SendToAddressView.as_view()),
    path("bitcoin/send", api.OnchainSendView.as_view()),
    path("bitcoin/fee", api.OnchainFeeView.as_view()),
    path("parse", api.ParseView.as_view()),
    path("decode/<str:payreq>", api.DecodeView.as_view()),
]
