"""Ask again: a new invoice in place of one that has expired."""

from __future__ import annotations

from accounts.models import User
from invoices.errors import AskTheShop
from invoices.models import Invoice
from invoices.services.creation import InvoiceDraft, create_for_any_wallet, create_invoice


def renew_invoice(invoice: Invoice, *, by: User | None) -> Invoice:
    """A new invoice for the same sats and memo, with the same ways to pay; the old one stays.

    The owner's keeps what belongs to its order, the webhook among it. To others such an invoice is
    refused with `AskTheShop`. Calls a node. Raises `NodeUnavailable`.
    """
    is_owner = by == invoice.user
    if invoice.webhook and not is_owner:
        raise AskTheShop()
    has_address = invoice.type == Invoice.Type.LIGHTNING and invoice.addresses.exists()
    draft = InvoiceDraft(
        type=invoice.type,
        with_address=has_address,
        amount_sat=invoice.amount_sat,
        currency=invoice.currency,
        memo=invoice.memo,
        prompt=invoice.prompt,
        memo_prompt=invoice.memo_prompt,
        items=invoice.items,
        request_id=invoice.request_id,
        webhook=invoice.webhook,
        secret=invoice.webhook_secret,
        address_type=invoice.address_type or "bech32",
    )
    create = create_for_any_wallet if has_address else create_invoice
    return create(invoice.user, draft, own=is_owner)
