"""Journey 7: a shop asks for an amount, the customer adds a tip, pays, and takes a receipt along.

Items and a point of sale do not exist yet: the order is an invoice with a memo."""

from __future__ import annotations

from tests.browser.walk import Walk
from tests.browser.world import World


def test_a_customer_tips_pays_and_takes_the_receipt(
    walk: Walk, customer: Walk, world: World
) -> None:
    shop = world.person("shop")
    walk.sign_in(shop)
    walk.open("/receive")
    walk.write("Amount", "4000")
    walk.write("What it is for", "Two coffees, table 7")
    walk.field("Ask the payer for a tip").check()
    walk.press("Create invoice")
    walk.sees("Add a tip?")
    customer.open(walk.path)
    customer.sees("Add a tip?")
    customer.page.get_by_role("button", name="15%").click()
    customer.sees(f"Pay {shop.name}")
    customer.reads("Two coffees, table 7")
    customer.reads("with a tip of ⚡️600")
    walk.press("Show the code without asking")
    walk.sees("Invoice")

    customer.press("Lightning")
    world.outside.pay(customer.field("Lightning invoice").input_value())
    customer.sees("Paid")
    walk.sees("Received")
    walk.reads("⚡️4,600")
    assert world.balance(shop) == 4_600

    walk.open("/payments")
    walk.reads("with a tip of 600 sats")
    walk.sees("Payments")
    walk.page.get_by_role("main").locator("a.payment").click()
    walk.sees("Payment")
    assert walk.sats("Tip") == 600
    customer.open(walk.path)
    customer.sees("Receipt")
    customer.reads("⚡️4,600")
    assert "table 7" not in customer.page.content()
