"""The kill switch: while the file `STOP_FILE` exists, no external send starts (O02).

A file outside the database, so that whoever can write the database cannot switch it off.
Receiving and payments between users go on.
"""

from __future__ import annotations

import logging

from django.conf import settings
from django.utils import timezone

logger = logging.getLogger(__name__)


def is_stopped() -> bool:
    return settings.STOP_FILE.exists()


def stop_sends(reason: str) -> None:
    """Create the file, with the reason in it, and page the operator. An operator removes it."""
    logger.critical("external sends stopped: %s", reason)
    if is_stopped():
        return
    try:
        settings.STOP_FILE.parent.mkdir(parents=True, exist_ok=True)
        settings.STOP_FILE.write_text(f"{timezone.now():%Y-%m-%d %H:%M:%S} UTC {reason}\n")
    except OSError:
        # The callers settle payments and must not fail here (rule 6); the auditor comes again.
        logger.critical("the stop file cannot be written: sends go on", exc_info=True)
