"""Every way in. The test of the table asks the running application whether each row is true; a
route, command or action without a row fails. `python -m tests.doors` writes docs/doors.md from it.
"""

from __future__ import annotations

from typing import Any

from tests.doors.door import KEY, NOBODY, Action, Command, Door, pointers

WEBHOOK = {"webhook": "https://93.184.215.14/other", "secret": "another"}
PASSWORD, NEW_PASSWORD, PIN = "correct horse", "a new and longer phrase", "123456"


def API(*row: Any, **more: Any) -> Door:
    method, route, *rest = row
    return Door(method, f"/api{route}", *rest, **more)


# --- The API: accounts ----------------------------------------------------------------------------

ACCOUNTS = [
    API(
        "POST",
        "/register",
        "none",
        limit="register",
        body={"user": {"username": "demo", "password": "hunter2"}},
        fields=("/user", "/user/username", "/user/password", "/user/pubkey", "/user/picture"),
        audit=("account.opened", "connection.made", "signed_in"),
    ),
    API(
        "POST",
        "/login",
        "none",
        limit="login",
        body={"username": "demo", "password": "hunter2"},
        fields=("/username", "/password", "/token"),
        way=lambda w: {"username": "alice", "password": PASSWORD},
        audit=("signed_in",),
    ),
    API("POST", "/logout", "read", body={}, audit=("session.revoked",)),
    API("GET", "/me", "read"),
    API(
        "POST",
        "/user",
        body={"display": "Alice"},
        fields=pointers(
            "/username /display /about /picture /banner /email /currency /currencies /fiat"
            " /language /theme /prompt /tip /memoPrompt /hidepay /notify /push /autowithdraw"
            " /threshold /reserve /destination /locktime /password /confirm /current_password"
            " /pin /newpin /twofa /token /pubkey /event"
        ),
    ),
    API(
        "POST",
        "/user",
        case="password",
        step_up="current_password",
        audit=("password.changed",),
        way=lambda w: {"password": NEW_PASSWORD, "current_password": PASSWORD},
    ),
    API(
        "POST",
        "/user",
        case="e-mail address",
        step_up="current_password",
        audit=("email.changed",),
        way=lambda w: {"email": "alice@elsewhere.example", "current_password": PASSWORD},
    ),
    API(
        "POST",
        "/user",
        case="user name",
        audit=("username.changed",),
        way=lambda w: {"username": "alicia"},
    ),
    API(
        "POST",
        "/user",
        case="PIN",
        pin="pin",
        audit=("pin.set",),
        way=lambda w: {"newpin": "654321", "pin": PIN},
    ),
    API(
        "POST",
        "/user",
        case="how long the PIN holds",
        pin="pin",
        audit=("pin.lock_timer",),
        way=lambda w: {"locktime": 60, "pin": PIN},
    ),
    API(
        "POST",
        "/user",
        case="auto-withdraw",
        pin="pin",
        step_up="current_password",
        audit=("autowithdraw.on",),
        lowers="later",
        way=lambda w: {
            "autowithdraw": True,
            "threshold": 1000,
            "destination": "bob",
            "current_password": PASSWORD,
            "pin": PIN,
        },
    ),
    API(
        "GET",
        "/users/<str:key>",
        "none",
        limit="users",
        path="/users/alice",
        at={"key": "alice"},
    ),
    API("GET", "/ro", writes=True, audit=("read_only_token.shown",)),
    API("GET", "/contacts", "read"),
    API("GET", "/contacts/<int:limit>", "read", path="/contacts/5"),
    API("GET", "/apps"),
    API(
        "POST",
        "/app",
        pin="pin",
        lowers="later",
        body={"name": "shop"},
        way=lambda w: {"name": "shop", "pin": PIN},
        fields=(
            "/name",
            "/secret",
            "/pubkey",
            "/max_amount",
            "/max_fee",
            "/budget_renewal",
            "/notify",
            "/pin",
        ),
        audit=("connection.made",),
    ),
    API("GET", "/app/<str:pubkey>", path=f"/app/{KEY}"),
    API(
        "POST",
        "/apps/delete",
        body={"pubkey": KEY},
        fields=("/pubkey",),
        way=lambda w: {"pubkey": w.app_pubkey},
        audit=("connection.deleted",),
    ),
]

# --- The API: receiving ---------------------------------------------------------------------------

