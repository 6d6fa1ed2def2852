"""Attacks by e-mail: to be sent somebody else's links, and to fill somebody's mailbox (sec-1,
sec-17)."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

from tests.attack.attacks import Tried, attack
from tests.attack.strangers import Stranger
from tests.attack.world import Person, World

ARRIVES_WITHIN_S = 3
LINKS_AN_HOUR = 5
"""What one mailbox is sent at most of what strangers can ask for."""


def to(world: World, mailbox: str) -> list[str]:
    """The texts of the messages that one mailbox was sent."""
    addressed = zip(list(world.mailbox.recipients), list(world.mailbox.messages), strict=False)
    return [message.get_content() for address, message in addressed if address == mailbox]


def wait_for(promise: Callable[[], object], seconds: float = ARRIVES_WITHIN_S) -> bool:
    deadline = time.monotonic() + seconds
    while not promise():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def set_address(browser: Stranger, address: str) -> bool:
    """In the settings; whether it was taken."""
    return browser.submit("/settings/email", {"email": address}).status == 302


def confirm_address(world: World, browser: Stranger, mailbox: str) -> bool:
    """Set the address and open the link that arrives there; whether both worked."""
    before = len(to(world, mailbox))
    if not set_address(browser, mailbox) or not wait_for(lambda: len(to(world, mailbox)) > before):
        return False
    link = re.findall(r"http://\S+/verify/(\S+)", to(world, mailbox)[-1])[-1]
    world.keep_secret("a link that confirms an address", link)
    return browser.submit(f"/verify/{link}").status == 302


@attack("look-alikes", "sec-1")
def look_alikes(world: World) -> Tried:
    """Accounts with an address that only looks like the victim's, and a reset of the victim's."""
    victim, name = world.newcomer("victim"), f"victim{uuid.uuid4().hex[:6]}"
    mailbox = f"{name}@gmail.example"
    alike = [
        f"{name}@gma\N{LATIN SMALL LETTER DOTLESS I}l.example",
        f"{name}@gma\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}l.example",
        f"{name}@\N{FULLWIDTH LATIN SMALL LETTER G}mail.example",
        f"{name}@\N{CYRILLIC SMALL LETTER GHE}mail.example",
        f"{name.replace('i', chr(0x131))}@gmail.example",
    ]
    tried = Tried(f"{len(alike)} addresses that look like {mailbox}, and a reset for that one")
    arrived = len(world.mailbox.recipients)
    for address in alike:
        mallory = world.browser_of(world.newcomer("mallory"))
        taken = set_address(mallory, address)
        tried.answers["address taken" if taken else "address refused"] += 1
        if taken:
            wait_for(lambda count=arrived: len(world.mailbox.recipients) > count)  # type: ignore[misc]
            for link in re.findall(r"/verify/(\S+)", world.mailbox.messages[-1].get_content()):
                mallory.submit(f"/verify/{link}")
            arrived = len(world.mailbox.recipients)
    tried.require(
        confirm_address(world, world.browser_of(victim), mailbox),
        "the victim could not confirm the own address",
    )
    arrived = len(world.mailbox.recipients)
    for typed in (mailbox, mailbox.upper(), alike[0]):
        world.stranger().submit("/forgot", {"account": typed})
    wait_for(lambda: len(world.mailbox.recipients) >= arrived + 2)
    sent = list(
        zip(
            world.mailbox.recipients[arrived:],
            [one.get_content() for one in world.mailbox.messages[arrived:]],
            strict=False,
        )
    )
    links = [(address, line) for address, text in sent for line in text.splitlines()]
    of_victim = [(address, line) for address, line in links if f"{victim.name}: http" in line]
    for address, line in of_victim:
        world.keep_secret("a reset link", line.rpartition("/")[2])
        tried.require(address == mailbox, f"the victim's reset link went to {address}")
    tried.require(of_victim, "the victim got no reset link")
    tried.answers["reset link to the victim's mailbox"] = sum(a == mailbox for a, _ in of_victim)
    return tried


@attack("mail-flood", "sec-17")
def mailbox_flooding(world: World) -> Tried:
    """Messages to one mailbox that strangers can cause, from many accounts and names."""
    mailbox = f"flooded{uuid.uuid4().hex[:6]}@mail.example"
    tried, asked = Tried(""), 0
    people = [world.newcomer("flooder") for _ in range(4)]
    for person in people:
        browser = world.browser_of(person)
        for spelling in (mailbox, mailbox, mailbox.replace("mail.", "MAIL.")):
            set_address(browser, spelling)
            answer = browser.submit("/settings/email/link")
            tried.answers["link asked for" if answer.status == 302 else str(answer)] += 1
            asked += 2
    owner = world.newcomer("owner")
    own = f"{owner.name}@mail.example"
    confirm_address(world, world.browser_of(owner), own)
    for typed in [owner.name, own, own.upper(), f" {owner.name} ", f"{owner.name}@{world.domain}"]:
        for _ in range(3):
            answer = world.stranger().submit("/forgot", {"account": typed})
            tried.answers["reset asked for" if answer.status == 302 else str(answer)] += 1
            asked += 1
    wait_for(lambda: len(to(world, own)) > LINKS_AN_HOUR + 1, seconds=1.5)
    for address, messages in (
        (mailbox, sum(one.lower() == mailbox for one in world.mailbox.recipients)),
        (own, len(to(world, own)) - 1),  # the first one the owner asked for
    ):
        tried.require(messages <= LINKS_AN_HOUR, f"{messages} messages to {address} within seconds")
        tried.answers["messages to one mailbox"] = max(
            messages, tried.answers["messages to one mailbox"]
        )
    tried.what = f"{asked} messages to one mailbox, by 4 accounts and 5 ways to write a name"
    return tried


def confirmed(world: World, person: Person) -> str:
    """Give this person a confirmed address."""
    mailbox = f"{person.name}@mail.example"
    if not confirm_address(world, world.browser_of(person), mailbox):
        raise RuntimeError(f"{mailbox} could not be confirmed")
    return mailbox
