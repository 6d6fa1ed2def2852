"""Attacks by whoever reads the server's log (sec-11)."""

from __future__ import annotations

import secrets

from tests.attack.attacks import Tried, attack
from tests.attack.routes import PARAMETER, all_routes, filled
from tests.attack.world import World

SECRET = ("token", "pubkey")
"""The parameters of routes in which a secret stands."""


@attack("log", "sec-11")
def secrets_in_the_log(world: World) -> Tried:
    """Everything secret that the attacks have used so far, and a token in every route that carries
    one, wrong in every way that a log tells of."""
    world.keep_secret("the read-only token", world.bank.program.get("/ro").text)
    visited = 0
    for route in all_routes():
        names = [name for name in PARAMETER.findall(route) if name in SECRET]
        if not names:
            continue
        token = secrets.token_urlsafe(24)
        world.keep_secret(f"a token in {route}", token)
        path = filled(route, dict.fromkeys(names, token))
        anybody = world.stranger()
        anybody.see(path)
        anybody.see(f"{path}/no/further")
        anybody.see(f"/login?next={path.replace('/', '%2F')}")
        anybody.see("/no/such/page", Referer=f"http://{world.domain}{path}")
        anybody.submit(path)
        anybody._ask("DELETE", path, None, {})
        visited += 6
    log = world.log()
    tried = Tried(f"{len(world.secrets):,} secrets looked for in {len(log) // 1000:,} kB of log")
    told = {what for secret, what in world.secrets.items() if secret and secret in log}
    tried.answers["requests with a secret in the path"] = visited
    for what in sorted(told):
        tried.require(False, f"the log tells {what}")
    return tried