INVOICES = [
    API(
        "POST",
        "/invoice",
        "receive",
        read_only=True,
        optional=True,
        limit="invoice-create",
        body={"invoice": {"amount": 1000, "type": "lightning"}},
        fields=pointers(
            "/invoice /invoice/amount /invoice/type /invoice/fiat /invoice/currency /invoice/tip"
            " /invoice/memo /invoice/expiry /invoice/webhook /invoice/secret /invoice/items"
            " /invoice/prompt /invoice/memoPrompt /invoice/request_id /invoice/address_type"
            " /invoice/id /invoice/aid /invoice/bolt11 /invoice/bolt12 /invoice/usePreimage"
            " /invoice/rate /user /user/username"
        ),
        way=lambda w: {"invoice": {"amount": 1000}, "user": {"username": "alice"}},
    ),
    API(
        "GET",
        "/invoice/<str:key>",
        "read",
        read_only=True,
        optional=True,
        limit="invoice-read",
        path=f"/invoice/{NOBODY}",
    ),
    API(
        "POST",
        "/invoice/<str:key>",
        "read",
        read_only=True,
        optional=True,
        limit="invoice-edit",
        path=f"/invoice/{NOBODY}",
        body={"invoice": {"tip": 5}},
        fields=("/invoice", "/invoice/tip", "/invoice/webhook", "/invoice/secret"),
    ),
    API(
        "POST",
        "/invoice",
        "receive",
        read_only=True,
        case="with a webhook",
        limit="invoice-create",
        way=lambda w: {"invoice": {"amount": 1000, **WEBHOOK}},
    ),
    API(
        "POST",
        "/invoice/<str:key>",
        "receive",
        case="its webhook",
        limit="invoice-edit",
        way=lambda w: {"invoice": WEBHOOK},
    ),
    API("GET", "/invoices", "read", read_only=True, limit="invoice-read"),
    API("GET", "/pay/<str:username>", "none", limit="lnurl", path="/pay/alice"),
    API(
        "GET",
        "/pay/<str:username>/<str:amount>",
        "none",
        limit="lnurl",
        path="/pay/alice/1000",
    ),
    API("GET", "/lnurlp/<str:username>", "none", limit="lnurl", path="/lnurlp/alice"),
    API(
        "GET",
        "/lnurl/<str:token>",
        "none",
        limit="lnurl",
        path=f"/lnurl/{NOBODY}",
        at={"token": "lnurl_token"},
        writes=True,
    ),
    API(
        "GET",
        "/lnurl/verify/<str:invoice_id>",
        "none",
        limit="lnurl-verify",
        path=f"/lnurl/verify/{NOBODY}",
    ),
    Door("GET", "/.well-known/lnurlp/<str:username>", "none", limit="lnurl"),
]

# --- The API: payments ----------------------------------------------------------------------------

PAYMENTS = [
    API("GET", "/payments", "read", read_only=True),
    API(
        "POST",
        "/payments",
        "spend",
        pin="pin",
        limit="spend",
        lowers="now",
        body={"payreq": "lnbcrt1"},
        fields=pointers("/payreq /hash /amount /fee /maxfee /memo /aid /fund /pin"),
        way=lambda w: {"payreq": w.bobs_invoice["hash"], "pin": PIN},
    ),
    API(
        "GET",
        "/payments/<str:key>",
        "read",
        read_only=True,
        optional=True,
        limit="payment",
        path=f"/payments/{NOBODY}",
        at={"key": "payment"},
    ),
    API(
        "POST",
        "/payments/<str:key>/cancel",
        "spend",
        limit="spend",
        path=f"/payments/{NOBODY}/cancel",
        body={},
        at={"key": "waiting"},
    ),
    API(
        "POST",
        "/payments/<str:key>/bump",
        "spend",
        pin="pin",
        limit="spend",
        lowers="now",
        path=f"/payments/{NOBODY}/bump",
        body={"feeRate": 20},
        fields=("/feeRate", "/pin"),
        before=lambda w: w.withdraws(),
        way=lambda w: {"feeRate": 50, "pin": PIN},
        at={"key": "sent"},
    ),
    API(
        "POST",
        "/send",
        "spend",
        pin="pin",
        limit="spend",
        lowers="now",
        body={"username": "bob", "amount": 1},
        fields=("/username", "/amount", "/memo", "/aid", "/pin"),
        way=lambda w: {"username": "bob", "amount": 1, "pin": PIN},
    ),
    API(
        "POST",
        "/send/<str:lnaddress>/<str:amount>",
        "spend",
        pin="pin",
        limit="spend",
        lowers="now",
        path="/send/bob/1",
        body={},
        fields=("/fee", "/maxfee", "/memo", "/aid", "/pin"),
        way=lambda w: {"pin": PIN},
    ),
    API(
        "POST",
        "/bitcoin/send",
        "spend",
        pin="pin",
        limit="spend",
        lowers="now",
        body={"address": "bcrt1q", "amount": 5000},
        fields=pointers("/address /amount /feeRate /subtract /memo /hex /signed /inputs /aid /pin"),
        way=lambda w: {"address": w.bobs_address["hash"], "amount": 5000, "pin": PIN},
    ),
    API(
        "POST",
        "/bitcoin/fee",
        "read",
        limit="quote",
        body={"address": "bcrt1q", "amount": 5000},
        fields=("/address", "/amount", "/feeRate", "/subtract", "/aid"),
        way=lambda w: {"address": w.bobs_address["hash"], "amount": 5000},
    ),
    API(
        "POST",
        "/parse",
        "read",
        limit="decode",
        body={"payreq": "lnbcrt1"},
        fields=("/payreq",),
        way=lambda w: {"payreq": w.invoice["hash"]},
    ),
    API("GET", "/decode/<str:payreq>", "none", limit="decode", path="/decode/lnbcrt1"),
]

