"""The pages of sending and of the history, at the root."""

from django.urls import path

from payments import views

urlpatterns = [
    path("send", views.send, name="send"),
    path("send/confirm", views.confirm, name="confirm"),
    path("send/pay", views.pay_confirmed, name="pay"),
    path("send/pin", views.pin, name="pin"),
    path("payments", views.payments, name="payments"),
    path("payments.csv", views.export, name="export"),
    path("payment/<uuid:payment_id>", views.payment, name="payment"),
]
