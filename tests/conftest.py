"""What every test may use."""

import re
from typing import Any

import django
import pytest
from django.db.models.sql.compiler import SQLUpdateCompiler
from xdist.scheduler import LoadScopeScheduling

from tests.database import (  # noqa: F401
    cloned_db,
    django_db_setup,
    prepare_environment,
    pytest_configure,
    redis,
)

pytest_plugins = ["tests.simnet_fixtures", "tests.cast"]

prepare_environment()
django.setup()


class Scheduling(LoadScopeScheduling):
    """Each test to the worker that is free, but all browser tests to one: they share a server."""

    def _split_scope(self, nodeid: str) -> str:
        return "browser" if nodeid.startswith("tests/browser/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


# --- Updates -------------------------------------------------------------------------------------

_as_sql = SQLUpdateCompiler.as_sql
_ALL_IN_A_SUBQUERY = re.compile(r' WHERE "(\w+)"\."(\w+)" IN \(SELECT U0\."\2" FROM "\1" U0 ')


def _as_sql_that_looks_again(self: SQLUpdateCompiler) -> Any:
    """Refuse an UPDATE whose whole condition Django has put into a subquery, as it does for one
    that looks at another table: a row that it waits for is changed whatever has become of it.
    Filter by id and by what must still be true."""
    sql, params = _as_sql(self)
    assert not _ALL_IN_A_SUBQUERY.search(sql), f"not looked at again after the lock: {sql}"
    return sql, params


SQLUpdateCompiler.as_sql = _as_sql_that_looks_again  # type: ignore[method-assign]