# --- The API: the server --------------------------------------------------------------------------

SERVER = [
    API("GET", "/health", "none", limit="health", ok=(200, 503)),
    API("GET", "/rates", "none", limit="info"),
    API("GET", "/rate", "none", limit="info"),
    API("GET", "/fx", "none", limit="info"),
    API("GET", "/info", "none", limit="info"),
    API("GET", "/schema", "none"),
    API("GET", "/schema/docs", "none"),
    API(
        "GET", "/events", "read", limit="stream", stream=True
    ),  # last: a stream gives its connection back
]

# --- Pages: signing in ----------------------------------------------------------------------------

SIGN_IN = [
    Door("GET", "/", "none", ok=(200, 302)),
    Door("GET", "/manifest.webmanifest", "none"),
    Door("GET", "/service-worker.js", "none"),
    Door("GET", "/offline", "none"),
    Door("GET", "/design", "none", ok=(404,)),  # with DEBUG only
    Door("GET", "/privacy", "none"),
    Door("GET", "/support", "none"),
    Door(
        "GET", "/.well-known/security.txt", "none", limit="page", ok=(200, 404)
    ),  # where there is a contact
    Door("GET", "/docs", "none"),
    Door("GET", "/docs/errors", "none"),
    Door("POST", "/language", "none", way=lambda w: {"language": "de"}),
    Door("GET", "/register", "none"),
    Door(
        "POST",
        "/register",
        "none",
        limit="register",
        way=lambda w: {"username": "newcomer", "password": NEW_PASSWORD},
        audit=("account.opened", "connection.made", "signed_in"),
    ),
    Door("GET", "/login", "none"),
    Door(
        "POST",
        "/login",
        "none",
        limit="login",
        way=lambda w: {"username": "alice", "password": PASSWORD},
        audit=("signed_in",),
    ),
    Door("GET", "/login/code", "half"),
    Door(
        "POST",
        "/login/code",
        "half",
        step_up="token",
        limit="login",
        way=lambda w: {"token": w.code},
        audit=("signed_in",),
    ),
    Door("POST", "/logout", "none"),
    Door("GET", "/forgot", "none"),
    Door("POST", "/forgot", "none", limit="forgot", way=lambda w: {"account": "alice"}),
    Door(
        "GET",
        "/reset/<uuid:user_id>/<str:token>",
        "none",
        limit="reset",
        at={"token": "reset_token"},
    ),
    Door(
        "POST",
        "/reset/<uuid:user_id>/<str:token>",
        "none",
        limit="reset",
        audit=("password.reset",),
        at={"token": "reset_token"},
        way=lambda w: {"password": NEW_PASSWORD},
    ),
]

# --- Pages: the wallet and its settings -----------------------------------------------------------

