"""Attacks by streams, each of which stays open for an hour (sec-2)."""

from __future__ import annotations

from tests.attack.attacks import Tried, attack
from tests.attack.connections import HELD_S, head
from tests.attack.strangers import Crowd, wait_for_answer
from tests.attack.world import World

MANY = 1100
PER_CALLER = 12


@attack("streams", "sec-2")
def streams(world: World) -> Tried:
    """Live streams of an invoice from many addresses, and of a wallet page from many browsers."""
    owner = world.newcomer("streamer")
    browsers = [world.browser_of(owner, address=world.address()) for _ in range(5)]
    wanted = {"invoice": {"amount": 1000, "type": "lightning"}}
    invoice = world.expect(lambda: owner.program.post("/invoice", wanted)).body["id"]
    of_invoice = head(world, f"GET /invoice/{invoice}/events HTTP/1.1") + b"\r\n"
    tried = Tried(f"{MANY:,} streams: of an invoice from 87 addresses, of a wallet in 5 browsers")
    with Crowd(world.port) as crowd:
        for browser in browsers:
            cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            asked = head(world, "GET /events HTTP/1.1", f"Cookie: {cookies}") + b"\r\n"
            _open(crowd, browser.address, asked)
        while len(crowd.sockets) < MANY and crowd.not_accepted < 5:
            _open(crowd, world.address(), of_invoice)
        crowd.hold(HELD_S)
        tried.answers = crowd.answers()
    return tried


def _open(crowd: Crowd, address: str, asked: bytes) -> None:
    """As many streams as one caller may have, begun when the last ones are there: who hoards does
    not hurry, and hurrying is another attack."""
    opened = [crowd.open(address, asked) for _ in range(PER_CALLER)]
    if opened[-1]:
        wait_for_answer(opened[-1], seconds=1)
