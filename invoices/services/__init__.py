"""Services of money coming in: ask for it, notice it, record it."""

from invoices.services.creation import (
    InvoiceDraft,
    create_for_any_wallet,
    create_invoice,
    set_tip,
    set_webhook,
)
from invoices.services.deposits import scan_bitcoin
from invoices.services.internal import (
    Payable,
    lock_for_internal_payment,
    record_internal_receipt,
)
from invoices.services.lightning import (
    clear_unfinished,
    record_lightning_receipts,
    sweep_lightning,
    watch_lightning,
    withdraw_node_invoices,
)
from invoices.services.renewal import renew_invoice

__all__ = [
    "InvoiceDraft",
    "Payable",
    "clear_unfinished",
    "create_for_any_wallet",
    "create_invoice",
    "lock_for_internal_payment",
    "record_internal_receipt",
    "record_lightning_receipts",
    "renew_invoice",
    "scan_bitcoin",
    "set_tip",
    "set_webhook",
    "sweep_lightning",
    "watch_lightning",
    "withdraw_node_invoices",
]