SETTINGS = [
    Door("GET", "/events", limit="stream", stream=True),
    Door("POST", "/swap"),
    Door("POST", "/swap/hide", way=lambda w: {"hide": "on"}),
    Door("GET", "/settings"),
    Door("POST", "/settings/profile", way=lambda w: {"username": "alice", "display": "Al"}),
    Door(
        "POST",
        "/settings/profile",
        case="user name",
        audit=("username.changed",),
        way=lambda w: {"username": "alicia"},
    ),
    Door(
        "POST",
        "/settings/picture",
        limit="picture",
        way=lambda w: {"picture": w.picture()},
    ),
    Door(
        "POST",
        "/settings/banner",
        limit="picture",
        way=lambda w: {"banner": w.picture()},
    ),
    Door(
        "POST",
        "/settings/close",
        by="dora",
        step_up="close-password",
        limit="close",
        audit=("account.closed",),
        way=lambda w: {"close-username": "dora", "close-password": PASSWORD},
    ),
    Door("GET", "/picture/<uuid:user_id>", "none"),
    Door("GET", "/picture/<uuid:user_id>/banner", "none"),
    Door(
        "POST",
        "/settings/preferences",
        way=lambda w: {"currency": "USD", "language": "en", "theme": "system"},
    ),
    Door("POST", "/settings/tips", way=lambda w: {"prompt": "on", "tip": "5"}),
    Door("POST", "/settings/notifications", way=lambda w: {"toasts": "on"}),
    Door(
        "POST",
        "/settings/password",
        step_up="current_password",
        audit=("password.changed",),
        way=lambda w: {"current_password": PASSWORD, "password": NEW_PASSWORD},
    ),
    Door(
        "POST",
        "/settings/pin",
        pin="pin",
        step_up="recent",
        audit=("pin.set",),
        way=lambda w: {"pin": PIN, "newpin": "654321"},
    ),
    Door(
        "POST",
        "/settings/lock-timer",
        pin="timer-pin",
        audit=("pin.lock_timer",),
        way=lambda w: {"timer-locktime_s": "60", "timer-pin": PIN},
    ),
    Door("GET", "/settings/second-factor", ok=(302,)),  # there is nothing to confirm
    Door(
        "POST",
        "/settings/second-factor",
        step_up="token",
        audit=("second_factor.on",),
        before=lambda w: w.begins_second_factor(),
        way=lambda w: {"token": w.code},
    ),
    Door("POST", "/settings/second-factor/new", step_up="recent"),
    Door(
        "POST",
        "/settings/second-factor/off",
        by="tara",
        step_up="token",
        audit=("second_factor.off",),
        way=lambda w: {"token": w.code},
    ),
    Door(
        "POST",
        "/settings/recovery-codes",
        by="tara",
        step_up="token",
        audit=("second_factor.recovery_codes",),
        way=lambda w: {"token": w.code},
    ),
    Door(
        "POST",
        "/settings/email",
        step_up="recent",
        audit=("email.changed",),
        way=lambda w: {"email": "alice@elsewhere.example"},
    ),
    Door("POST", "/settings/email/link"),
    Door("GET", "/verify/<str:token>", at={"token": "verify_token"}),
    Door(
        "POST",
        "/verify/<str:token>",
        step_up="recent",
        limit="verify",
        audit=("email.verified",),
        at={"token": "verify_token"},
    ),
    Door("POST", "/settings/sessions", audit=("sessions.revoked",)),
    Door("POST", "/settings/sessions/<uuid:session_id>", audit=("session.revoked",)),
    Door(
        "POST",
        "/settings/keys",
        step_up="recent",
        way=lambda w: {"name": "till", "scope": "receive"},
        audit=("key.made",),
    ),
    Door(
        "POST",
        "/settings/keys",
        case="one that can spend",
        pin="pin",
        step_up="recent",
        audit=("key.made",),
        lowers="later",
        way=lambda w: {"name": "till", "scope": "spend", "pin": PIN},
    ),
    Door("POST", "/settings/keys/<uuid:key_id>", audit=("key.revoked",)),
    Door("POST", "/settings/read-only", audit=("read_only_token.shown",)),
    Door("POST", "/docs", case="shows a login token", step_up="recent", audit=("token.shown",)),
    Door("GET", "/settings/autowithdraw"),
    Door(
        "POST",
        "/settings/autowithdraw",
        pin="pin",
        step_up="recent",
        limit="look",
        audit=("autowithdraw.on",),
        lowers="later",
        way=lambda w: {
            "autowithdraw": "on",
            "threshold": "1000",
            "destination": "bob",
            "pin": PIN,
        },
    ),
]

# --- Pages: receiving -----------------------------------------------------------------------------

