"""What a service gives for a payment is there once it has settled, however that came about; and the
description that the invoice commits to is compared (input-I08)."""

from __future__ import annotations

import os
from base64 import b64encode
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from coinos import success_action
from coinos.simnet.control import Control
from payments.models import Payment
from payments.services import lightning
from tests.api.test_schema import check
from tests.cast import Api
from tests.payments.conftest import Person
from tests.payments.lnurl_service import Service
from tests.payments.test_lightning import until_resolved

THANKS = {"tag": "message", "message": "Thanks! Your code is 4711"}
CALLBACK = "https://ln-service.com/pay"


def pay(alice: Person, service: Service, **headers: str) -> Any:
    return alice.api.post(f"/send/{service.lnurl}/500", {}, **headers)


def sealed(text: str, preimage: str, description: str = "Here is your code") -> dict[str, str]:
    """As a service does it (LUD-10)."""
    begin, padder = os.urandom(16), PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    cipher = Cipher(algorithms.AES256(bytes.fromhex(preimage)), modes.CBC(begin)).encryptor()
    return {
        "tag": "aes",
        "description": description,
        "ciphertext": b64encode(cipher.update(padded) + cipher.finalize()).decode(),
        "iv": b64encode(begin).decode(),
    }


# --- It is kept ----------------------------------------------------------------------------------


def test_what_was_given_is_in_every_answer_to_the_payer_and_in_none_to_others(
    alice: Person, charlie: Person, service: Service
) -> None:
    """input-I08"""
    service.more = {"successAction": THANKS}
    paid = pay(alice, service)
    assert (paid.status_code, paid.body["successAction"]) == (200, THANKS), paid.body
    path = f"/payments/{paid.body['id']}"
    assert alice.api.get(path).body["successAction"] == THANKS
    assert alice.api.get("/payments").body["payments"][0]["successAction"] == THANKS
    for stranger in (Api(), charlie.api):
        assert "successAction" not in stranger.get(path).body
    schema = Api().get("/schema").body
    check(schema, "post", "/api/send/{lnaddress}/{amount}", "200", paid)
    check(schema, "get", "/api/payments", "200", alice.api.get("/payments"))


def test_it_is_the_same_when_the_request_is_repeated(alice: Person, service: Service) -> None:
    """input-I08"""
    service.more = {"successAction": THANKS}
    pay(alice, service, Idempotency_Key="code")
    service.more = {"successAction": {"tag": "message", "message": "another"}}
    again = pay(alice, service, Idempotency_Key="code")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.body["successAction"] == THANKS


@pytest.mark.parametrize("is_sealed", [False, True])
def test_it_is_there_when_the_payment_settles_late_and_not_before(
    alice: Person, service: Service, network: Control, is_sealed: bool
) -> None:
    """input-I08: "your bike is unlocked" is not true while nobody knows whether it was paid."""
    preimage = os.urandom(32).hex()
    given = sealed("4711", preimage) if is_sealed else THANKS

    def held(amount_msat: int) -> dict[str, Any]:
        bolt11 = network.invoice(amount_msat, service.committed, hashed=True, preimage=preimage)
        network.hold(lightning.decode(bolt11).payment_hash or "")
        return {"pr": bolt11, "successAction": given}

    service.invoice = held
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lightning, "ANSWER_WITHIN_S", 0.5)
        paid = pay(alice, service)
    assert (paid.body["status"], "successAction" in paid.body) == ("pending", False)
    network.release(paid.body["payment_hash"])
    assert until_resolved(alice).state == Payment.State.SETTLED
    shown = alice.api.get(f"/payments/{paid.body['id']}").body["successAction"]
    assert shown == (
        {"tag": "aes", "description": "Here is your code", "plaintext": "4711"}
        if is_sealed
        else THANKS
    )


def test_it_is_there_when_another_process_sends_the_payment(
    alice: Person, service: Service
) -> None:
    """input-I08: it is written with the hold, so whoever dies after that loses nothing."""
    service.more = {"successAction": THANKS}
    with ExitStack() as full:
        for _ in range(lightning.IN_FLIGHT_PER_PROCESS):
            full.enter_context(lightning._room)
        paid = pay(alice, service)
        assert alice.payment().state == Payment.State.CREATED
    lightning.send(alice.payment().id)
    assert alice.api.get(f"/payments/{paid.body['id']}").body["successAction"] == THANKS


def test_one_that_the_preimage_does_not_open_leaves_the_payment_settled(
    alice: Person, service: Service
) -> None:
    """input-I08: what was sealed is left, to be asked about."""
    given = sealed("4711", os.urandom(32).hex())
    service.more = {"successAction": given}
    paid = pay(alice, service)
    assert paid.body["status"] == "settled"
    assert paid.body["successAction"] == given | {"plaintext": None}


