"""Lists behind a pooler that hands each transaction to another session (README, `DATABASE_URL`)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from invoices import api
from invoices.models import Invoice
from invoices.selectors import invoices_of
from tests.cast import make_user
from tests.database import Database
from tests.pooler import needs_pgbouncer, through_pooler


@needs_pgbouncer
def test_a_long_list_is_whole_whichever_sessions_it_is_read_by(cloned_db: Database) -> None:
    """A cursor of the server's would be left behind in the session that opened it."""
    alice = make_user("alice")
    made = [
        Invoice(user=alice, type="lightning", hash="lnbc1", currency="USD", expiry_s=3600)
        for _ in range(3 * api.INVOICES_AT_A_TIME)
    ]
    Invoice.objects.bulk_create(made)

    def length(_number: int) -> int:
        try:
            return len(json.loads(api.list_of(invoices_of(alice), shown=set()).content))
        finally:
            connection.close()

    with through_pooler(), ThreadPoolExecutor(4) as threads:
        assert set(threads.map(length, range(40))) == {len(made)}
