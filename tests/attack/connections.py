"""Attacks by connections: held open, half said, or left over (sec-2, sec-3)."""

from __future__ import annotations

import time

from tests.attack.attacks import Tried, attack
from tests.attack.strangers import Crowd, heard, push, wait_for_answer
from tests.attack.world import World

MANY = 1100
HELD_S = 3.5
SPOOLED_AT_MOST = 64 * 1024
ENDLESS = 12 * 1024 * 1024


def head(world: World, first: str, *lines: str) -> bytes:
    """The head of a request, complete but for the empty line at its end."""
    return "\r\n".join([first, f"Host: {world.domain}", *lines]).encode() + b"\r\n"


def begun(world: World) -> dict[str, bytes]:
    """What a connection may say before it falls silent, by what it has said."""
    form = "Content-Type: application/x-www-form-urlencoded"
    plain = "Content-Type: application/json"
    login = head(world, "POST /api/login HTTP/1.1", plain, "Content-Length: 1000")
    page = head(world, "POST /login HTTP/1.1", form, "Content-Length: 1000")
    chunked = head(world, "POST /api/login HTTP/1.1", plain, "Transfer-Encoding: chunked")
    return {
        "nothing": b"",
        "half a head": head(world, "GET /login HTTP/1.1") + b"X-Wait: fo",
        "a body's first byte": login + b"\r\n{",
        "a form's first byte": page + b"\r\nu",
        "a chunk's first byte": chunked + b"\r\n3e8\r\n{",
        "a whole request": head(world, "GET /api/health HTTP/1.1") + b"\r\n",
    }


def abandon(world: World) -> None:
    """Begin one connection of each kind, and forget it."""
    for said in begun(world).values():
        world.abandoned.open(world.address(), said)
    world.began = time.monotonic()


def held_open(world: World, what: str, says: list[bytes], *, is_answered: bool = False) -> Tried:
    """MANY connections from eleven addresses, each of which says one of these and no more. Where
    that is answered, fifty at a time: to hoard is not to hurry."""
    tried = Tried(f"{MANY:,} {what}")
    addresses = world.addresses(11)
    with Crowd(world.port) as crowd:
        for number in range(MANY):
            opened = crowd.open(addresses[number % len(addresses)], says[number % len(says)])
            if crowd.not_accepted > 5:
                break
            if is_answered and opened and number % 50 == 49:
                wait_for_answer(opened, seconds=2)
        crowd.hold(HELD_S)
        tried.answers = crowd.answers()
    return tried


@attack("idle", "sec-2")
def idle_connections(world: World) -> Tried:
    """Connections that send nothing."""
    return held_open(world, "connections that send nothing", [b""])


@attack("half-heads", "sec-2")
def half_heads(world: World) -> Tried:
    """Requests whose head never ends."""
    half = [begun(world)["half a head"]]
    return held_open(world, "heads of requests that never end", half)


@attack("stalled", "sec-2")
def stalled_bodies(world: World) -> Tried:
    """Bodies that begin and never go on, announced by length and in chunks."""
    says = [said for name, said in begun(world).items() if "byte" in name]
    return held_open(world, "bodies that stop after a byte, by length and in chunks", says)


@attack("keep-alive", "sec-2")
def hoarded_connections(world: World) -> Tried:
    """Connections that are kept after their answer."""
    return held_open(
        world,
        "connections kept open after an answer",
        [begun(world)["a whole request"]],
        is_answered=True,
    )


@attack("endless", "sec-3")
def endless_bodies(world: World) -> Tried:
    """Bodies that never end, sent before anybody has signed in."""
    tried = Tried(f"12 bodies of {ENDLESS // 2**20} MB (of 300 MB announced, or in chunks)")
    chunk = b"A" * 65536
    with Crowd(world.port) as crowd:
        for path in ("/api/login", "/login", "/api/invoice", "/settings/picture", "/no/such", "/"):
            for how in ("Content-Length: 300000000", "Transfer-Encoding: chunked"):
                begun = head(world, f"POST {path} HTTP/1.1", "Content-Type: text/plain", how)
                connection = crowd.open(world.address(), begun + b"\r\n")
                if connection is None:
                    continue
                said = chunk if "Length" in how else b"10000\r\n" + chunk + b"\r\n"
                push(connection, said, limit=ENDLESS, seconds=1)
        spooled = world.spooled_files(SPOOLED_AT_MOST)
        crowd.hold(1)
        spooled += world.spooled_files(SPOOLED_AT_MOST)
        for connection in crowd.sockets:
            tried.answers[heard(connection)] += 1
        tried.require(
            not spooled, f"a temporary file of {max(spooled, default=0):,} bytes is kept of a body"
        )
        tried.require(
            not tried.answers["open"], f"{tried.answers['open']} endless bodies are still read"
        )
    return tried
