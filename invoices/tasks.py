"""Bells of the receiving side. Each may run twice, at once, late or never: the rows decide."""

from __future__ import annotations

import threading

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings

from coinos.heartbeat import periodic
from coinos.places import Places
from invoices import services, webhook_turns, webhooks

_stopping = threading.Event()


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """The two tasks that run for most of a minute end when their worker is told to."""
    _stopping.set()


@shared_task
@periodic("watch lightning", silence_max_s=120)
def watch_lightning() -> int:
    received = services.watch_lightning(stopped=_stopping.is_set)
    return False if received is None else received


@shared_task
@periodic("sweep lightning", silence_max_s=300)
def sweep_lightning() -> int:
    swept = services.sweep_lightning()
    services.clear_unfinished()
    return False if swept is None else swept


@shared_task
@periodic("scan bitcoin", silence_max_s=120)
def scan_bitcoin() -> bool:
    return services.scan_bitcoin()


@shared_task
@periodic("withdraw node invoices", silence_max_s=300)
def withdraw_node_invoices() -> int:
    return services.withdraw_node_invoices()


# Calls may take all of these, for as long as others do not answer; e-mails have the other threads.
_THREADS_FOR_CALLS = max(1, settings.WEBHOOK_THREADS - max(1, settings.WEBHOOK_THREADS // 4))
_calling = Places(_THREADS_FOR_CALLS)


@shared_task
def deliver_webhooks() -> None:
    # Each payment rings. When enough are at work, who look again soon, a ring costs nothing.
    with _calling.if_free() as mine:
        if mine:
            _deliver_webhooks()


@periodic("deliver webhooks", silence_max_s=300)
def _deliver_webhooks() -> int:
    return webhooks.deliver_due(stopped=_stopping.is_set)


@shared_task
@periodic("bound webhooks", silence_max_s=600)
def bound_webhooks() -> None:
    webhook_turns.give_up_beyond_the_bound()
