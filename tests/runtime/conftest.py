"""What the tests of the running program share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from coinos.logs import RedactingFormatter


@pytest.fixture
def log() -> Iterator[StringIO]:
    """Everything that is logged, as our formatter writes it."""
    text = StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(RedactingFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)
