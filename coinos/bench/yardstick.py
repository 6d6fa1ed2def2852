"""What a plain Django view costs here: the same middleware, the same token check, one statement.

Mounted only in the bench's own server. GET /me and GET /payments are compared with these.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from accounts.credentials import credential_of
from accounts.models import User
from coinos.db import Query, ask
from coinos.drf import to_json


def balance(request: HttpRequest) -> HttpResponse:
    """The caller's name and balance."""
    user = _caller(request)
    [(balance_sat,)] = ask(
        Query(
            "SELECT (posted_msat - held_msat) / 1000 FROM ledger_account WHERE user_id = %s",
            [user.id],
        )
    )
    return _answer({"username": user.username, "balance": balance_sat})


def payments(request: HttpRequest) -> HttpResponse:
    """The caller's last twenty payments."""
    rows = ask(
        Query(
            """
            SELECT activity.id::text, type, amount_sat, hash, activity.currency, created,
                   counterparty.username
            FROM accounts_activity AS activity
            LEFT JOIN LATERAL (
                SELECT username FROM accounts_user WHERE id = activity.counterparty_id
            ) AS counterparty ON true
            WHERE user_id = %s AND status <> 'failed' ORDER BY created DESC, id DESC LIMIT 20
            """,
            [_caller(request).id],
        )
    )
    names = ("id", "type", "amount", "hash", "currency", "created", "with")
    return _answer({"payments": [dict(zip(names, row, strict=True)) for row in rows]})


def _caller(request: HttpRequest) -> User:
    return credential_of(request.headers["Authorization"].removeprefix("Bearer ")).user


def _answer(body: object) -> HttpResponse:
    return HttpResponse(to_json(body), content_type="application/json")