RECEIVING = [
    Door("GET", "/receive"),
    Door("POST", "/receive", limit="invoice-create", way=lambda w: {"amount": "10", "type": "any"}),
    Door("GET", "/invoice/<uuid:invoice_id>", "none", ok=(200, 302)),
    Door("GET", "/invoice/<uuid:invoice_id>/events", "none", limit="stream", stream=True),
    Door("GET", "/invoice/<uuid:invoice_id>/qr.svg", "none", limit="qr-picture"),
    Door("GET", "/invoice/<uuid:invoice_id>/qr.png", "none", limit="qr-picture"),
    Door("GET", "/invoice/<uuid:invoice_id>/tip", "none"),
    Door(
        "POST",
        "/invoice/<uuid:invoice_id>/tip",
        "none",
        limit="invoice-edit tip-by-another",
        way=lambda w: {"tip": "5"},
    ),
    Door(
        "POST",
        "/invoice/<uuid:invoice_id>/renew",
        "none",
        limit="invoice-create invoice-for-another",
        at={"invoice_id": "expired_id"},
    ),
    Door("GET", "/webhooks"),
    Door(
        "POST",
        "/webhooks",
        case="shows the signing secret",
        step_up="recent",
        audit=("signing_secret.shown",),
    ),
    Door(
        "POST",
        "/webhooks",
        case="replaces the signing secret",
        step_up="recent",
        way=lambda w: {"rotate": "on"},
        audit=("signing_secret.replaced",),
    ),
    Door(
        "POST",
        "/webhooks/account",
        limit="webhook-save",
        way=lambda w: {"account-url": "https://93.184.215.14/all"},
        audit=("webhook.changed",),
    ),
    Door(
        "POST",
        "/webhooks/try",
        limit="webhook-try",
        way=lambda w: {"try-url": "http://127.0.0.1:1/"},
    ),
    Door(
        "POST",
        "/webhooks/check",
        way=lambda w: {
            "check-message_id": "msg_1",
            "check-timestamp": "1",
            "check-signature": "v1,x",
            "check-body": "{}",
        },
    ),
    Door("POST", "/webhooks/<uuid:delivery_id>"),
    Door("GET", "/<str:username>", "none"),
    Door(
        "POST",
        "/<str:username>",
        "none",
        limit="invoice-create invoice-for-another",
        way=lambda w: {"amount": "10"},
    ),
    Door("GET", "/<str:username>/sticker", "none"),
    Door("GET", "/<str:username>/qr.svg", "none", limit="qr-picture"),
    Door("GET", "/<str:username>/qr.png", "none", limit="qr-picture"),
    Door("GET", "/simnet", "none"),
    Door("POST", "/simnet", "none", limit="simnet", way=lambda w: {"action": "address"}),
]

# --- Pages: sending -------------------------------------------------------------------------------


def confirmed(w: Any) -> dict[str, Any]:
    return {"text": "bob", "amount_sat": "5", "key": "page-1", "pin": PIN}


def gift(w: Any) -> dict[str, Any]:
    return {"amount": "5", "days": "7", "key": "page-2", "pin": PIN}


SENDING = [
    Door("GET", "/send"),
    Door("POST", "/send", limit="look", way=lambda w: {"text": "bob"}),
    Door("POST", "/send/confirm", limit="look", way=lambda w: {"text": "bob", "amount": "5"}),
    Door("POST", "/send/pay", pin="pin", limit="spend", lowers="now", way=confirmed),
    Door("POST", "/send/pin", way=lambda w: {"contact": "bob", "pinned": "on"}),
    Door("GET", "/gifts"),
    Door("POST", "/gifts", pin="pin", limit="spend", lowers="now", way=gift),
    Door("POST", "/gifts/<uuid:gift_id>/return", limit="spend"),
    Door(
        "POST",
        "/gifts/<uuid:gift_id>/link",
        pin="pin",
        audit=("gift.link_replaced",),
        lowers="later",
        limit="spend",
        way=lambda w: {"pin": PIN},
    ),
    Door("GET", "/gift/<str:token>", "none", limit="gift"),
    Door(
        "POST",
        "/gift/<str:token>",
        limit="gift",
        at={"token": "bobs_gift"},
    ),
    Door("GET", "/payments"),
    Door("GET", "/payments.csv", limit="export", stream=True),
    Door("GET", "/payment/<uuid:payment_id>", "none", limit="page receipt"),
    Door(
        "GET",
        "/payment/<uuid:payment_id>/bump",
        before=lambda w: w.withdraws(),
        at={"payment_id": "sent"},
    ),
    Door(
        "POST",
        "/payment/<uuid:payment_id>/bump",
        pin="pin",
        limit="spend",
        lowers="now",
        before=lambda w: w.withdraws(),
        way=lambda w: {"fee_rate": "50", "pin": PIN},
        at={"payment_id": "sent"},
    ),
    Door(
        "POST",
        "/payment/<uuid:payment_id>/cancel",
        limit="spend",
        at={"payment_id": "waiting"},
    ),
]

