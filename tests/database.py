"""PostgreSQL and Redis for the tests: started once per run, a database for every xdist worker.

With TEST_DATABASE_URL (a role that may create databases and roles) that server is used;
otherwise the embedded one, in a temporary folder. A template database is migrated once, as the
owner; tests run on clones of it as the app role, so that grants are as real as in production.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from coinos import embedded

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
TEMPLATE = "coinos_template"


def prepare_environment() -> None:
    """What coinos.settings reads, set before they are imported. xdist's workers inherit it."""
    assert not settings.configured, "the settings were read before their environment was ready"
    run = os.environ.get("COINOS_TEST_RUN") or tempfile.mkdtemp(prefix="coinos-test-")
    os.environ["COINOS_TEST_RUN"] = run
    worker_number = int(WORKER.removeprefix("gw")) if WORKER.startswith("gw") else 15
    for name in ("LIGHTNING_RPC", "BITCOIN_RPC_URL", "PUBLIC_URL", "DATABASE_ROLE", "NETWORK"):
        os.environ.pop(name, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "coinos.settings",
        "COINOS_DATA_DIR": f"{run}/{WORKER}",
        "DATABASE_URL": url_of(TEMPLATE, embedded.APP_ROLE),
        "DATABASE_OWNER_URL": url_of(TEMPLATE, embedded.OWNER_ROLE),
        "DATABASE_POOL_SIZE": "0",
        "REDIS_URL": f"{embedded.redis_url(Path(run))}?db={worker_number}",
        "RATE_LIMITS": "off",
        "SEND_RETRY_FOR": "2",
        "SEND_MARGIN": "3",
    }


def url_of(database: str, role: str) -> str:
    """A URL of this run's server. `role` "" is whoever may create databases."""
    given = os.environ.get("TEST_DATABASE_URL")
    if not given:
        run = Path(os.environ["COINOS_TEST_RUN"])
        return embedded.postgres_url(run, role=role or embedded.SUPERUSER_ROLE, database=database)
    options = embedded.parse_postgres_url(given) | {"dbname": database}
    if role:
        options |= {"user": role, "password": "coinos"}
    return "postgresql://?" + urlencode(options)


# --- Servers, once per run -----------------------------------------------------------------


@contextmanager
def servers() -> Iterator[None]:
    """PostgreSQL with its migrated template, and Redis, while the block runs."""
    run = Path(os.environ["COINOS_TEST_RUN"])
    log = embedded.open_log(run, "servers")
    processes = []
    try:
        redis = embedded.start_redis(run, log=log)
        processes.append((redis, signal.SIGTERM))
        if "TEST_DATABASE_URL" not in os.environ:
            embedded.prepare_postgres(run)
            postgres = embedded.start_postgres(run, log=log, durable=False)
            processes.append((postgres, signal.SIGINT))
            embedded.wait_until(
                lambda: embedded.postgres_is_ready(run),
                alive=lambda: postgres.poll() is None,
                what=f"PostgreSQL (see {run}/logs/servers.log)",
            )
        create_template()
        yield
    finally:
        for process, stop_signal in reversed(processes):
            process.send_signal(stop_signal)
            process.wait(timeout=20)


def create_template() -> None:
    with administrator() as connection:
        for role in (embedded.OWNER_ROLE, embedded.APP_ROLE):
            if not connection.execute(
                "SELECT 1 FROM pg_roles WHERE rolname = %s", [role]
            ).fetchone():
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'coinos'").format(sql.Identifier(role))
                )
    drop_database(TEMPLATE)
    create_database(TEMPLATE, template="template0")
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"],
        env=os.environ | {"DATABASE_ROLE": "owner"},
        check=True,
    )
    with psycopg.connect(url_of(TEMPLATE, embedded.OWNER_ROLE)) as owner:
        owner.execute(FUND)


# What `tests.cast.fund` needs inside the transaction of a test, which the owner's connection
# could not see into.
FUND = f"""
    CREATE SCHEMA tests;
    GRANT USAGE ON SCHEMA tests TO {embedded.APP_ROLE};
    CREATE FUNCTION tests.fund(
        p_user uuid, p_amount_msat bigint, p_external_id text, p_reason text
    ) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
        SELECT ledger_post(7, (SELECT id FROM ledger_account WHERE user_id = p_user),
            p_amount_msat, 'operator.credit', p_external_id, 'operator', p_reason)
    $$;
"""


def administrator() -> psycopg.Connection[Any]:
    return psycopg.connect(url_of("postgres", ""), autocommit=True)


def create_database(name: str, *, template: str = TEMPLATE) -> None:
    with administrator() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                *map(sql.Identifier, (name, template, embedded.OWNER_ROLE))
            )
        )


def drop_database(name: str) -> None:
    with administrator() as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Under xdist the controller owns the servers, so that all workers share them."""
    if WORKER == "main":
        run = os.environ["COINOS_TEST_RUN"]
        config.add_cleanup(lambda: shutil.rmtree(run, ignore_errors=True))
    if WORKER == "main" and getattr(config.option, "numprocesses", None):
        # Workers inherit the environment, and pytest-django would read the settings before
        # `prepare_environment` has given a worker its own data dir, database and Redis.
        del os.environ["DJANGO_SETTINGS_MODULE"]
        _start_servers(config)


def _start_servers(config: pytest.Config) -> None:
    started = servers()
    started.__enter__()
    config.add_cleanup(lambda: started.__exit__(None, None, None))


# --- Databases -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Database:
    """A database of a test. Give `environment` to a process that shall use it too."""

    name: str

    @property
    def url(self) -> str:
        """As the app role."""
        return url_of(self.name, embedded.APP_ROLE)

    @property
    def owner_url(self) -> str:
        return url_of(self.name, embedded.OWNER_ROLE)

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ) | {
            "DATABASE_URL": self.url,
            "DATABASE_OWNER_URL": self.owner_url,
        }


@contextmanager
def clone_of_template(name: str) -> Iterator[Database]:
    """A clone at which Django points while the block runs, in all threads."""
    from django.db import connection, connections

    create_database(name)
    # Every thread's connection is made from this one dictionary, and an operator's from the other.
    database = connections.settings["default"]
    before = database["NAME"]
    connection.close()
    owner = settings.DATABASE_OWNER
    database["NAME"] = connection.settings_dict["NAME"] = owner["NAME"] = name
    try:
        yield Database(name)
    finally:
        connections.close_all()
        database["NAME"] = connection.settings_dict["NAME"] = owner["NAME"] = before
        drop_database(name)


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_blocker: Any) -> Iterator[None]:
    """Replaces pytest-django's: a clone of the template for this worker."""
    if WORKER == "main" and not getattr(request.config.option, "numprocesses", None):
        _start_servers(request.config)
    with django_db_blocker.unblock(), clone_of_template(f"coinos_test_{WORKER}"):
        django_db_blocker.block()
        yield
        django_db_blocker.unblock()


@pytest.fixture
def cloned_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[Database]:
    """A database of this test's own, with real commits, for threads and processes.

    Instead of pytest-django's `transactional_db`, which flushes with TRUNCATE: the ledger refuses.
    """
    with (
        django_db_blocker.unblock(),
        clone_of_template(f"coinos_test_{WORKER}_{uuid.uuid4().hex[:8]}") as database,
    ):
        yield database


@pytest.fixture
def redis(django_db_setup: None) -> Iterator[Any]:
    """An empty Redis, this worker's own database of it."""
    from redis import Redis

    with Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
        yield client
