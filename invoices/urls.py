"""The pages of receiving, at the root. `person` is the site's last route: see coinos/urls.py."""

from django.urls import path

from invoices import lnurl_api, qr_pictures, views, webhook_pages

urlpatterns = [
    path(".well-known/lnurlp/<str:username>", lnurl_api.PayRequestView.as_view()),
    path("receive", views.receive, name="receive"),
    path("invoice/<uuid:invoice_id>", views.invoice, name="invoice"),
    path("invoice/<uuid:invoice_id>/events", views.invoice_events, name="invoice_events"),
    path("invoice/<uuid:invoice_id>/qr.svg", qr_pictures.of_invoice, {"format": "svg"}),
    path("invoice/<uuid:invoice_id>/qr.png", qr_pictures.of_invoice, {"format": "png"}),
    path("invoice/<uuid:invoice_id>/tip", views.tip, name="tip"),
    path("invoice/<uuid:invoice_id>/renew", views.renew, name="renew"),
    path("webhooks", webhook_pages.webhook_settings, name="webhooks"),
    path("webhooks/account", webhook_pages.save_account_webhook, name="save_account_webhook"),
    path("webhooks/try", webhook_pages.try_webhook, name="try_webhook"),
    path("webhooks/check", webhook_pages.check_signature, name="check_signature"),
    path("webhooks/<uuid:delivery_id>", webhook_pages.redeliver, name="redeliver"),
]

person_urls = [
    path("<str:username>", views.person, name="person"),
    path("<str:username>/sticker", views.sticker, name="sticker"),
    path("<str:username>/qr.svg", qr_pictures.of_person, {"format": "svg"}, name="person_svg"),
    path("<str:username>/qr.png", qr_pictures.of_person, {"format": "png"}, name="person_png"),
]
