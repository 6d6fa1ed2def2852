"""/app and /apps: wallet connections that other software reads after registering."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password

from accounts.models import Connection, User
from coinos import nostr
from tests.cast import Api, api_of

SECRET = "1f0e" * 16
PUBKEY = nostr.keypair_of(SECRET).pubkey
DAMUS = {"name": "damus", "secret": SECRET, "max_amount": 50_000, "budget_renewal": "weekly"}


def test_a_new_account_has_a_connection(db: None) -> None:
    body = Api().post("/register", {"user": {"username": "demo", "password": "hunter2"}}).body
    apps = Api(body["token"]).get("/apps")
    assert apps.status_code == 200
    (app,) = apps.body
    assert (app["name"], app["max_amount"], app["budget_renewal"]) == ("demo", 1_000_000, "weekly")
    assert (app["uid"], app["spent"]) == (body["id"], 0)
    uri = urlsplit(app["nwc"])
    query = parse_qs(uri.query)
    assert uri.scheme == "nostr+walletconnect"
    assert nostr.is_pubkey(uri.netloc)
    assert query["relay"] == [settings.NOSTR_RELAY]
    assert query["secret"] == [app["secret"]]
    assert query["lud16"] == [f"demo@{settings.DOMAIN}"]
    assert nostr.keypair_of(app["secret"]).pubkey == app["pubkey"]


def test_a_connection_is_404_until_it_is_created(alice: User) -> None:
    """The floor of mobile clients: 404 means "not created yet"."""
    api = api_of(alice)
    before = api.get(f"/app/{PUBKEY}")
    assert (before.status_code, before.body["code"]) == (404, "not_found")
    assert before.body["message"] == "Connection not found"
    created = api.post("/app", DAMUS)
    assert (created.status_code, created.body) == (200, {})
    app = api.get(f"/app/{PUBKEY}").body
    assert (app["pubkey"], app["secret"], app["name"]) == (PUBKEY, SECRET, "damus")
    assert (app["max_amount"], app["max_fee"], app["notify"]) == (50_000, None, False)
    assert app["payments"] == []
    assert app["created"] > 1_700_000_000_000


def test_posting_it_again_changes_it(alice: User) -> None:
    api = api_of(alice)
    api.post("/app", DAMUS)
    first = api.get(f"/app/{PUBKEY}").body
    api.post(
        "/app", {"name": "damus 2", "pubkey": PUBKEY.upper(), "max_amount": "10", "notify": True}
    )
    second = api.get(f"/app/{PUBKEY.upper()}").body
    assert (second["name"], second["max_amount"], second["notify"]) == ("damus 2", 10, True)
    assert (second["nwc"], second["budget_renewal"]) == (first["nwc"], "weekly")
    assert Connection.objects.filter(user=alice).count() == 1


def test_a_connection_needs_the_pin_as_a_spend_does(alice: User) -> None:
    """P22, sec-9: it can spend later, so neither a new one nor a larger budget comes without."""
    alice.pin_hash = make_password("123456")
    alice.save()
    api = api_of(alice)
    for wrong in ({}, {"pin": "000000"}, {"pin": 123456}, {"pin": None}):
        refused = api.post("/app", DAMUS | wrong)
        assert (refused.status_code, refused.body["code"]) == (403, "invalid_pin")
    assert api.get("/apps").body == []
    assert api.post("/app", DAMUS | {"pin": "123456"}).body == {}
    assert api.post("/app", DAMUS | {"max_amount": 10**9}).status_code == 403
    assert api.get("/apps").body[0]["max_amount"] == 50_000


def test_a_client_may_keep_its_secret(alice: User) -> None:
    api = api_of(alice)
    api.post("/app", {"name": "quiet", "pubkey": PUBKEY})
    app = api.get(f"/app/{PUBKEY}").body
    assert app["secret"] is None
    assert "secret=" not in app["nwc"]


def test_with_neither_key_one_is_made(alice: User) -> None:
    assert api_of(alice).post("/app", {"name": "new"}).body == {}
    assert len(api_of(alice).get("/apps").body) == 1


def test_nobody_reaches_the_connection_of_another(alice: User, bob: User) -> None:
    """P01, P23: not to read, to change, to take over or to delete."""
    api_of(alice).post("/app", DAMUS)
    api = api_of(bob)
    answers = [
        api.get(f"/app/{PUBKEY}"),
        api.post("/app", {"name": "mine", "pubkey": PUBKEY}),
        api.post("/app", {"name": "mine", "secret": SECRET}),
        api.post("/apps/delete", {"pubkey": PUBKEY}),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert api.get("/apps").body == []
    assert Connection.objects.get(pubkey=PUBKEY).name == "damus"


def test_a_connection_is_deleted(alice: User) -> None:
    api = api_of(alice)
    api.post("/app", DAMUS)
    assert api.post("/apps/delete", {"pubkey": PUBKEY.upper()}).body == {}
    assert api.get(f"/app/{PUBKEY}").status_code == 404
    assert api.post("/apps/delete", {"pubkey": PUBKEY}).status_code == 404


def test_secrets_are_encrypted_at_rest(alice: User) -> None:
    api_of(alice).post("/app", DAMUS)
    row = str(Connection.objects.filter(user=alice).values().get())
    assert SECRET not in row


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": None}, "#/name"),
        ({"name": "x" * 61}, "#/name"),
        ({"name": 5}, "#/name"),
        ({"secret": "zz" * 32}, "#/secret"),
        ({"secret": "ab"}, "#/secret"),
        ({"secret": "00" * 32}, "#/secret"),
        ({"secret": "11" * 33}, "#/secret"),
        ({"secret": " " + "11" * 32}, "#/secret"),
        ({"secret": None, "pubkey": "zz"}, "#/pubkey"),
        ({"secret": None, "pubkey": "ff" * 32}, "#/pubkey"),
        ({"max_amount": -1}, "#/max_amount"),
        ({"max_amount": 1.5}, "#/max_amount"),
        ({"max_fee": "1e3"}, "#/max_fee"),
        ({"budget_renewal": "hourly"}, "#/budget_renewal"),
        ({"budget_renewal": []}, "#/budget_renewal"),
        ({"notify": "yes"}, "#/notify"),
    ],
)
def test_a_wrong_value_names_its_field(
    alice: User, change: dict[str, object], pointer: str
) -> None:
    answer = api_of(alice).post("/app", DAMUS | change)
    assert answer.status_code == 400
    assert answer.body["errors"][0]["pointer"] == pointer
    assert not Connection.objects.exists()


@pytest.mark.parametrize("body", [{}, {"pubkey": 5}, {"pubkey": None}, {"pubkey": ["x"]}])
def test_deleting_needs_a_pubkey(alice: User, body: object) -> None:
    answer = api_of(alice).post("/apps/delete", body)
    assert (answer.status_code, answer.body["errors"][0]["pointer"]) == (400, "#/pubkey")
