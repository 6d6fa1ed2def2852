"""money-K3: `manage.py doctor` names a database that may forget what users were told."""

from __future__ import annotations

import pytest
from psycopg import pq

from coinos.management.commands.doctor import durability, of_commits
from tests.database import Database, url_of


@pytest.mark.parametrize(
    ("fsync", "commit", "names", "standbys", "mend"),
    [
        (True, "on", "", 0, ""),
        (True, "on", "second", 1, ""),
        (True, "remote_apply", "second", 1, ""),
        (False, "on", "", 0, "fsync = on"),
        (True, "off", "", 0, "synchronous_commit = on"),
        (True, "local", "second", 1, "synchronous_commit = on"),
        (True, "on", "", 1, "synchronous_standby_names"),
    ],
)
def test_a_failover_is_safe_only_where_commits_wait_for_the_standby(
    fsync: bool, commit: str, names: str, standbys: int, mend: str
) -> None:
    found = of_commits(fsync, commit, names, standbys)
    assert bool(found.mend) == bool(mend)
    assert mend in found.mend


def test_a_standby_that_follows_is_seen_by_the_role_that_serves(
    cloned_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coinos.management.commands.doctor.of_commits", lambda *read: read)
    [(_, _, _, before)] = durability()  # type: ignore[misc]
    standby = pq.PGconn.connect(f"{url_of('postgres', '')}&replication=true".encode())
    try:
        assert standby.status == pq.ConnStatus.OK, standby.error_message
        [(_, _, _, with_it)] = durability()  # type: ignore[misc]
    finally:
        standby.finish()
    assert with_it == before + 1
