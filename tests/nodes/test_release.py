"""The release rule: every state of the node's record against all that we may know."""

from __future__ import annotations

from itertools import product

import pytest

from coinos.nodes.base import Failed, PaymentRecord, Settled, Unknown
from coinos.nodes.release import outcome

PREIMAGE = "5f1345813a4fc3d2e93b93df43a49fd4032be0ebd12b6218d341f9497e0df3c2"
FINAL = Settled(300, PREIMAGE, fee_final=True)
NOT_FINAL = Settled(300, PREIMAGE, fee_final=False)


def record(complete: int, pending: int, failed: int, in_progress: bool) -> PaymentRecord:
    return PaymentRecord(
        complete=complete,
        pending=pending,
        failed=failed,
        sent_msat=complete * 100_300 if complete == 1 else complete * 100_150,
        delivered_msat=complete * 100_000,
        preimage=PREIMAGE if complete else None,
        in_progress=in_progress,
    )


def knowing(*, returned: bool, deadline: bool, nothing_lost: bool) -> dict[str, bool]:
    return {
        "call_returned": returned,
        "deadline_passed": deadline,
        "nothing_is_lost": nothing_lost,
    }


KNOWLEDGE = [
    knowing(returned=returned, deadline=deadline, nothing_lost=nothing_lost)
    for returned, deadline, nothing_lost in product([False, True], repeat=3)
]


@pytest.mark.parametrize("known", KNOWLEDGE, ids=str)
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # complete, pending, failed
        ((1, 0, 0), FINAL),
        ((2, 0, 0), FINAL),
        ((1, 0, 3), FINAL),
        ((1, 1, 0), NOT_FINAL),
        ((1, 2, 3), NOT_FINAL),
    ],
)
@pytest.mark.parametrize("in_progress", [False, True])
def test_any_complete_part_settles_whatever_else_is_known(known, parts, expected, in_progress):
    """M10: error 209 and a complete part is a payment that arrived."""
    assert outcome(record(*parts, in_progress), **known) == expected


@pytest.mark.parametrize("known", KNOWLEDGE, ids=str)
@pytest.mark.parametrize("parts", [(0, 1, 0), (0, 1, 1), (0, 3, 0)])
@pytest.mark.parametrize("in_progress", [False, True])
def test_a_pending_part_keeps_the_hold_whatever_else_is_known(known, parts, in_progress):
    """M10: error 209 and a pending part is a payment in flight, at any age."""
    assert isinstance(outcome(record(*parts, in_progress), **known), Unknown)


@pytest.mark.parametrize(
    ("parts", "in_progress", "returned", "deadline", "nothing_lost", "expected"),
    [
        # all parts failed: only when no more can follow
        ((0, 0, 1), False, False, False, True, Unknown),
        ((0, 0, 1), False, True, False, True, Failed),
        ((0, 0, 1), False, False, True, True, Failed),
        ((0, 0, 1), False, True, True, True, Failed),
        # those that failed may not be all that there were
        ((0, 0, 1), False, True, False, False, Unknown),
        # the node is still trying, whatever the call said (M08, M10)
        ((0, 0, 1), True, True, False, True, Unknown),
        ((0, 0, 1), True, True, True, True, Unknown),
        # no parts: empty is not failed unless fenced (M08, M09)
        ((0, 0, 0), False, False, False, True, Unknown),
        ((0, 0, 0), False, True, False, True, Failed),
        ((0, 0, 0), False, False, True, True, Failed),
        ((0, 0, 0), False, True, True, False, Unknown),
        ((0, 0, 0), False, True, False, False, Unknown),
        ((0, 0, 0), False, False, True, False, Unknown),
        ((0, 0, 0), True, True, True, True, Unknown),
    ],
)
def test_without_parts_alive_the_hold_goes_only_when_no_more_can_follow(
    parts, in_progress, returned, deadline, nothing_lost, expected
):
    known = knowing(returned=returned, deadline=deadline, nothing_lost=nothing_lost)

    assert isinstance(outcome(record(*parts, in_progress), **known), expected)


@pytest.mark.parametrize(
    "contradiction",
    [
        PaymentRecord(1, 0, 0, 99_999, 100_000, PREIMAGE, False),
        PaymentRecord(1, 0, 0, 100_300, 100_000, None, False),
    ],
)
def test_a_record_that_contradicts_itself_decides_nothing(contradiction):
    """F11"""
    known = knowing(returned=True, deadline=True, nothing_lost=True)

    assert isinstance(outcome(contradiction, **known), Unknown)


def test_a_failure_carries_the_reason_for_the_user():
    known = knowing(returned=True, deadline=False, nothing_lost=True)

    assert outcome(record(0, 0, 1, False), **known, reason="No route") == Failed("No route")
