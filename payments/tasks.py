"""Bells for money going out. Each looks at the rows and may run twice, at once, late or never.

Rounds that ask a node run one at a time: with a node that hangs they would take every worker."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from coinos.heartbeat import AUDITOR, periodic
from coinos.leases import only_one
from coinos.places import Places
from payments import reconciliation
from payments.services.autowithdraw_runs import run_due
from payments.services.coins import keep_coins_split as keep_split
from payments.services.gifts import return_expired
from payments.services.lightning import dispatch_waiting
from payments.services.overdue import bump_overdue as bump_all_overdue
from payments.services.resolution import resolve_due
from payments.services.withdrawals import advance_withdrawals as advance_all


@shared_task
@periodic("dispatch", silence_max_s=120)
def dispatch() -> int:
    return dispatch_waiting()


@shared_task
@periodic("resolve", silence_max_s=120)
def resolve() -> int:
    with only_one("resolve payments") as mine:
        return resolve_due() if mine else False


@shared_task
@periodic("withdrawals", silence_max_s=120)
def advance_withdrawals() -> int:
    with only_one("advance withdrawals") as mine:
        return advance_all() if mine else False


@shared_task
@periodic("overdue withdrawals", silence_max_s=1800)
def bump_overdue() -> int:
    with only_one("bump overdue withdrawals") as mine:
        return bump_all_overdue() if mine else False


@shared_task
@periodic("coins", silence_max_s=3600)
def keep_coins_split() -> int:
    with only_one("keep coins split") as mine:
        return keep_split() if mine else False


# Others are asked here, who may be slow on purpose: half of the threads stay for everything else.
_auto_withdrawing = Places(max(1, settings.WORKER_THREADS // 2))


@shared_task
@periodic("auto-withdraw", silence_max_s=600)
def auto_withdraw() -> int:
    with _auto_withdrawing.if_free() as mine:
        return run_due() if mine else False


@shared_task
@periodic("return gifts", silence_max_s=600)
def return_gifts() -> int:
    return return_expired()


@shared_task
@periodic(AUDITOR, silence_max_s=600)
def reconcile() -> None:
    reconciliation.reconcile()
