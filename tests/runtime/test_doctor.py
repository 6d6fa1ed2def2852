"""`manage.py doctor` says what about the Lightning node could lead to a wrong answer later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coinos.management.commands import doctor
from coinos.simnet.control import Control
from tests.simnet_fixtures import SimnetProcess


@pytest.fixture
def own(settings: Any) -> Iterator[Control]:
    process = SimnetProcess()
    process.start()
    settings.LIGHTNING_RPC = process.control.lightning_rpc
    settings.SEND_MARGIN_SECONDS = 120
    yield process.control
    process.stop()


def warnings() -> list[str]:
    return [finding.text + finding.mend for finding in doctor.lightning() if finding.mend]


def test_a_node_that_keeps_its_records_is_well(own: Control) -> None:
    own.configure({"autoclean-expiredinvoices-age": 60, "autoclean-paidinvoices-age": 0})
    assert warnings() == []


def test_a_node_that_deletes_what_we_ask_for_later_is_named(own: Control) -> None:
    """money-K5, money-H11: cleaned payments turn "no record" into "never sent"."""
    ages_s = {
        "autoclean-paidinvoices-age": 3600,
        "autoclean-succeededpays-age": 60,
        "autoclean-failedpays-age": 86_400,
    }
    own.configure(ages_s)
    found = warnings()
    assert len(found) == 3
    for option, age_s in ages_s.items():
        [told] = [text for text in found if f"{option}={age_s}" in text]
        assert f"set {option}=0" in told


def test_a_search_for_a_route_that_may_outlast_our_patience_is_named(own: Control) -> None:
    """money-K5: until it is over, that the node has no record proves nothing."""
    own.configure({"askrene-timeout": 30})
    assert warnings() == []
    own.configure({"askrene-timeout": 600})
    [told] = warnings()
    assert "600 s" in told
