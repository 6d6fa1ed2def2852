"""Whose webhook is called next, and how many calls are under way at once.

Turns go to people, not to endpoints: of those, somebody can have any number. The user with
fewest calls under way is next, first tries come before retries, and nobody has more than a share of
the calls or of what waits. An address hears a few calls at a time, however many names lead to it.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from coinos import limits
from coinos.http import FetchFailed

RUN_CALLS = 20  # what one endpoint is told in one run
LOOKED_AT = 10 * RUN_CALLS  # of what is due for one user
LATE_RETRY = timedelta(minutes=1)  # a retry that has waited so long is served as a first try


# --- Of what is due ------------------------------------------------------------------------------


def next_calls(now: datetime, *, at_most: int) -> list[UUID]:
    """The deliveries to be made now, by id: up to `RUN_CALLS` for each of at most `at_most` runs. A
    run is of one user and one endpoint that have none under way.

    Two workers must not ask at once: they would be told the same.
    """
    values: dict[str, datetime | int] = {
        "now": now,
        "late": now - LATE_RETRY,
        "run_calls": RUN_CALLS,
        "looked_at": LOOKED_AT,
        "of_user": limits.WEBHOOK_CALLS.at_most,
        "runs": at_most,
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_CALLS, values)
        return [id for (id,) in cursor.fetchall()]


def give_up_beyond_the_bound() -> None:
    """Of each user's calls that wait keep the oldest, `limits.WEBHOOKS_WAITING` of them. The rest
    is given up; its owner sees that, and can have it sent again."""
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_UP, {"kept": limits.WEBHOOKS_WAITING.at_most})


# Reads little however long the queues are: of each user who has calls under way to spare, the first
# few that are due. A user who has none waiting is stepped over in the index.
_NEXT_CALLS = """
    WITH RECURSIVE busy AS (
        SELECT DISTINCT user_id, endpoint FROM invoices_webhookdelivery
        WHERE state = 'pending' AND leased_until > %(now)s
    ), under_way AS (
        SELECT user_id, count(*) AS calls FROM busy GROUP BY user_id
    ), people AS (
        (
            SELECT user_id FROM invoices_webhookdelivery
            WHERE state = 'pending' ORDER BY user_id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT user_id FROM invoices_webhookdelivery
            WHERE state = 'pending' AND user_id > people.user_id ORDER BY user_id LIMIT 1
        )
        FROM people WHERE user_id IS NOT NULL
    ), due AS (
        SELECT id, user_id, endpoint, calls, is_retry, next_attempt_at,
            row_number() OVER (
                PARTITION BY user_id, endpoint COLLATE "C" ORDER BY is_retry, next_attempt_at, id
            ) AS place
        FROM people LEFT JOIN under_way USING (user_id) CROSS JOIN LATERAL (
            (
                SELECT id, endpoint, next_attempt_at, false AS is_retry
                FROM invoices_webhookdelivery AS delivery
                WHERE state = 'pending' AND attempts_count = 0 AND next_attempt_at <= %(now)s
                    AND delivery.user_id = people.user_id
                    AND (delivery.user_id, endpoint) NOT IN (SELECT user_id, endpoint FROM busy)
                ORDER BY next_attempt_at LIMIT %(looked_at)s
            )
            UNION ALL
            (
                SELECT id, endpoint, next_attempt_at, next_attempt_at > %(late)s AS is_retry
                FROM invoices_webhookdelivery AS delivery
                WHERE state = 'pending' AND attempts_count > 0 AND next_attempt_at <= %(now)s
                    AND delivery.user_id = people.user_id
                    AND (delivery.user_id, endpoint) NOT IN (SELECT user_id, endpoint FROM busy)
                ORDER BY attempts_count, next_attempt_at LIMIT %(looked_at)s
            )
        ) AS first
        WHERE coalesce(calls, 0) < %(of_user)s
    ), turns AS (
        SELECT user_id, endpoint, is_retry, next_attempt_at,
            coalesce(calls, 0) + row_number() OVER (
                PARTITION BY user_id ORDER BY is_retry, next_attempt_at, id
            ) AS turn
        FROM due WHERE place = 1
    ), runs AS (
        SELECT user_id, endpoint,
            row_number() OVER (ORDER BY is_retry, turn, next_attempt_at) AS run
        FROM turns WHERE turn <= %(of_user)s
    )
    SELECT id FROM runs JOIN due USING (user_id, endpoint)
    WHERE run <= %(runs)s AND place <= %(run_calls)s ORDER BY run, place
"""

_GIVE_UP = """
    WITH many AS (
        SELECT user_id FROM invoices_webhookdelivery WHERE state = 'pending'
        GROUP BY user_id HAVING count(*) > %(kept)s
    )
    UPDATE invoices_webhookdelivery SET state = 'failed', leased_until = NULL
    WHERE id IN (
        SELECT beyond.id FROM many CROSS JOIN LATERAL (
            SELECT id FROM invoices_webhookdelivery AS delivery
            WHERE state = 'pending' AND delivery.user_id = many.user_id
            ORDER BY created, id OFFSET %(kept)s
        ) AS beyond
    )
"""


# --- By the address that is called ---------------------------------------------------------------


class AddressBusy(FetchFailed):
    """Raised instead of one call too many to an address: it was not made, and waits again."""


class Addresses:
    """The calls under way in this process, by the address (or IPv6 network) that they go to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._calls_of_user: Counter[tuple[UUID, str]] = Counter()

    def turn(self, user_id: UUID) -> Turn:
        return Turn(self, user_id)

    def take(self, user_id: UUID, place: str) -> None:
        """Raises `AddressBusy`; but whoever has no call there may make one, so that nobody who
        shares a server with others waits for theirs."""
        with self._lock:
            is_full = self._calls[place] >= limits.WEBHOOK_CALLS_AT_ADDRESS.at_most
            if is_full and self._calls_of_user[user_id, place]:
                raise AddressBusy("Other calls to this address are under way")
            self._calls[place] += 1
            self._calls_of_user[user_id, place] += 1

    def give_back(self, user_id: UUID, places: set[str]) -> None:
        with self._lock:
            for place in places:
                self._calls[place] -= 1
                self._calls_of_user[user_id, place] -= 1
            self._calls += Counter()  # drops what is 0
            self._calls_of_user += Counter()


class Turn:
    """One run of calls of a user: it takes its place at each address that it connects to, and
    gives them back when it ends."""

    def __init__(self, addresses: Addresses, user_id: UUID) -> None:
        self._addresses = addresses
        self._user_id = user_id
        self._places: set[str] = set()

    def at(self, address: str) -> None:
        """Before connecting. Raises `AddressBusy`."""
        place = _network(address)
        if place not in self._places:
            self._addresses.take(self._user_id, place)
            self._places.add(place)

    def close(self) -> None:
        self._addresses.give_back(self._user_id, self._places)
        self._places = set()


def _network(address: str) -> str:
    """What counts as one address: of IPv6 the /64, of which one machine has all."""
    if ipaddress.ip_address(address).version == 4:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False))
