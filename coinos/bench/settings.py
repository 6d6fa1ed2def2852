"""The server's settings, with the yardstick views beside its own URLs."""

from coinos.settings import *  # noqa: F403

ROOT_URLCONF = "coinos.bench.urls"
