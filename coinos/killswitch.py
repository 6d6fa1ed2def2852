"""The kill switch: while the file `STOP_FILE` exists, no external send starts (O02).

A file outside the database, so that whoever can write the database cannot switch it off.
Receiving and payments between users go on.

It fails closed. A place that cannot be looked at counts as a file that is there; where the file
cannot be written, the alarm's row stands for it.
"""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import DatabaseError
from django.db.models.functions import Now
from django.utils import timezone

from coinos import alarms, heartbeat
from coinos.models import Alarm

logger = logging.getLogger(__name__)


def is_stopped() -> bool:
    return _has_file() or heartbeat.sends_are_held()


def _has_file() -> bool:
    """Not `Path.exists`, which is False for a folder that we may not read."""
    try:
        settings.STOP_FILE.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def stop_sends(
    sentence: str, *, cause: str = "", amount_msat: int | None = None, is_single: bool = False
) -> None:
    """Stop external sends, unless an operator has acknowledged this very cause (by default: this
    sentence; see `coinos.alarms`). Never fails: callers settle payments."""
    try:
        alarm = alarms.note(
            cause or sentence, sentence, amount_msat=amount_msat, is_single=is_single
        )
    except DatabaseError:
        logger.critical("external sends stopped: %s", sentence, exc_info=True)
        _write(sentence)
    else:
        stop_for(alarm)


def stop_for(alarm: Alarm) -> None:
    """Create the file, with what was found in it, and page the operator. An operator acknowledges
    the alarm and removes the file."""
    if alarms.is_seen_to(alarm):
        return
    if alarm.stopped_at is None:
        Alarm.objects.filter(id=alarm.id).update(stopped_at=Now())
    elif is_stopped():
        return
    logger.critical("external sends stopped: %s", alarm.sentence)
    if not _has_file() and not _write(alarm.sentence):
        Alarm.objects.filter(id=alarm.id).update(holds_sends=True)
        heartbeat.ask_anew()


def _write(sentence: str) -> bool:
    """Whether the file is there now."""
    try:
        settings.STOP_FILE.parent.mkdir(parents=True, exist_ok=True)
        settings.STOP_FILE.write_text(f"{timezone.now():%Y-%m-%d %H:%M:%S} UTC {sentence}\n")
    except OSError:
        logger.critical("the stop file cannot be written", exc_info=True)
        return False
    return True
