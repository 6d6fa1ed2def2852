"""The pages of sending and of the history, at the root."""

from django.urls import path

from payments import autowithdraw_page, fund_pages, gift_pages, views

urlpatterns = [
    path("send", views.send, name="send"),
    path("send/confirm", views.confirm, name="confirm"),
    path("send/pay", views.pay_confirmed, name="pay"),
    path("send/pin", views.pin, name="pin"),
    path("gifts", gift_pages.gifts, name="gifts"),
    path("gifts/<uuid:gift_id>/link", gift_pages.replace_link, name="replace_gift_link"),
    path("gifts/<uuid:gift_id>/return", gift_pages.take_back, name="take_gift_back"),
    path("gift/<str:token>", gift_pages.gift, name="gift"),
    path("funds", fund_pages.funds, name="funds"),
    path("funds/<str:name>", fund_pages.fund, name="fund"),
    path("funds/<str:name>/take", fund_pages.take_out, name="take_out_of_fund"),
    path("funds/<str:name>/gift", fund_pages.gift, name="make_gift_of_fund"),
    path("funds/<str:name>/gifts/<uuid:gift_id>/link", fund_pages.link, name="fund_gift_link"),
    path(
        "funds/<str:name>/gifts/<uuid:gift_id>/return",
        fund_pages.take_back,
        name="take_fund_gift_back",
    ),
    path("funds/<str:name>/profile", fund_pages.save_profile, name="save_fund"),
    path("funds/<str:name>/managers", fund_pages.add_manager, name="add_manager"),
    path(
        "funds/<str:name>/managers/<int:role_id>", fund_pages.remove_manager, name="remove_manager"
    ),
    path("funds/<str:name>/leave", fund_pages.leave, name="leave_fund"),
    path("funds/<str:name>/close", fund_pages.close, name="close_fund"),
    path("settings/autowithdraw", autowithdraw_page.page, name="auto_withdraw"),
    path("payments", views.payments, name="payments"),
    path("payments.csv", views.export, name="export"),
    path("payment/<uuid:payment_id>", views.payment, name="payment"),
    path("payment/<uuid:payment_id>/bump", views.bump_payment, name="bump_payment"),
    path("payment/<uuid:payment_id>/cancel", views.cancel_payment, name="cancel_payment"),
]
