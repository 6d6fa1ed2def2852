"""Attacks on and by webhooks: to fill the places of all calls, and to speak in somebody's name
(sec-7, sec-10, sec-13)."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from tests.attack.attacks import Tried, attack
from tests.attack.lookups import HangingHost
from tests.attack.mail import wait_for
from tests.attack.strangers import Answer, Stranger
from tests.attack.world import Person, World
from tests.invoices.receiver import receiver
from tests.proof.harness import free_port

SHOPS = 14
EACH = 30
TOLD_WITHIN_S = 2


def invoice_of(person: Person, **wanted: Any) -> Answer:
    """An invoice that somebody makes for themselves."""
    return person.program.post("/invoice", {"invoice": {"type": "lightning"} | wanted})


def invoice_for(payee: Person, by: Any, **wanted: Any) -> Answer:
    """An invoice that somebody else, or nobody, makes for a payee."""
    body = {"user": {"username": payee.name}, "invoice": {"type": "lightning"} | wanted}
    return by.post("/invoice", body)


def pay(payer: Person, invoice: dict[str, Any], amount_sat: int) -> Answer:
    return payer.program.post("/payments", {"payreq": invoice["hash"], "amount": amount_sat})


@attack("webhooks", "sec-13")
def hanging_webhooks(world: World) -> Tried:
    """Webhooks whose endpoints never answer, in front of somebody's ordinary one."""
    shop = world.newcomer("shop")
    buyer = world.newcomer("buyer", sats=100)
    pairs = [(world.newcomer("idleshop"), world.newcomer("idlebuyer")) for _ in range(SHOPS)]
    hosts, port = [], free_port()
    tried = Tried("")
    with ExitStack() as stack, receiver() as heard:
        for address in world.addresses(SHOPS * EACH):
            host = HangingHost(address, port)
            stack.callback(host.close)
            hosts.append(host)
        wanted = {"webhook": heard.url, "amount": 5}
        ordinary = world.expect(lambda: invoice_of(shop, **wanted)).body

        def flood(number: int) -> list[Answer]:
            owner, payer = pairs[number]
            seen = [world.bank.program.post("/send", {"username": payer.name, "amount": EACH})]
            for host in hosts[number * EACH : (number + 1) * EACH]:
                url = f"http://{host.listener.getsockname()[0]}:{port}/"
                made = invoice_of(owner, amount=1, webhook=url)
                seen.append(made)
                if made.status == 200:
                    seen.append(pay(payer, made.body, 1))
            return seen

        began = time.monotonic()
        with ThreadPoolExecutor(SHOPS) as pool:
            answers = [one for seen in pool.map(flood, range(SHOPS)) for one in seen]
        flooded_s = time.monotonic() - began
        for answer in answers:
            tried.answers[str(answer)] += 1
        paid_at = time.monotonic()
        paid = pay(buyer, ordinary, 5)
        tried.require(paid.status == 200, f"the ordinary payment was answered {paid}")
        told = wait_for(lambda: heard.heard, seconds=10)
        waited_s = time.monotonic() - paid_at
        tried.require(told, "the ordinary webhook was not called within 10 s")
        tried.require(
            not told or waited_s <= TOLD_WITHIN_S,
            f"the ordinary webhook waited {waited_s:.1f} s",
        )
        called = sum(bool(host.calls) for host in hosts)
        tried.what = (
            f"{len(hosts)} endpoints that never answer, of {SHOPS} shops, in {flooded_s:.0f} s;"
            f" {called} of them were called; an ordinary webhook waited {waited_s:.1f} s"
        )
    return tried


@attack("strangers", "sec-7")
def webhooks_of_strangers(world: World) -> Tried:
    """Webhooks and secrets on somebody else's invoice."""
    shop, buyer, mallory = (world.newcomer(name, sats=50) for name in ("shop", "buyer", "mallory"))
    tried = Tried("webhooks on a shop's invoice by nobody and by another account")
    with receiver() as of_shop, receiver() as of_mallory:
        browser = world.browser_of(shop)
        saved = browser.submit("/webhooks/account", {"account-url": of_shop.url})
        tried.require(saved.status == 302, f"the shop could not set its own webhook: {saved}")
        given = invoice_of(shop, amount=9).body
        callers = {"nobody": world.stranger(), "another account": mallory.program}
        for who, caller in callers.items():
            for field, value in (("webhook", of_mallory.url), ("secret", "attacker-chosen")):
                made = invoice_for(shop, caller, amount=7, memo="order PAID", **{field: value})
                tried.answers[str(made)] += 1
                tried.require(
                    made.status == 403 and field in made.text,
                    f"{who} was answered {made} for a {field} on the shop's invoice",
                )
                if made.status == 200:
                    pay(buyer, made.body, 7)
                changed = caller.post(f"/invoice/{given['id']}", {"invoice": {field: value}})
                tried.answers[str(changed)] += 1
                tried.require(
                    changed.status in (401, 403, 404),
                    f"{who} was answered {changed} for changing the {field} of the shop's invoice",
                )
        plain = invoice_for(shop, world.stranger(), amount=7)
        tried.require(plain.status == 200, f"a plain invoice by nobody was answered {plain}")
        before = len(of_shop.heard)
        tried.require(pay(buyer, plain.body, 7).status == 200, "a plain invoice cannot be paid")
        tried.require(
            wait_for(lambda: len(of_shop.heard) > before), "the shop's own webhook was not told"
        )
        tried.require(
            not of_mallory.heard,
            f"a stranger's server was called {len(of_mallory.heard)} times in the shop's name",
        )
    return tried


@attack("secrets", "sec-10")
def secrets_of_webhooks(world: World) -> Tried:
    """The secret of a webhook, read or carried away by credentials that may only read."""
    shop, buyer = world.newcomer("shop"), world.newcomer("buyer", sats=50)
    read_only = world.stranger(token=shop.program.get("/ro").text)
    tried = Tried("a shop's webhook secret, by its read-only token and by keys of each scope")
    with receiver() as before, receiver() as moved:
        invoice = invoice_of(shop, amount=3, webhook=before.url, secret="SHOP-SECRET-1").body
        browser = world.browser_of(shop)
        callers = {"the read-only token": read_only}
        for scope in ("read", "receive", "spend"):
            token = new_key(browser, shop, scope)
            callers[f"a key of scope {scope}"] = world.stranger(token=token)
        for who, caller in callers.items():
            for answer in (
                caller.get(f"/invoice/{invoice['id']}"),
                caller.get("/invoices"),
                caller.post(f"/invoice/{invoice['id']}", {"invoice": {"webhook": moved.url}}),
            ):
                tried.answers[str(answer)] += 1
                tried.require("SHOP-SECRET-1" not in answer.text, f"{who} was shown the secret")
        pay(buyer, invoice, 3)
        wait_for(lambda: before.heard or moved.heard)
        tried.require(before.heard or moved.heard, "no webhook was called at all")
        tried.require(
            all(b"SHOP-SECRET-1" not in call.raw for call in moved.heard),
            "the old secret was sent to the new webhook",
        )
    return tried


def shown_key(page: Answer) -> str:
    """The API key that a page shows this once; "" when it shows none."""
    found = re.search(r"\bcoinos_[\w-]{30,}", page.text)
    return found[0] if found else ""


def new_key(browser: Stranger, owner: Person, scope: str) -> str:
    """Make an API key in the settings."""
    fields = {"name": scope, "scope": scope, "password": owner.password, "pin": ""}
    page = browser.submit("/settings/keys", fields)
    if not shown_key(page):
        raise RuntimeError(f"{owner.name} could not make a key: {page}")
    return shown_key(page)