FUNDS = [
    Door("GET", "/funds"),
    Door(
        "POST",
        "/funds",
        limit="fund",
        audit=("fund.created",),
        way=lambda w: {"username": "newfund"},
    ),
    Door("GET", "/funds/<str:name>"),
    Door("GET", "/funds/<str:name>/take"),
    Door(
        "POST",
        "/funds/<str:name>/take",
        pin="pin",
        limit="spend",
        lowers="now",
        way=lambda w: {"amount": "5", "key": "page-3", "pin": PIN},
    ),
    Door("GET", "/funds/<str:name>/gift"),
    Door("POST", "/funds/<str:name>/gift", pin="pin", limit="spend", lowers="now", way=gift),
    Door(
        "POST",
        "/funds/<str:name>/gifts/<uuid:gift_id>/link",
        pin="pin",
        limit="spend",
        audit=("fund.gift_link_replaced",),
        lowers="later",
        at={"gift_id": "fund_gift_id"},
        way=lambda w: {"pin": PIN},
    ),
    Door(
        "POST",
        "/funds/<str:name>/gifts/<uuid:gift_id>/return",
        limit="spend",
        at={"gift_id": "fund_gift_id"},
    ),
    Door("POST", "/funds/<str:name>/profile", way=lambda w: {"display": "Pot"}),
    Door(
        "POST",
        "/funds/<str:name>/managers",
        pin="pin",
        step_up="recent",
        limit="manager",
        audit=("fund.manager_added",),
        lowers="later",
        way=lambda w: {"username": "bob", "pin": PIN},
    ),
    Door(
        "POST",
        "/funds/<str:name>/managers/<int:role_id>",
        audit=("fund.manager_removed",),
    ),
    Door("POST", "/funds/<str:name>/leave", by="charlie", audit=("fund.manager_left",)),
    Door(
        "POST",
        "/funds/<str:name>/close",
        audit=("fund.closed",),
        at={"name": "empty_fund"},
    ),
]

# --- The admin ------------------------------------------------------------------------------------
# `<app>/<model>` stands for every table that is registered; what the actions do is in ACTIONS.

ADMIN = [
    Door("GET", "/admin/"),
    Door("GET", "/admin/search/"),
    Door("GET", "/admin/login/", "none", ok=(200, 302)),
    Door(
        "POST",
        "/admin/login/",
        "none",
        limit="login",
        way=lambda w: {"username": "olga", "password": PASSWORD, "next": "/admin/"},
        audit=("signed_in",),
    ),
    Door("POST", "/admin/logout/", "none"),
    Door("GET", "/admin/autocomplete/", "closed"),  # no field has it
    Door("GET", "/admin/jsi18n/"),
    Door("GET", "/admin/r/<path:content_type_id>/<path:object_id>/", ok=(404,)),
    Door("GET", "/admin/<app>/"),
    Door("GET", "/admin/<app>/<model>/"),
    Door("POST", "/admin/<app>/<model>/"),
    Door("GET", "/admin/<app>/<model>/<path:object_id>/change/", ok=(200, 302)),
    Door("GET", "/admin/<app>/<model>/<path:object_id>/history/", ok=(200, 302)),
    Door("GET", "/admin/<app>/<model>/<path:object_id>/", ok=(302,)),
    Door("GET", "/admin/<app>/<model>/add/", "closed"),
    Door("GET", "/admin/<app>/<model>/<path:object_id>/delete/", "closed"),
    Door("GET", "/admin/payments/operatoract/ask/"),
    Door("GET", "/admin/payments/operatoract/ask/<str:verb>/"),
    Door(
        "POST",
        "/admin/payments/operatoract/ask/<str:verb>/",
        way=lambda w: {"payment": str(w.waiting_payment.id), "reason": "because"},
        audit=("operator.asked", "operator.carried_out"),
    ),
]

