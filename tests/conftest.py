"""What every test may use."""

import django

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
