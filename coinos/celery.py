"""Celery: a bell, not a queue. The whole periodic schedule is on this screen.

Every task may run twice, at once, late or never: the rows in the database are the work. A task
that has waited longer than `expires` is dropped, because the next ring is already there.
"""

from __future__ import annotations

import os
import signal

from celery import Celery
from celery.signals import beat_embedded_init

from coinos.embedded import end_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coinos.settings")

app = Celery("coinos")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.task_routes = {
    "invoices.tasks.watch_lightning": {"queue": "watch"},
    "invoices.tasks.deliver_webhooks": {"queue": "webhooks"},
    "accounts.tasks.send_emails": {"queue": "webhooks"},
}


@beat_embedded_init.connect
def end_with_the_worker(**_: object) -> None:
    """The beat inside a worker is a fork of it; nothing of `manage.py up` outlives the worker."""
    end_with_parent(signal.SIGKILL, parent=os.getppid())()


def every(seconds: float, task: str) -> dict[str, object]:
    return {"task": task, "schedule": seconds, "options": {"expires": max(seconds, 5)}}


app.conf.beat_schedule = {
    # money coming in
    "watch lightning": every(1, "invoices.tasks.watch_lightning"),
    "sweep lightning": every(60, "invoices.tasks.sweep_lightning"),
    "scan bitcoin": every(2, "invoices.tasks.scan_bitcoin"),
    "withdraw node invoices": every(5, "invoices.tasks.withdraw_node_invoices"),
    "deliver webhooks": every(2, "invoices.tasks.deliver_webhooks"),
    "bound webhooks": every(60, "invoices.tasks.bound_webhooks"),
    # money going out
    "dispatch payments": every(5, "payments.tasks.dispatch"),
    "resolve payments": every(5, "payments.tasks.resolve"),
    "advance withdrawals": every(5, "payments.tasks.advance_withdrawals"),
    "bump overdue withdrawals": every(300, "payments.tasks.bump_overdue"),
    "keep coins split": every(600, "payments.tasks.keep_coins_split"),
    "auto-withdraw": every(5, "payments.tasks.auto_withdraw"),
    "return gifts": every(60, "payments.tasks.return_gifts"),
    # the books
    "reconcile": every(60, "payments.tasks.reconcile"),
    # the house
    "forget attempts": every(3600, "accounts.tasks.forget_attempts"),
    "send e-mail": every(10, "accounts.tasks.send_emails"),
    "forget e-mail": every(3600, "accounts.tasks.forget_emails"),
    # the world
    "refresh rates": every(60, "coinos.tasks.refresh_rates"),
}
