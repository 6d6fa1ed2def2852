"""A day of ordinary use at the most talkative level, and a search through what was logged."""

from __future__ import annotations

from io import StringIO
from typing import Any

from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from accounts.models import User
from coinos import rates
from coinos.models import Rate
from coinos.simnet.control import Control
from invoices import services
from tests.cast import Api, fund

PASSWORD = "perfectly secret passphrase"
PIN = "493817"


def test_no_token_password_pin_or_preimage_is_logged(
    log: StringIO, simnet: Control, cloned_db: Any, redis: Any, settings: Any
) -> None:
    """P03"""
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    settings.BITCOIN_RPC_URL = simnet.bitcoin_rpc_url
    cache.delete(rates.CACHE_KEY)
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000"})
    account = {"username": "alice", "password": PASSWORD}
    registered = Api().post("/register", {"user": account})
    token = Api().post("/login", account).body["token"]
    Api().post("/login", account | {"password": PASSWORD + "!"})
    api = Api(token)
    fund(User.objects.get(), 10_000)
    api.post("/user", {"newpin": PIN, "current_password": PASSWORD})
    wish = {"amount": 500, "webhook": "https://93.184.215.14/", "secret": "shared with the shop"}
    invoice = api.post("/invoice", {"invoice": wish}).body
    received = simnet.pay(invoice["hash"])
    services.sweep_lightning()
    paid = api.post("/payments", {"payreq": simnet.invoice(100_000), "pin": PIN})
    assert paid.body["status"] == "settled", paid.body
    read_only = api.get("/ro").body
    simnet.set_faults([{"kind": "garbage", "method": "xpay", "how": "truncated"}])
    api.post("/payments", {"payreq": simnet.invoice(100_000), "pin": PIN})
    Api("nonsense" + token).get("/me")
    rates.forget()

    logged = log.getvalue()
    assert "xpay" in logged
    assert "Unauthorized: /api/login" in logged
    secrets = {
        "password": PASSWORD,
        "pin": PIN,
        "token": token,
        "first token": registered.body["token"],
        "read-only token": str(read_only),
        "preimage received": received["preimage"],
        "preimage paid for": paid.body["ref"],
        "shop's secret": "shared with the shop",
    }
    assert [name for name, secret in secrets.items() if secret in logged] == []


def test_the_embedded_database_logs_no_values(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('log_parameter_max_length'),"
            " current_setting('log_error_verbosity')"
        )
        assert cursor.fetchone() == ("0", "terse")
