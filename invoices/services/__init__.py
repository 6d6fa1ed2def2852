"""Services of money coming in: ask for it, notice it, record it."""

from invoices.services.account_webhook import set_account_webhook
from invoices.services.creation import (
    InvoiceDraft,
    Key,
    create_for_any_wallet,
    create_invoice,
    create_invoice_once,
    set_tip,
    set_webhook,
)
from invoices.services.deposits import scan_bitcoin
from invoices.services.internal import (
    InternalReceipt,
    Payable,
    internal_receipt,
    lock_for_internal_payment,
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
    "InternalReceipt",
    "InvoiceDraft",
    "Key",
    "Payable",
    "clear_unfinished",
    "create_for_any_wallet",
    "create_invoice",
    "create_invoice_once",
    "internal_receipt",
    "lock_for_internal_payment",
    "record_lightning_receipts",
    "renew_invoice",
    "scan_bitcoin",
    "set_account_webhook",
    "set_tip",
    "set_webhook",
    "sweep_lightning",
    "watch_lightning",
    "withdraw_node_invoices",
]
