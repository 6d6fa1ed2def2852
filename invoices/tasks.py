"""Bells of the receiving side. Each may run twice, at once, late or never: the rows decide."""

from __future__ import annotations

import threading

from celery import shared_task
from celery.signals import worker_shutting_down

from coinos.heartbeat import periodic
from invoices import services, webhooks

_stopping = threading.Event()


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """The two tasks that run for most of a minute end when their worker is told to."""
    _stopping.set()


@shared_task
@periodic("watch lightning", silence_max_s=120)
def watch_lightning() -> None:
    services.watch_lightning(stopped=_stopping.is_set)


@shared_task
@periodic("sweep lightning", silence_max_s=300)
def sweep_lightning() -> None:
    services.sweep_lightning()
    services.clear_unfinished()


@shared_task
@periodic("scan bitcoin", silence_max_s=120)
def scan_bitcoin() -> None:
    services.scan_bitcoin()


@shared_task
@periodic("withdraw node invoices", silence_max_s=300)
def withdraw_node_invoices() -> None:
    services.withdraw_node_invoices()


@shared_task
@periodic("deliver webhooks", silence_max_s=300)
def deliver_webhooks() -> None:
    webhooks.deliver_due(stopped=_stopping.is_set)
