"""What every test may use."""

from typing import Any

import django
import pytest
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
