"""Journey 8: the history by range, kind and words, and as a file whose totals are the ledger's."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.walk import Walk, Window
from tests.browser.world import Person, World


@pytest.fixture(scope="package")
def alice(world: World) -> Person:
    """Somebody with a history: paid, paying, refused."""
    alice, bob = world.person("alice", sats=50_000), world.person("bob")
    for number in range(1, 4):
        world.outside.pay(
            world.invoice(alice, amount=1000 * number, memo=f"Order {number}")["hash"]
        )
    world.send(alice, "/api/payments", payreq=world.outside.invoice(7_000_000))
    world.send(alice, "/api/send", amount=500, username=bob.name)
    world.send(alice, "/api/payments", payreq=world.outside.invoice(9_000_000, node="fail"))
    world.until(lambda: world.balance(alice) == 48_499)
    return alice


def test_she_narrows_her_history_and_takes_all_of_it_along(
    walk: Walk, world: World, alice: Person, tmp_path: Path
) -> None:
    walk.sign_in(alice)
    walk.press("See all")
    walk.sees("Payments")
    lines = walk.page.get_by_role("main").locator("a.payment")
    expect(lines).to_have_count(7)
    for kind, count in {"Received": 4, "Sent": 3, "Failed": 1, "Pending": 0, "All": 7}.items():
        walk.press(kind)
        expect(lines).to_have_count(count)
        expect(walk.page.get_by_role("link", name=kind, exact=True)).to_be_in_viewport(ratio=1)
        walk.examine(kind)

    walk.press("CSV", saves=tmp_path / "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").open(encoding="utf-8-sig")))
    assert len(rows) == 7
    moved = [int(row["total_sat"]) for row in rows if row["status"] == "settled"]
    assert sum(moved) == world.balance(alice) == 48_499

    unfold_search(walk)
    walk.write("Search", "Order 2")
    walk.press("Search")
    expect(lines).to_have_count(1)
    walk.examine("found")
    walk.press("CSV", saves=tmp_path / "found.csv")
    (found,) = csv.DictReader((tmp_path / "found.csv").open(encoding="utf-8-sig"))
    assert (found["memo"], found["total_sat"]) == ("Order 2", "2000")

    walk.press("Reset")
    expect(lines).to_have_count(7)
    unfold_search(walk)
    walk.write("Until", "2020-01-01")
    walk.press("Search")
    expect(lines).to_have_count(0)
    walk.sees("Payments")


def unfold_search(walk: Walk) -> None:
    """On a desk it stands open."""
    if not walk.field("Search").is_visible():
        walk.page.get_by_text("Search and dates").click()


def test_she_reads_the_hours_of_where_she_is(
    open_window: Callable[..., Walk], world: World
) -> None:
    """input-I17k"""
    alice, bob = world.person("alice", sats=5_000), world.person("bob")
    world.send(alice, "/api/send", amount=1_000, username=bob.name)
    walk = open_window(Window("phone", ("light",)), timezone_id="Asia/Tokyo")
    walk.sign_in(alice)
    walk.open("/payments")
    walk.sees("Payments")
    walk.page.get_by_role("main").locator("a.payment").first.click()
    walk.reads("UTC+9")