DOORS = [
    *ACCOUNTS,
    *INVOICES,
    *PAYMENTS,
    *SERVER,
    *SIGN_IN,
    *SETTINGS,
    *RECEIVING,
    *SENDING,
    *FUNDS,
    *ADMIN,
]

# --- What operators do to rows --------------------------------------------------------------------

ACTIONS = [
    Action("user", "freeze", "whether an account may spend", ("account.frozen",)),
    Action(
        "user",
        "evict",
        "whether an account can be used at all",
        ("account.evicted",),
    ),
    Action("user", "unfreeze", "whether an account may spend", ("account.unfrozen",)),
    Action("user", "readmit", "whether an account can be used at all", ("account.readmitted",)),
    Action(
        "user", "remove_second_factor", "an authenticator", ("second_factor.removed",), of="tara"
    ),
    Action("user", "remove_pin", "an authenticator", ("pin.removed",)),
    Action("session", "revoke", "a sign-in", ("session.revoked",)),
    Action("apikey", "revoke", "a key", ("key.revoked",)),
    Action(
        "alarm",
        "acknowledge",
        "whether an alarm stops sends",
        ("operator.asked", "operator.carried_out"),
    ),
    Action(
        "payment",
        "cancel",
        "a payment that has not left",
        ("operator.asked", "operator.carried_out"),
        of="waiting_payment",
    ),
    Action(
        "payment",
        "release",
        "a hold that the node proves unspent",
        ("operator.asked", "operator.carried_out"),
    ),
    Action("payment", "release_unproved", "nothing until it is approved", ("operator.asked",)),
    Action(
        "suspenseitem",
        "credit",
        "the balance of a user",
        ("operator.asked",),
        body={"username": "bob", "sats": "5"},
    ),
    Action(
        "bookaccount", "correct", "the balance of a user", ("operator.asked",), body={"sats": "5"}
    ),
    Action(
        "bookaccount",
        "forgive",
        "what a user owes",
        ("operator.asked",),
        of="owing_account",
        body={"sats": "5"},
    ),
    Action(
        "bookaccount",
        "write_off",
        "the operator's own money",
        ("operator.asked",),
        of="house_account",
        body={"sats": "5"},
    ),
    Action(
        "bookaccount",
        "pay_out",
        "the balances of two users",
        ("operator.asked",),
        of="closed_account",
        body={"username": "bob"},
    ),
    Action(
        "operatoract",
        "approve",
        "what was asked for",
        ("operator.approved", "operator.carried_out"),
        asked="because of otto",
    ),
    Action(
        "operatoract",
        "carry_out",
        "what was asked for and approved",
        ("operator.carried_out",),
        of="approved_act",
        asked="because of otto",
    ),
    Action("operatoract", "drop", "that an act waits", ("operator.dropped",)),
    Action("webhookdelivery", "redeliver", "nothing but a call", ("webhook.redelivered",)),
]

# --- Commands -------------------------------------------------------------------------------------


COMMANDS = [
    Command(
        "createsuperuser", "an operator", ("operator.made",), way=lambda w: w.makes_an_operator()
    ),
    Command("up"),
    Command("doctor"),
    Command("check_ledger"),
    Command("backup"),
    Command("restore", "everything: the database becomes what it was"),
    Command("refresh_rates"),
    Command("simnet"),
    Command(
        "changepassword",
        "a password",
        ("password.set",),
        way=lambda w: w.changes_password_by_command(),
    ),
    Command(
        "operator",
        "money and payments, by the verbs of docs/operating.md",
        ("operator.asked",),
        way=lambda w: w.asks_by_command(),
    ),
    Command("bench", "money of a database that it makes for itself"),
]

# What Django and its packages bring. Those that write to the tables do it as the role of the
# server, which can neither move money nor change the audit log; or as the tables' owner, who can.
DJANGOS = {
    "reads": """
        check diffsettings findstatic generateschema inspectdb sendtestemail showmigrations
        spectacular sqlflush sqlmigrate sqlsequencereset dumpdata
    """.split(),
    "writes files": """
        collectstatic compilemessages makemessages makemigrations optimizemigration squashmigrations
        startapp startproject
    """.split(),
    "writes tables": """
        clearsessions createcachetable dbshell flush loaddata migrate remove_stale_contenttypes
        runserver shell test testserver
    """.split(),
}
