"""The webhook of an account: told of payments to all invoices that have none of their own."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.db import transaction

from accounts.audit import audit
from accounts.models import User
from coinos.http import check_url
from invoices import webhooks


def set_account_webhook(user: User, *, url: str, secret: str = "") -> None:
    """Call this URL from now on, also when it has been paused; "" switches the webhook off, and
    gives up the calls that wait. A `secret` of "" keeps the one that is set, as long as the URL is
    the same: an old secret is not sent to a new place. Calls that wait go on to the old one.

    Not inside a transaction. Raises `UrlRefused`.
    """
    if url:
        check_url(url, kind="webhook", field="/url")
    before = user.webhook
    user.webhook, user.webhook_disabled_at = url, None
    if secret or url != before:
        user.webhook_secret = secret if url else ""
    with transaction.atomic():
        user.save(update_fields=["webhook", "webhook_disabled_at", "webhook_sealed_secret"])
        if url or before:
            # Of the address only the host: some services have a secret in the path.
            detail = {"host": urlsplit(url or before).hostname, "is_new_secret": bool(secret)}
            audit(user, "webhook.changed" if url else "webhook.removed", detail=detail)
    if before and not url:
        webhooks.give_up(webhooks.calls_of_account(user.id, before))
