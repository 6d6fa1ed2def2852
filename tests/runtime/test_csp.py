"""Every page forbids what it does not need; only the admin's library needs more."""

import re

import pytest

from tests.cast import office_of

pytestmark = pytest.mark.django_db


def policy(response):
    directives = response.headers["Content-Security-Policy"].split("; ")
    return {words.split(" ")[0]: words.split(" ")[1:] for words in directives}


@pytest.mark.parametrize("path", ["/", "/login", "/api/health", "/api/schema/docs", "/nowhere"])
def test_ordinary_pages_run_no_inline_script(client, path):
    found = policy(client.get(path))
    assert found["default-src"] == ["'none'"]
    assert found["script-src"] == ["'self'"]
    assert found["style-src"] == ["'self'"]
    assert found["frame-ancestors"] == ["'none'"]
    assert found["base-uri"] == ["'none'"]


def test_the_admin_may_use_its_own_library_and_nothing_from_elsewhere(client):
    """sec-15"""
    found = policy(client.get("/admin/login/"))
    assert found["script-src"] == ["'self'", "'unsafe-eval'"]
    assert found["default-src"] == ["'none'"]


def test_the_admin_has_no_inline_script(alice):
    """So that its policy needs to allow none."""
    alice.is_staff = alice.is_superuser = True
    alice.save()
    office = office_of(alice)
    user = f"/admin/accounts/user/{alice.pk}/change/"
    for path in ("/admin/", "/admin/login/", "/admin/accounts/user/", user):
        page = office.get(path).content.decode()
        assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page), path
        assert not re.findall(r"<[^>]+\son[a-z]+=", page), path
        assert "javascript:" not in page, path


def test_the_interactive_documentation_has_no_inline_script(client):
    page = client.get("/api/schema/docs").content.decode()
    assert "<script>" not in page
    assert "swagger-ui" in page
