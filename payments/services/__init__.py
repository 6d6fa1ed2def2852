"""Services of money going out: accept it, send it, find out what became of it."""

from payments.services.internal import pay_own_invoice, send_to_user
from payments.services.lightning import pay_lightning
from payments.services.onchain import quote_onchain, send_onchain
from payments.services.resolution import resolve_due

__all__ = [
    "pay_lightning",
    "pay_own_invoice",
    "quote_onchain",
    "resolve_due",
    "send_onchain",
    "send_to_user",
]
