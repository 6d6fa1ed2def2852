"""Ring a Celery task: a bell that says "look at the table", never the only copy of the work.

By name, so that services do not import tasks. A lost bell costs a delay: beat rings the same tasks.
"""

from __future__ import annotations

import functools
import logging

from celery import current_app
from celery.worker import state as worker_state
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)


def ring(task: str) -> None:
    """Ask a worker to run `task` (its full name) soon. Never raises: beat rings too."""
    try:
        current_app.send_task(task, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        logger.warning("could not ring %s: %s", task, error)


def ring_after_commit(task: str) -> None:
    """`ring`, once the running transaction has committed."""
    transaction.on_commit(functools.partial(ring, task), robust=True)


def worker_is_stopping() -> bool:
    """Whether this Celery worker was asked to stop; long tasks look and end early.

    Holds for pools of threads, where the task shares the process that got the signal.
    """
    return worker_state.should_stop is not None and worker_state.should_stop is not False
