"""The data of the bench: users with money and tokens, and long histories written by SQL."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import psycopg
from django.conf import settings
from django.db import connection, transaction
from django.test import Client

from accounts import credentials, ledger
from accounts.authentication import SESSION_ROW
from accounts.models import Session, User
from coinos.db import as_operator

PASSWORD = "a long enough password"  # noqa: S105
START_SAT = 20_000
"""What each user has. All together stay below what simnet's nodes hold, or sends would stop."""


@dataclass(frozen=True)
class Person:
    """A user, with what programs and browsers show to be let in."""

    user: User
    token: str
    account: int

    @property
    def name(self) -> str:
        return self.user.username


def people(prefix: str, count: int, *, sats: int = START_SAT, password: str = "") -> list[Person]:
    """New users `<prefix>0`, `<prefix>1`, …, each with a balance and an API token."""
    made = []
    for number in range(count):
        user = User(username=f"{prefix}{number}", pubkey=uuid.uuid4().hex * 2)
        if password:
            user.set_password(password)
        else:
            user.set_unusable_password()
        with transaction.atomic():
            user.save(force_insert=True)
            account = ledger.open_account(user)
        session = credentials.start_session(user, kind=Session.Kind.LOGIN)
        made.append(Person(user, credentials.token_of(session), account))
    with as_operator(), transaction.atomic():
        for person in made:
            ledger.fund_from_equity(
                user_id=person.user.id,
                amount_msat=sats * 1000,
                external_id=f"bench:{person.user.id}",
                reason="start balance of the bench",
            )
    return made


def page_cookie(person: Person) -> str:
    """The Cookie header of a browser in which this person is signed in."""
    browser = Client()
    browser.force_login(person.user)
    row = credentials.start_session(person.user, kind=Session.Kind.WEB)
    session = browser.session
    session[SESSION_ROW] = str(row.id)
    session.save()
    name = settings.SESSION_COOKIE_NAME
    return f"{name}={browser.cookies[name].value}"


def history(person: Person, length: int, counterparties: list[Person]) -> None:
    """Give the person this many payments, one every half minute back from now, in and out by
    turns, with the daily totals that they add up to."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO accounts_activity (
                id, user_id, type, status, amount_sat, tip_sat, fee_sat, platform_fee_sat, hash,
                ref, payment_hash, invoice_id, counterparty_id, memo, reason, rate, currency,
                created, settled_at)
            SELECT gen_random_uuid(), %(user)s, 'internal', 'settled',
                CASE WHEN n %% 2 = 0 THEN 100 ELSE -100 END, NULL, 0, 0, md5(n::text),
                other::text, NULL, NULL, other, '', '', 65000, 'USD', at, at
            FROM generate_series(1, %(length)s) AS n,
                LATERAL (SELECT (%(others)s::uuid[])[1 + n %% %(many)s] AS other,
                                now() - n * interval '30 seconds' AS at) AS made
            """,
            {
                "user": person.user.id,
                "length": length,
                "others": [other.user.id for other in counterparties],
                "many": len(counterparties),
            },
        )
        cursor.execute(
            """
            INSERT INTO accounts_dailytotal
                (user_id, day, incoming, currency, count, sats, tips_sat, fees_sat, fiat, fiat_tips)
            SELECT user_id, day, amount_sat > 0, currency,
                count(*), sum(amount_sat), 0, 0, sum(round(amount_sat * rate / 1e8, 2)), 0
            FROM accounts_activity,
                unnest(ARRAY[(created AT TIME ZONE 'UTC')::date, '9999-12-31']) AS day
            WHERE user_id = %s GROUP BY 1, 2, 3, 4
            """,
            [person.user.id],
        )


def bytes_a_payment() -> int:
    """Of a line of a statement; a payment between users writes two and a transfer."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_total_relation_size('accounts_activity') / count(*) FROM accounts_activity"
        )
        return int(cursor.fetchone()[0])


def vacuum() -> None:
    """Let the planner know the new tables, as autovacuum would in a minute."""
    with psycopg.connect(settings.DATABASE_OWNER_URL, autocommit=True) as owner:
        owner.execute("VACUUM (ANALYZE)")
