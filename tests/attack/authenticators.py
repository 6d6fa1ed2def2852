"""Attacks by what proves who somebody is: password, PIN, e-mail address, name (sec-6, sec-12,
sec-15)."""

from __future__ import annotations

import uuid

from tests.attack.attacks import Tried, attack
from tests.attack.mail import confirmed
from tests.attack.strangers import Stranger
from tests.attack.world import Person, World

NEW_PASSWORD = "eleven slow barges 1815"


def still_in(token: Stranger, browser: Stranger) -> list[str]:
    """Which of a thief's ways in are open."""
    ways = []
    if token.get("/me").status == 200:
        ways.append("token")
    if browser.see("/settings").status == 200:
        ways.append("browser")
    return ways


@attack("new-password", "sec-6")
def password_by_command(world: World) -> Tried:
    """A thief's token and browser, after the operator has set a new password for the victim."""
    victim = world.newcomer("victim")
    browser = world.browser_of(victim, address=world.address())
    tried = Tried("a thief's token and browser, after `manage.py changepassword`")
    tried.require(still_in(victim.program, browser) == ["token", "browser"], "no thief at all")
    done = world.manage(
        *("changepassword", victim.name, "--reason", "forgotten, and known by voice"),
        typed=f"{NEW_PASSWORD}\n{NEW_PASSWORD}\n",
    )
    tried.require(done.returncode == 0, f"changepassword: {done.stdout} {done.stderr}"[:300])
    open_ways = still_in(victim.program, browser)
    tried.answers["still signed in"] = len(open_ways)
    tried.answers["signed out"] = 2 - len(open_ways)
    tried.require(not open_ways, f"the thief's {' and '.join(open_ways)} is still signed in")
    login = {"username": victim.name, "password": NEW_PASSWORD}
    answer = world.stranger().post("/login", login)
    tried.require(answer.status == 200, f"the new password was answered {answer}")
    return tried


@attack("operator", "sec-6", "sec-15")
def operator_doors(world: World) -> Tried:
    """The admin's own doors: its password page, its look-ups, its sessions, an operator's weak
    password."""
    name = f"operator{uuid.uuid4().hex[:6]}"
    password = f"nine grey herons {uuid.uuid4().hex[:6]}"
    create = ("createsuperuser", "--noinput", "--username", name)
    weak = world.manage(*create[:-1], f"{name}weak", DJANGO_SUPERUSER_PASSWORD="12345")
    tried = Tried("an operator's weak password, password page, look-ups and left session")
    tried.require(weak.returncode != 0, "an operator may have the password 12345")
    made = world.manage(*create, DJANGO_SUPERUSER_PASSWORD=password)
    if made.returncode:
        raise RuntimeError(f"createsuperuser: {made.stdout} {made.stderr}"[:400])
    world.keep_secret("an operator's password", password)
    program = world.stranger()
    login = {"username": name, "password": password}
    program.token = world.expect(lambda: program.post("/login", login)).body["token"]
    operator = Person(name, password, program.address, program)
    admin = world.stranger(address=program.address)
    entered = admin.submit("/admin/login/", login | {"next": "/admin/"})
    if entered.status == 404 or admin.see("/admin/").status != 200:
        admin = world.browser_of(operator)  # the admin has no door of its own any more
    tried.require(admin.see("/admin/").status == 200, "the operator cannot enter the admin")

    guesses = ["argon2", "zzz"]
    pages = [admin.see(f"/admin/accounts/user/?password__startswith={one}") for one in guesses]
    rows = [page.text.count('name="_selected_action"') for page in pages]
    for page in pages:
        tried.answers[f"look-up: {page}"] += 1
    tried.require(rows[0] == rows[1], f"a look-up of hashes finds {rows[0]} and {rows[1]} rows")

    wallet = world.browser_of(operator, address=world.address())
    for n in range(25):
        fields = {"old_password": f"wrong {n}", "new_password1": NEW_PASSWORD}
        page = admin.submit("/admin/password_change/", fields | {"new_password2": NEW_PASSWORD})
        tried.answers[f"password page: {page}"] += 1
        if page.status != 200:
            break
    tried.require(page.status != 200, "25 wrong old passwords in a row were tried, none counted")
    fields = {"old_password": password, "new_password1": NEW_PASSWORD}
    changed = admin.submit("/admin/password_change/", fields | {"new_password2": NEW_PASSWORD})
    new = world.stranger().post("/login", {"username": name, "password": NEW_PASSWORD})
    if changed.status == 302 and new.status == 200:
        open_ways = still_in(program, wallet)
        tried.require(not open_ways, f"after the admin's page {open_ways} is still signed in")

    wallet = world.browser_of(
        Person(name, NEW_PASSWORD if new.status == 200 else password, wallet.address, program)
    )
    wallet.submit("/settings/sessions")
    left = admin.see("/admin/")
    tried.answers[f"admin after leaving: {left}"] += 1
    tried.require(left.status != 200, "the admin's session outlives “log out everywhere”")
    return tried


@attack("stolen-token", "sec-12")
def stolen_token(world: World) -> Tried:
    """What a bare token may change of an account: its PIN, its e-mail address, its password."""
    victim = world.newcomer("victim")
    mailbox = confirmed(world, victim)
    thief = world.stranger(token=victim.program.token)
    tried = Tried("a PIN, an e-mail address, a password and no second factor by a bare token")
    for changes in (
        {"newpin": "999999"},
        {"email": "evil@evil.example"},
        {"email": ""},
        {"password": NEW_PASSWORD},
        {"pin": "", "newpin": "999999", "current_password": ""},
    ):
        answer = thief.post("/user", changes)
        tried.answers[str(answer)] += 1
    me = victim.program.get("/me").body
    tried.require(not me["haspin"], "a bare token has set a PIN: the owner cannot spend any more")
    tried.require(
        me.get("email") == mailbox and me["verified"], "a bare token has changed the e-mail address"
    )
    login = {"username": victim.name, "password": victim.password}
    answer = world.stranger().post("/login", login)
    tried.require(answer.status == 200, f"the owner's password is answered {answer}")
    return tried


@attack("names", "sec-12")
def retired_names(world: World) -> Tried:
    """A name that somebody gave up, which stickers and people still pay."""
    tina, mallory = world.newcomer("tina"), world.newcomer("mallory")
    renamed = tina.program.post("/user", {"username": f"{tina.name}x"})
    tried = Tried("a given-up name: registered, taken by renaming, opened as a fund")
    tried.require(renamed.status == 200, f"a full token's rename was answered {renamed}")
    wanted = {"user": {"username": tina.name, "password": NEW_PASSWORD}}
    answer = world.stranger().post("/register", wanted)
    tried.answers[str(answer)] += 1
    tried.require(answer.status != 200, "the given-up name was registered by a stranger")
    answer = mallory.program.post("/user", {"username": tina.name})
    tried.answers[str(answer)] += 1
    tried.require(answer.status != 200, "the given-up name was taken by renaming")
    page = world.browser_of(mallory).submit("/funds", {"username": tina.name})
    tried.answers[str(page)] += 1
    tried.require(page.status != 302, "the given-up name was taken by a fund")
    return tried
