"""Do the books add up? Questions to the database, each one statement and so one moment.

Every check returns a line for each difference, and none when all is well. They read the tables
of money in and money out by name, since imports point down and these questions look across.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection

from accounts import ledger

CHECKS = {
    "all accounts together are zero": """
        SELECT format('%s msat too much', users.msat + house.msat)
        FROM (SELECT coalesce(sum(posted_msat), 0) AS msat FROM ledger_account) users,
            (SELECT coalesce(sum(CASE WHEN credit_id < 1000 THEN amount_msat ELSE 0 END)
                           - sum(CASE WHEN debit_id < 1000 THEN amount_msat ELSE 0 END), 0) AS msat
             FROM ledger_transfer WHERE phase IN ('posted', 'post')) house
        WHERE users.msat + house.msat <> 0
    """,
    "every user has one account, never below zero and in whole sats": """
        SELECT format('user %s: %s msat posted, %s held', users.id, posted_msat, held_msat)
        FROM accounts_user users LEFT JOIN ledger_account account ON account.user_id = users.id
        WHERE account.id IS NULL OR held_msat < 0 OR posted_msat < held_msat
            OR posted_msat % 1000 <> 0 OR held_msat % 1000 <> 0
    """,
    "every open hold is of an undecided payment, and the other way round": """
        SELECT format('hold %s, payment %s (%s)', hold.id, payment.id, payment.state)
        FROM (SELECT id FROM ledger_transfer pending WHERE phase = 'pending' AND NOT EXISTS
                (SELECT FROM ledger_transfer WHERE pending_id = pending.id)) hold
            FULL JOIN (SELECT id, hold_id, state FROM payments_payment
                WHERE state IN ('created', 'sending', 'signed')
                    OR (state = 'settled' AND NOT fee_final)) payment ON payment.hold_id = hold.id
        WHERE hold.id IS NULL OR payment.id IS NULL
    """,
    "every payment cost its user what its line says": """
        SELECT format('payment %s: %s msat', payment.id, coalesce(paid.msat, 0))
        FROM payments_payment payment JOIN ledger_account account USING (user_id)
            LEFT JOIN LATERAL (SELECT sum(CASE WHEN debit_id = account.id THEN amount_msat
                                               ELSE -amount_msat END) AS msat
                FROM ledger_transfer WHERE cause_kind = 'payment'
                    AND cause_id = payment.id::text AND account.id IN (debit_id, credit_id)
                    AND phase IN ('posted', 'post') AND kind NOT LIKE 'repay.%') paid ON true
        WHERE coalesce(paid.msat, 0) <> CASE
            WHEN state IN ('broadcast', 'confirmed') OR (state = 'settled' AND fee_final)
                THEN (amount_sat + fee_sat + platform_fee_sat) * 1000 ELSE 0 END
    """,
    "every invoice has received what was credited for it": """
        WITH credited AS (
            SELECT cause_id::uuid AS invoice, amount_msat AS msat FROM ledger_transfer
                WHERE kind = 'receive.lightning'
            UNION ALL
            SELECT request.invoice_id, moved.amount_msat FROM ledger_transfer moved
                JOIN invoices_lightningrequest request
                    ON external_id = 'invoice:' || request.payment_hash
                WHERE kind = 'internal'
            UNION ALL
            SELECT address.invoice_id, amount_msat FROM ledger_transfer
                JOIN accounts_activity line ON external_id = 'send:' || line.id
                JOIN invoices_address address ON address.address = line.hash
                WHERE kind = 'internal'
            UNION ALL
            SELECT address.invoice_id, CASE WHEN kind = 'receive.onchain' THEN amount_msat
                                            ELSE -amount_msat END
                FROM ledger_transfer
                JOIN invoices_deposit deposit ON deposit.id::text = cause_id
                JOIN invoices_address address ON address.address = deposit.address_id
                WHERE kind IN ('receive.onchain', 'reverse.onchain', 'reverse.onchain.shortfall')
                    AND cause_kind = 'deposit'
        ), sums AS (SELECT invoice, sum(msat) AS msat FROM credited GROUP BY invoice)
        SELECT format('invoice %s: %s sats received, %s msat credited',
                      invoice.id, received_sat, coalesce(sums.msat, 0))
        FROM invoices_invoice invoice FULL JOIN sums ON sums.invoice = invoice.id
        WHERE coalesce(received_sat, 0) * 1000 <> coalesce(sums.msat, 0)
    """,
    "every credited deposit is credited once, and no other is": """
        SELECT format('deposit %s:%s (%s): %s msat', txid, vout, state, coalesce(booked.msat, 0))
        FROM invoices_deposit deposit
            LEFT JOIN (SELECT cause_id, sum(CASE WHEN kind = 'receive.onchain' THEN amount_msat
                                                 ELSE -amount_msat END) AS msat
                FROM ledger_transfer WHERE cause_kind = 'deposit' AND kind IN
                    ('receive.onchain', 'reverse.onchain', 'reverse.onchain.shortfall')
                GROUP BY cause_id) booked ON booked.cause_id = deposit.id::text
        WHERE coalesce(booked.msat, 0)
            <> CASE WHEN state = 'credited' THEN amount_sat * 1000 ELSE 0 END
    """,
    "what is set aside as gifts is what nobody has taken": """
        SELECT format('gift %s: %s sats open, %s msat set aside', coalesce(gift.id::text, cause_id),
                      coalesce(gift.amount_sat, 0), coalesce(aside.msat, 0))
        FROM (SELECT id, amount_sat FROM payments_gift WHERE state = 'open') gift
            FULL JOIN (
                SELECT cause_id, sum(CASE WHEN credit_id = 8 THEN amount_msat ELSE -amount_msat END)
                    AS msat
                FROM ledger_transfer WHERE 8 IN (debit_id, credit_id) AND phase = 'posted'
                GROUP BY cause_id) aside ON aside.cause_id = gift.id::text
        WHERE coalesce(gift.amount_sat, 0) * 1000 <> coalesce(aside.msat, 0)
    """,
    "what bad_debt has borne is what users owe": """
        SELECT format('%s msat owed, %s msat borne', owed.msat, borne.msat)
        FROM (SELECT coalesce(sum(owed_msat), 0) AS msat FROM ledger_account) owed,
            (SELECT coalesce(sum(CASE WHEN debit_id = 6 THEN amount_msat ELSE -amount_msat END), 0)
                AS msat FROM ledger_transfer WHERE 6 IN (debit_id, credit_id)) borne
        WHERE owed.msat <> borne.msat
    """,
    "every payment between users has its payer's line": """
        SELECT format('transfer %s: %s msat', moved.id, moved.amount_msat)
        FROM ledger_transfer moved JOIN ledger_account payer ON payer.id = moved.debit_id
            JOIN ledger_account payee ON payee.id = moved.credit_id
            LEFT JOIN accounts_activity line ON line.id::text = moved.cause_id
                AND line.user_id = payer.user_id AND line.counterparty_id = payee.user_id
                AND (coalesce(tip_sat, 0) - amount_sat) * 1000 = moved.amount_msat
        WHERE moved.kind = 'internal' AND line.id IS NULL
    """,
    "every receipt went to the owner of its invoice": """
        SELECT format('transfer %s (%s): %s msat', moved.id, external_id, amount_msat)
        FROM ledger_transfer moved JOIN ledger_account account ON account.id = moved.credit_id
        WHERE kind IN ('receive.lightning', 'receive.onchain') AND NOT EXISTS (
            SELECT FROM invoices_invoice invoice WHERE invoice.user_id = account.user_id
                AND invoice.id = CASE kind
                    WHEN 'receive.lightning' THEN (SELECT invoice_id FROM invoices_lightningrequest
                        WHERE payment_hash = substr(external_id, length('lightning:') + 1))
                    ELSE (SELECT invoice_id FROM invoices_address
                        JOIN invoices_deposit deposit ON deposit.address_id = address
                        WHERE deposit.id = cause_id::uuid) END)
    """,
    "every movement by an operator has the act that it was carried out for": """
        SELECT format('transfer %s (%s): %s msat, %s', moved.id, kind, amount_msat, cause_id)
        FROM ledger_transfer moved
        WHERE kind LIKE 'operator.%' AND cause_id NOT LIKE 'start balance of %' AND NOT EXISTS (
            SELECT FROM payments_operatoract act WHERE 'act ' || act.id = cause_id
                AND act.amount_sat * 1000 = amount_msat AND carried_out_at IS NOT NULL)
    """,
    "nothing that arrived was booked under two names": """
        SELECT format('%s: %s', external_id, string_agg(kind, ', '))
        FROM ledger_transfer WHERE kind LIKE 'receive.%'
        GROUP BY external_id HAVING count(*) > 1
    """,
    "every day's totals are the sum of its lines": """
        SELECT format('user %s on %s', coalesce(total.user_id, line.user_id),
                      coalesce(total.day, line.day))
        FROM accounts_dailytotal total FULL JOIN (
            SELECT user_id, day, amount_sat > 0 AS incoming,
                currency, count(*) AS count, sum(amount_sat) AS sats,
                sum(coalesce(tip_sat, 0)) AS tips,
                sum(coalesce(fee_sat, 0) + coalesce(platform_fee_sat, 0)) AS fees
            FROM accounts_activity,
                unnest(ARRAY[(created AT TIME ZONE 'UTC')::date, '9999-12-31']) AS day
            WHERE status <> 'failed' GROUP BY 1, 2, 3, 4) line
            USING (user_id, day, incoming, currency)
        WHERE (coalesce(total.count, 0), coalesce(total.sats, 0), coalesce(tips_sat, 0),
               coalesce(fees_sat, 0))
            <> (coalesce(line.count, 0), coalesce(line.sats, 0), coalesce(tips, 0),
                coalesce(fees, 0))
    """,
}


@dataclass(frozen=True)
class Finding:
    """What a check asked, and every difference that it found."""

    check: str
    differences: list[str]


def check_books() -> Iterator[Finding]:
    """Run all checks, one after the other. Reads only."""
    kept = [
        f"account {wrong.account}: {wrong.posted_msat} msat posted, computed "
        f"{wrong.computed_posted_msat}; {wrong.held_msat} held, computed "
        f"{wrong.computed_held_msat}; {wrong.owed_msat} owed, computed {wrong.computed_owed_msat}"
        for wrong in ledger.differences()
    ]
    yield Finding("every balance is the sum of its transfers", kept)
    for check, question in CHECKS.items():
        with connection.cursor() as cursor:
            cursor.execute(question)
            yield Finding(check, [row[0] for row in cursor.fetchall()])
