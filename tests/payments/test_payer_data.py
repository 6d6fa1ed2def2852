"""What an LNURL service asks about the payer (LUD-18), and the note that it takes (LUD-12)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import timezone

from payments.models import AutoWithdraw, Payment
from tests.api.test_schema import check
from tests.cast import Api
from tests.payments.conftest import Person
from tests.payments.lnurl_service import Service
from tests.payments.test_autowithdraw import ask, order_of, ring, switch_on

MAY, MUST = {"mandatory": False}, {"mandatory": True}


def pay(alice: Person, service: Service, **body: Any) -> Any:
    return alice.api.post(f"/send/{service.lnurl}/500", body)


def test_a_service_is_told_what_it_asks_for_of_what_alice_says_it_may(
    alice: Person, service: Service, settings: Any
) -> None:
    """input-I08, LUD-18: and the invoice commits to that."""
    alice.user.display = 'Alice "B" é'
    alice.user.save()
    service.terms = {"payerData": {"name": MAY, "identifier": MUST, "pubkey": MAY}}
    paid = pay(alice, service, payerData=["name", "identifier", "email"])
    told = {"name": 'Alice "B" é', "identifier": f"alice@{settings.DOMAIN}"}
    assert json.loads(service.query["payerdata"]) == told
    assert (paid.status_code, paid.body["payerData"]) == (200, told), paid.body
    assert "descriptionMatches" not in paid.body
    check(Api().get("/schema").body, "post", "/api/send/{lnaddress}/{amount}", "200", paid)


def test_a_service_that_does_not_ask_is_told_nothing(alice: Person, service: Service) -> None:
    """LUD-18"""
    paid = pay(alice, service, payerData=["name", "identifier"])
    assert (paid.status_code, "payerData" in paid.body) == (200, False)
    assert "payerdata" not in service.query
    service.terms = {"payerData": {"name": MAY, "identifier": None}}
    pay(alice, service, payerData=["identifier"])
    assert "payerdata" not in service.query


def test_an_address_for_mail_is_told_once_it_is_confirmed(alice: Person, service: Service) -> None:
    """LUD-18: nobody says in the name of this server what it does not know."""
    alice.user.email = "alice@mail.example"
    alice.user.save()
    service.terms = {"payerData": {"email": MUST}}
    assert pay(alice, service, payerData=["email"]).body["code"] == "payer_data_required"
    alice.user.email_verified_at = timezone.now()
    alice.user.save()
    assert pay(alice, service, payerData=["email"]).status_code == 200
    assert service.query["payerdata"] == '{"email":"alice@mail.example"}'


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"name": MUST}, "name"),
        ({"name": MUST, "email": MUST, "identifier": MAY}, "name, email"),
        ({"auth": {"mandatory": True, "k1": "00" * 32}}, "auth"),
        ({"x" * 500: MUST}, "x" * 40),
    ],
)
def test_what_is_insisted_on_and_not_told_is_named(
    alice: Person, service: Service, asked: Any, named: str
) -> None:
    """input-I08, LUD-18: nothing is asked for, nothing held."""
    service.terms = {"payerData": asked}
    refused = pay(alice, service, payerData=["identifier"])
    assert (refused.status_code, refused.body["code"]) == (400, "payer_data_required")
    assert refused.body["detail"].endswith(f"only from those who tell it: {named}")
    assert refused.body["errors"][0]["pointer"] == "#/payerData"
    assert service.asked == []
    assert not Payment.objects.exists()


@pytest.mark.parametrize("asked", [None, [], "name", 7, {"name": 5}, {"name": [MUST]}], ids=str)
def test_a_question_that_cannot_be_read_is_none(
    alice: Person, service: Service, asked: Any
) -> None:
    service.terms = {"payerData": asked}
    assert pay(alice, service).status_code == 200


@pytest.mark.parametrize("told", [["pubkey"], "name", [{}], ["name"] * 9], ids=str)
def test_only_what_is_known_can_be_told(alice: Person, service: Service, told: Any) -> None:
    refused = pay(alice, service, payerData=told)
    assert (refused.status_code, refused.body["code"]) == (400, "invalid_request")
    assert refused.body["errors"][0]["pointer"] == "#/payerData"


def test_auto_withdraw_pays_nobody_who_wants_to_know_who_pays(
    alice: Person, service: Service
) -> None:
    """LUD-18: nobody is there to be asked. It is said when it is set up, and in the settings."""
    switch_on(alice, service.lnurl)
    service.terms = {"payerData": {"name": MUST}}
    ring()
    assert "only from those who tell it: name" in order_of(alice).reason
    assert service.asked == []
    AutoWithdraw.objects.all().delete()
    refused = ask(alice, autowithdraw=True, threshold=5, reserve=0, destination=service.lnurl)
    assert (refused.status_code, refused.body["code"]) == (400, "payer_data_required")
    assert refused.body["errors"][0]["pointer"] == "#/destination"


# --- The note ------------------------------------------------------------------------------------


def test_a_note_goes_along_where_it_is_taken(alice: Person, service: Service) -> None:
    """LUD-12: elsewhere it is Alice's own."""
    paid = pay(alice, service, memo="lunch")
    assert ("comment" in service.query, paid.body["memo"]) == (False, "lunch")
    service.terms = {"commentAllowed": 9}
    pay(alice, service, memo="é & ☕ = 9")
    assert service.query["comment"] == "é & ☕ = 9"
    pay(alice, service)
    assert "comment" not in service.query


@pytest.mark.parametrize(
    ("allowed", "memo"), [(8, "123456789"), (5000, "☕" * 2000), (10**12, "x" * 5000)]
)
def test_a_note_that_would_not_arrive_is_refused_and_not_dropped(
    alice: Person, service: Service, allowed: int, memo: str
) -> None:
    """LUD-12: longer than they take, or than a URL may be."""
    service.terms = {"commentAllowed": allowed}
    refused = pay(alice, service, memo=memo)
    assert refused.status_code == 400
    assert refused.body["errors"][0]["pointer"] == "#/memo"
    assert service.asked == []
    assert not Payment.objects.exists()
