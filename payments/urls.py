"""The pages of sending and of the history, at the root."""

from django.urls import path

from payments import autowithdraw_page, gift_pages, views

urlpatterns = [
    path("send", views.send, name="send"),
    path("send/confirm", views.confirm, name="confirm"),
    path("send/pay", views.pay_confirmed, name="pay"),
    path("send/pin", views.pin, name="pin"),
    path("gifts", gift_pages.gifts, name="gifts"),
    path("gifts/<uuid:gift_id>/link", gift_pages.replace_link, name="replace_gift_link"),
    path("gifts/<uuid:gift_id>/return", gift_pages.take_back, name="take_gift_back"),
    path("gift/<str:token>", gift_pages.gift, name="gift"),
    path("settings/autowithdraw", autowithdraw_page.page, name="auto_withdraw"),
    path("payments", views.payments, name="payments"),
    path("payments.csv", views.export, name="export"),
    path("payment/<uuid:payment_id>", views.payment, name="payment"),
]
