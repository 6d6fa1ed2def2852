"""Work that one process does at a time, over all machines: whoever has its lease does it.

A lease is a row: an owner, and until when. Its owner renews it while it works and gives it back;
a killed process's lease is over after `LASTS_S`. It needs nothing of the database session that
wrote it, so it holds behind a pooler that hands each transaction to another session. A process
that was asleep for longer than its lease may go on beside the next owner: leases save work, and
nothing may depend on them for being right.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection

logger = logging.getLogger(__name__)

LASTS_S = 5.0
RENEWED_EVERY_S = 1.5
RENEWED_FOR_S = 900.0  # then whoever has it hangs, and another shall try

_TAKE = """
    INSERT INTO coinos_lease AS lease (name, owner, until)
    VALUES (%(name)s, %(owner)s, now() + %(lasts_s)s * interval '1 second')
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
    WHERE lease.until < now()
"""
_RENEW = """
    UPDATE coinos_lease SET until = now() + %(lasts_s)s * interval '1 second'
    WHERE name = %(name)s AND owner = %(owner)s
"""
_GIVE_BACK = """
    UPDATE coinos_lease SET until = now() - interval '1 second'
    WHERE name = %(name)s AND owner = %(owner)s
"""


@contextmanager
def only_one(name: str) -> Iterator[bool]:
    """True inside when nobody else has the lease `name`; false at once when somebody does.

    Its statements go over a connection of their own, outside every transaction."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    with psycopg.connect(**parameters, autocommit=True) as own:
        own.prepare_threshold = None  # plans would belong to a session
        lease = {"name": name, "owner": uuid.uuid4(), "lasts_s": LASTS_S}
        if not own.execute(_TAKE, lease).rowcount:
            yield False
            return
        done = threading.Event()
        renewer = threading.Thread(target=_keep, args=(own, lease, done), name=f"lease {name}")
        renewer.start()
        try:
            yield True
        finally:
            done.set()
            renewer.join()
            try:
                own.execute(_GIVE_BACK, lease)
            except psycopg.Error as error:  # it ends by itself
                logger.warning("the lease %s was not given back: %s", name, error)


def _keep(own: psycopg.Connection, lease: dict[str, object], done: threading.Event) -> None:
    """Renew the lease until its owner is done; no more once it is lost."""
    for _ in range(int(RENEWED_FOR_S / RENEWED_EVERY_S)):
        if done.wait(RENEWED_EVERY_S):
            return
        try:
            renewed = own.execute(_RENEW, lease).rowcount
        except psycopg.Error as error:
            logger.warning("the lease %s was not renewed: %s", lease["name"], error)
            return
        if not renewed:
            logger.warning("the lease %s was lost: this process stood still", lease["name"])
            return
