"""Attacks on an account whose PIN is not known (sec-9)."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tests.attack.attacks import Tried, attack
from tests.attack.routes import all_routes, filled
from tests.attack.strangers import Answer, Stranger
from tests.attack.webhooks import invoice_of, shown_key
from tests.attack.world import Person, World

PIN = "493817"
LEAVE_ALONE = ("/logout", "/admin/", "/simnet", "/api/logout", "/api/login", "/settings/sessions")
"""They end what the walk needs, or are somebody else's."""


def gift_link(page: Answer) -> str:
    """The token of the gift whose link a page shows; "" when it shows none."""
    found = re.search(r"/gift/([\w-]{20,})", page.text)
    return found[1] if found else ""


@attack("pin", "sec-9")
def pin_walk(world: World) -> Tried:
    """Every route that could lower a balance, by the token and the browser of somebody who has a
    PIN, without it."""
    alice, bob = world.newcomer("alice", sats=20_000), world.newcomer("bob")
    browser = world.browser_of(alice)
    values = _possessions(world, alice, browser)
    answer = alice.program.post("/user", {"newpin": PIN, "current_password": alice.password})
    if answer.status != 200:
        raise RuntimeError(f"alice could not set a PIN: {answer} {answer.text[:200]}")
    with_pin = alice.program.post("/send", {"username": bob.name, "amount": 1, "pin": PIN})
    tried = Tried("")
    tried.require(with_pin.status == 200, f"a payment with the PIN was answered {with_pin}")
    before, fund_before = alice.balance_sat, _fund_sat(browser, values["name"])
    asked = 0
    for route in all_routes():
        if route.startswith(LEAVE_ALONE):
            continue
        path = filled(route, values)
        for form in _forms(world, route, alice, bob):
            asked += 1
            if route.startswith("/api/"):
                answer = alice.program.post(path.removeprefix("/api"), form)
            else:
                answer = browser.submit(path, form)
            tried.answers[str(answer)] += 1
            tried.require(
                not gift_link(answer) or route == "/gift/<str:token>",
                f"{route} shows a gift's link without the PIN",
            )
            tried.require(not shown_key(answer), f"{route} shows a key without the PIN")
            now = alice.balance_sat
            tried.require(now >= before, f"{route} took {before - now} sats without the PIN")
            before = now
    left = _fund_sat(browser, values["name"])
    tried.require(left == fund_before, f"the fund has {left} instead of {fund_before}")
    still = world.stranger().see(f"/gift/{values['token']}")
    tried.require(still.status == 200, f"the gift's own link is answered {still}")
    tried.what = f"{asked} requests by token and browser, without the PIN, to every route"
    return tried


def _possessions(world: World, alice: Person, browser: Stranger) -> dict[str, str]:
    """A gift and a fund with a gift: what routes are filled with."""
    name = f"fund{uuid.uuid4().hex[:8]}"
    browser.submit("/funds", {"username": name})
    world.expect(lambda: alice.program.post("/send", {"username": name, "amount": 2000}))
    gift = browser.submit("/gifts", _gift(browser, "/gifts"))
    of_fund = browser.submit(f"/funds/{name}/gift", _gift(browser, f"/funds/{name}/gift"))
    tokens = gift_link(gift), gift_link(of_fund)
    listed = browser.see("/gifts").text + browser.see(f"/funds/{name}").text
    ids = re.findall(r"/gifts/([0-9a-f-]{36})/link", listed)
    if not all(tokens) or len(ids) != 2:
        raise RuntimeError(f"alice could not make gifts: {gift}, {of_fund}")
    for token in tokens:
        world.keep_secret("a gift's link", token)
    return {
        "gift_id": ids[0],
        "fund_gift_id": ids[1],
        "token": tokens[0],
        "name": name,
        "username": alice.name,
    }


def _gift(browser: Stranger, path: str) -> dict[str, Any]:
    key = f"page-{uuid.uuid4()}"
    return {"amount": "300", "unit": "sats", "memo": "a gift", "days": "7", "key": key}


def _fund_sat(browser: Stranger, name: str) -> str:
    """What a fund's page shows as its balance."""
    page = browser.see(f"/funds/{name}").text
    found = re.search(r"</span>([\d,]+)<span class=\"hidden-text\"> sats", page)
    return found[1] if found else ""


def _forms(world: World, route: str, alice: Person, bob: Person) -> list[dict[str, Any]]:
    """What the route understands as a spend, and nothing at all."""
    key, url = f"page-{uuid.uuid4()}", f"{world.domain}"
    amount = {"amount": "10", "unit": "sats", "memo": "", "key": key, "pin": ""}
    order = {
        "autowithdraw": True,
        "threshold": 1,
        "reserve": 0,
        "destination": bob.name,
        "current_password": alice.password,
        "password": alice.password,
    }
    match route:
        case "/api/payments":
            bolt11 = invoice_of(bob, amount=10).body["hash"]
            outside = world.outside.invoice(10_000)
            return [{"payreq": bolt11}, {"hash": bolt11}, {"payreq": outside, "pin": ""}]
        case "/api/send":
            return [{"username": bob.name, "amount": 10}]
        case "/api/send/<str:lnaddress>/<str:amount>":
            return [{}]
        case "/api/bitcoin/send":
            return [{"address": world.outside.address(), "amount": 5000}]
        case "/api/user":
            del order["password"]
            return [order, {"newpin": "delete"}, {"newpin": "111111"}, {"locktime": 3600}]
        case "/send/pay":
            return [{"text": f"{bob.name}@{url}", "amount_sat": 10, "key": key, "pin": ""}]
        case "/gifts" | "/funds/<str:name>/gift":
            return [amount | {"days": "7"}]
        case "/funds/<str:name>/take":
            return [amount]
        case "/settings/keys":
            return [{"name": "till", "scope": "spend", "password": alice.password}]
        case "/settings/autowithdraw":
            return [order | {"autowithdraw": "on", "pin": ""}]
        case "/settings/pin":
            return [{"pin": "", "newpin": ""}, {"pin": "", "newpin": "111111"}]
        case "/settings/lock-timer":
            return [{"timer-locktime_s": 3600, "timer-pin": ""}]
        case "/settings/close":
            return [{"close-username": alice.name, "close-password": alice.password}]
    return [{}]
