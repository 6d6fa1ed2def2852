"""Attacks with invoices that strangers make for somebody (sec-17)."""

from __future__ import annotations

from functools import partial

from coinos import limits
from tests.attack.attacks import Tried, attack
from tests.attack.strangers import all_at_once
from tests.attack.webhooks import invoice_for, invoice_of
from tests.attack.world import World


@attack("invoices", "sec-17")
def flooding_a_payee(world: World) -> Tried:
    """Invoices that nobody asked for, for one payee, from many addresses and from one."""
    payee, greedy = world.newcomer("payee"), world.address()
    own = invoice_of(payee, amount=5, memo="my own order").body
    addresses = world.addresses(20) * 10 + [greedy] * (limits.INVOICE_CREATE.at_most + 20)
    tried = Tried(f"{len(addresses)} invoices for one payee, 200 from 20 addresses, 80 from one")
    calls = [
        partial(invoice_for, payee, world.stranger(address=one), amount=1, memo="SPAM")
        for one in addresses
    ]
    for answer in all_at_once(calls, threads=8):
        tried.answers[str(answer)] += 1
        tried.require(answer.is_polite, f"a {answer} without Retry-After")
    tried.require(tried.answers["429"], "one address makes any number of invoices for others")
    mine = invoice_of(payee, amount=6, memo="another of mine")
    tried.require(mine.status == 200, f"the payee's own invoice was answered {mine}")
    listed = {one["id"] for one in payee.program.get("/invoices").body["list"]}
    tried.require(own["id"] in listed, "the payee's own invoice is not listed any more")
    somebody = world.newcomer("somebody")
    other = invoice_for(somebody, world.stranger(), amount=1)
    tried.require(other.status == 200, f"an invoice for somebody else was answered {other}")
    return tried


@attack("addresses", "sec-17")
def flooding_the_node(world: World) -> Tried:
    """Addresses of the bitcoin node, which it watches for ever, asked for by strangers."""
    payee = world.newcomer("payee")
    from_one, for_one = limits.ADDRESS_FROM_NETWORK.at_most, limits.ADDRESS_FOR_PAYEE.at_most
    networks = world.addresses(for_one // from_one + 1)
    tried = Tried(f"{len(networks) * (from_one + 5)} addresses of the node for one payee")
    calls = [
        partial(invoice_for, payee, world.stranger(address=one), amount=5000, type="bitcoin")
        for one in networks
        for _ in range(from_one + 5)
    ]
    made: set[str] = set()
    for answer in all_at_once(calls, threads=8):
        tried.answers[str(answer)] += 1
        tried.require(answer.is_polite, f"a {answer} without Retry-After")
        if answer.status == 200:
            made.add(answer.body["hash"])
    tried.require(
        len(made) <= for_one, f"{len(made)} addresses of the node for one payee within seconds"
    )
    mine = invoice_of(payee, amount=5000, type="bitcoin")
    tried.require(mine.status == 200, f"the payee's own address was answered {mine}")
    ordinary = invoice_of(world.newcomer("ordinary"), amount=5000, type="bitcoin")
    tried.require(ordinary.status == 200, f"somebody else's address was answered {ordinary}")
    return tried


@attack("tips", "sec-17")
def tips_of_strangers(world: World) -> Tried:
    """A tip that a stranger sets on the invoice on a shop's screen."""
    shop = world.newcomer("shop")
    invoice = invoice_of(shop, amount=1000).body
    tried = Tried("tips of 2,000,000, 1,001 and 100 sats on an invoice of 1,000")
    for tip_sat, is_fine in ((2_000_000, False), (1_000_001, False), (100, True)):
        answer = world.stranger().post(f"/invoice/{invoice['id']}", {"invoice": {"tip": tip_sat}})
        tried.answers[str(answer)] += 1
        tried.require(
            (answer.status == 200) == is_fine,
            f"a tip of {tip_sat:,} sats on 1,000 was answered {answer}",
        )
    return tried


@attack("apps", "sec-17")
def wallet_connections(world: World) -> Tried:
    """Wallet connections without end, each with two key pairs."""
    person = world.newcomer("connector")
    tried = Tried("150 wallet connections of one account")
    calls = [partial(person.program.post, "/app", {"name": f"app {n}"}) for n in range(150)]
    for answer in all_at_once(calls, threads=4):
        tried.answers[str(answer)] += 1
        tried.require(answer.is_polite, f"a {answer} without Retry-After")
    there = len(person.program.get("/apps").body["list"])
    tried.answers["connections"] = there
    tried.require(there <= limits.CONNECTIONS.at_most, f"{there} wallet connections of one account")
    return tried