def test_a_service_that_leads_to_an_invoice_of_somebody_here_gives_it_too(
    alice: Person, charlie: Person, service: Service
) -> None:
    """input-I08: that payment settles inside, without a node."""

    def of_charlie(amount_msat: int) -> dict[str, Any]:
        invoice = {"amount": amount_msat // 1000}
        made = charlie.api.post("/invoice", {"invoice": invoice}).body
        return {"pr": made["hash"], "successAction": THANKS}

    service.invoice = of_charlie
    paid = pay(alice, service)
    assert (paid.body["type"], paid.body["successAction"]) == ("internal", THANKS)


@pytest.mark.parametrize(
    "nothing",
    [None, {}, [], "", {"tag": "noop"}, {"tag": "message", "message": " "}, {"tag": "message"}],
    ids=str,
)
def test_nothing_is_written_in_many_ways(alice: Person, service: Service, nothing: Any) -> None:
    """input-I08"""
    service.more = {"successAction": nothing}
    paid = pay(alice, service)
    assert (paid.status_code, "successAction" in paid.body) == (200, False), paid.body


# --- What cannot be shown is not paid for --------------------------------------------------------

CIPHERTEXT, IV = b64encode(bytes(16)).decode(), b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    "action",
    [
        {"tag": "bike", "unlock": "4711"},
        {"message": "no tag"},
        "Thanks!",
        ["message"],
        7,
        {"tag": "message", "message": 4711},
        {"tag": "message", "message": {"a": "b"}},
        {"tag": "url", "description": "yours"},
        {"tag": "url", "url": "https://evil.example/"},
        {"tag": "url", "url": "javascript:alert(1)"},
        {"tag": "url", "url": 5},
        {"tag": "aes", "description": "d", "ciphertext": "!!!!", "iv": IV},
        {"tag": "aes", "description": "d", "ciphertext": CIPHERTEXT, "iv": "AAAA"},
        {"tag": "aes", "description": "d", "ciphertext": "AAAA", "iv": IV},
        {"tag": "aes", "description": "d", "ciphertext": CIPHERTEXT * 200, "iv": IV},
        {"tag": "aes", "description": "d", "iv": IV},
    ],
    ids=lambda action: str(action)[:60],
)
def test_what_could_not_be_shown_is_not_paid_for(
    alice: Person, service: Service, action: Any
) -> None:
    """input-I08, LUD-09: it may be what is bought."""
    service.more = {"successAction": action}
    refused = pay(alice, service)
    assert (refused.status_code, refused.body["code"]) == (400, "remote_refused"), refused.body
    assert "cannot be shown here, so nothing was sent" in refused.body["detail"]
    assert not Payment.objects.exists()
    assert alice.available_sat == 100_000


@pytest.mark.parametrize(
    "url",
    [
        "https://ln-service.com/order/7?a=b#c",
        "https://LN-SERVICE.com/order",
        "https://www.ln-service.com/order",
        "https://ln-service.com:8443/order",
        " https://ln-service.com/ü ",
    ],
)
def test_a_link_of_the_same_server_is_kept(url: str) -> None:
    """input-I08, LUD-09: as a browser will ask for it."""
    kept = success_action.read({"tag": "url", "url": url}, callback=CALLBACK)
    assert kept is not None
    assert kept["url"].isascii()
    assert kept["url"].startswith("https://")
    assert "ln-service.com" in kept["url"].lower()


@pytest.mark.parametrize(
    "url",
    [
        "http://ln-service.com/order",
        "https://ln-service.com.evil.example/",
        "https://evil-ln-service.com/",
        "https://evil.example/ln-service.com",
        "https://ln-service.com@evil.example/",
        "https://user@ln-service.com/",
        "https://evil.example\\@ln-service.com/",
        "https://ln-service.com\\.evil.example/",
        "https://evil.example#@ln-service.com/",
        "//ln-service.com/order",
        "/order",
        "data:text/html,hello",
        "https://",
        "https://[",
        "https://ln-service.com/" + "x" * 2048,
    ],
)
def test_a_link_to_anybody_else_is_not(url: str) -> None:
    """input-I08, LUD-09: the domain of the callback alone."""
    with pytest.raises(ValueError):
        success_action.read({"tag": "url", "url": url}, callback=CALLBACK)


def test_a_text_that_is_too_long_is_kept_as_far_as_it_is_read() -> None:
    """LUD-09 allows 144 characters; what is longer is no reason not to pay."""
    for length, kept_length in [(144, 144), (145, 145), (1000, 1000), (50_000, 1000)]:
        kept = success_action.read({"tag": "message", "message": "é" * length}, callback=CALLBACK)
        assert kept is not None
        assert len(kept["message"]) == kept_length


# --- The description that the invoice commits to -------------------------------------------------


@pytest.mark.parametrize(
    ("pr", "matches"),
    [
        (lambda network: network.invoice(500_000, '[["text/plain","bob"]]', hashed=True), True),
        (lambda network: network.invoice(500_000, '[["text/plain","eve"]]', hashed=True), False),
        (lambda network: network.invoice(500_000, '[["text/plain","bob"]]'), False),
    ],
    ids=["the one shown", "another", "none"],
)
def test_an_invoice_for_another_description_is_paid_and_said_to_be_one(
    alice: Person, service: Service, network: Control, pr: Any, matches: bool
) -> None:
    """input-I08, F18, LUD-06: many services deviate."""
    service.invoice = lambda amount_msat: {"pr": pr(network)}
    paid = pay(alice, service)
    assert (paid.status_code, paid.body["status"]) == (200, "settled")
    assert paid.body.get("descriptionMatches", True) is matches
    check(Api().get("/schema").body, "post", "/api/send/{lnaddress}/{amount}", "200", paid)


@pytest.mark.parametrize(
    "metadata", [None, 5, "", "no JSON", "[" * 5000, '{"a": 1}', "[1, []]", '[["text/plain"]]']
)
def test_metadata_that_cannot_be_read_are_no_reason_not_to_pay(
    alice: Person, service: Service, network: Control, metadata: Any
) -> None:
    service.terms = {"metadata": metadata}
    service.invoice = lambda amount_msat: {"pr": network.invoice(amount_msat)}
    paid = pay(alice, service)
    assert (paid.status_code, paid.body["descriptionMatches"]) == (200, False), paid.body


def test_what_a_service_says_it_is_for_is_the_note_unless_there_is_one(
    alice: Person, service: Service
) -> None:
    """LUD-06: the short description is for the transaction log."""
    assert pay(alice, service).body["memo"] == "bob"
    noted = alice.api.post(f"/send/{service.lnurl}/500", {"memo": "lunch"})
    assert noted.body["memo"] == "lunch"
