"""Attacks with credentials that may do little: the read-only token, and keys (sec-10)."""

from __future__ import annotations

import re

from tests.attack.attacks import Tried, attack
from tests.attack.routes import all_routes, filled
from tests.attack.strangers import Answer, Stranger
from tests.attack.webhooks import invoice_of, new_key
from tests.attack.world import Person, World

MAY_SPEND = "spend"
CREDENTIALS = ("read-only", "read", "receive", MAY_SPEND)


@attack("scopes", "sec-10")
def scope_walk(world: World) -> Tried:
    """Every route, by the read-only token and by a key of each scope."""
    tried, asked = Tried(""), 0
    for kind in CREDENTIALS:
        owner, bob = world.newcomer("owner", sats=500), world.newcomer("bob")
        browser = world.browser_of(owner)
        invoice = invoice_of(
            owner, amount=10, webhook="http://127.0.0.1:9/", secret="OF-THE-INVOICE"
        ).body
        to_pay = invoice_of(bob, amount=10).body["hash"]
        secrets = _secrets(browser, owner)
        credential = world.stranger(token=_credential(browser, owner, kind))
        values = {
            "key": invoice["id"],
            "invoice_id": invoice["id"],
            "username": owner.name,
            "lnaddress": bob.name,
            "amount": "10",
            "payreq": invoice["hash"],
            "pubkey": secrets.pop("pubkey"),
            "limit": "5",
        }
        bodies = {
            "/api/payments": {"payreq": to_pay},
            "/api/send": {"username": bob.name, "amount": 10},
            "/api/bitcoin/send": {"address": world.outside.address(), "amount": 300},
            "/api/user": {"display": "taken over", "newpin": "123456"},
            "/api/app": {"name": "mine"},
            "/api/apps/delete": {"pubkey": values["pubkey"]},
            "/api/invoice/<str:key>": {"invoice": {"webhook": "http://127.0.0.1:10/"}},
        }
        for route in all_routes():
            if route in ("/api/logout", "/api/events") or route.startswith("/admin/"):
                continue
            for answer in _ask(credential, route, filled(route, values), bodies.get(route, {})):
                asked += 1
                tried.answers[str(answer)] += 1
                for what, secret in secrets.items():
                    tried.require(
                        secret not in answer.text, f"{kind}: {route} shows {what} of its owner"
                    )
        me = owner.program.get("/me").body
        if kind != MAY_SPEND:
            tried.require(me["balance"] == 500, f"{kind}: {500 - me['balance']} sats are gone")
        tried.require(
            me.get("display") != "taken over" and not me["haspin"], f"{kind}: changed the account"
        )
    tried.what = f"{asked} requests to every route, by the read-only token and keys of 3 scopes"
    return tried


def _secrets(browser: Stranger, owner: Person) -> dict[str, str]:
    """What only the owner may see."""
    shown = browser.submit("/webhooks", {"password": owner.password}).text
    signing = re.search(r"whsec_[\w+/=]+", shown)
    app = owner.program.get("/apps").body["list"][0]
    if not signing:
        raise RuntimeError("the page of webhooks shows no signing secret")
    return {
        "the webhook's secret": "OF-THE-INVOICE",
        "the signing secret": signing[0],
        "the secret of a wallet connection": app["secret"],
        "a login token": owner.program.token,
        "the read-only token": owner.program.get("/ro").text,
        "pubkey": app["pubkey"],
    }


def _credential(browser: Stranger, owner: Person, kind: str) -> str:
    if kind == "read-only":
        return owner.program.get("/ro").text
    return new_key(browser, owner, kind)


def _ask(credential: Stranger, route: str, path: str, body: dict[str, object]) -> list[Answer]:
    if route.startswith("/api/"):
        path = path.removeprefix("/api")
        return [credential.get(path), credential.post(path, body)]
    if route.endswith("/events"):
        return []
    visitor = Stranger(credential.port, credential.address, cookies={"token": credential.token})
    bearer = {"Authorization": f"Bearer {credential.token}"}
    return [visitor.see(path, **bearer)]
