"""An operator who is woken up has a phone at hand: the admin's actions can be run there."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.walk import Walk, Window
from tests.browser.world import Person, World

TO_STAFF = "User.objects.filter(username={!r}).update(is_staff=True, is_superuser=True)"
LISTS = {
    "accounts/user": "freeze",  # a reason
    "payments/bookaccount": "correct",  # a reason, an amount and a name
}


@pytest.fixture
def olga(world: World) -> Person:
    person = world.person("olga")
    made = f"from accounts.models import User; {TO_STAFF.format(person.name)}"
    done = world.server.run(sys.executable, "manage.py", "shell", "-c", made)
    assert done.returncode == 0, done.stderr
    return person


@pytest.mark.parametrize("size", ["narrow", "phone", "desktop"])
def test_the_button_that_runs_an_action_is_on_the_page(
    open_window: Callable[..., Walk], olga: Person, size: str
) -> None:
    walk = open_window(Window(size, ("light",)))
    page = walk.page
    walk.open("/admin/login/")
    page.get_by_label("Username").fill(olga.name)
    page.get_by_label("Password").fill(olga.password)
    page.get_by_role("button", name="Log in").click()
    for path, action in LISTS.items():
        walk.open(f"/admin/{path}/")
        page.locator("input.action-select").first.check()
        page.get_by_label("Select action to run").select_option(action)
        run = page.get_by_role("button", name="Run")
        for part in (run, *page.locator("#changelist-actions input[type=text]").all()):
            expect(part).to_be_in_viewport(ratio=1)
        page.screenshot(path=walk.pictures.parent / f"admin-{action}-{size}.png")
        run.click()
        expect(page.get_by_text("Nothing was done: write a reason")).to_be_visible()
