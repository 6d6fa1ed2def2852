"""Does the ledger agree with what really happened? Simnet keeps the truth, the ledger its rows.

`check` compares them once everything has come to rest: no fault in force, no payment undecided,
every receipt noticed. It returns a sentence for each broken invariant, by its number. I13 and I14
are about answers, so the tests that read answers check them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts import ledger
from accounts.models import Activity
from coinos.money import MSAT_PER_SAT
from coinos.simnet.control import Control
from invoices.models import Address, Deposit, LightningRequest, WebhookDelivery
from payments.models import Payment
from tests.proof.books import house_balances_msat, transfers_digest

State = Payment.State

_history: dict[str, tuple[int, str]] = {}
"""Per database, the last transfer and the digest of history at the last check (I10)."""


def check(control: Control, *, alone: bool = True) -> list[str]:
    """Every broken invariant as a sentence; none when all is well.

    `alone`: no other ledger used this simnet, so its sums must be the ledger's, too. Call it on a
    system at rest, with the database of the ledger as Django's default connection.
    """
    truth, chain = control.truth(), control.chain_truth()
    broken = [
        *_books_add_up(),
        *_history_only_grew(),
        *_holds_resolve_once(),
        *_auto_withdraw_paid_once(),
        *_payments_ended_as_at_the_node(control, truth, alone=alone),
        *_receipts_are_credited_once(truth),
        *_deposits_are_credited_once(chain),
        *_withdrawals_are_what_was_sent(chain),
        *_statements_add_up(),
        *_webhooks_were_called(),
    ]
    if alone:
        broken += _nodes_hold_what_the_books_say(truth, chain)
    return broken


def forget_history() -> None:
    """The database has become an older copy of itself: its last rows are gone by our own hand."""
    _history.pop(str(connection.settings_dict["NAME"]), None)


def count(broken: list[str], invariant: str) -> int:
    """How many of these sentences are about one invariant, as in `count(broken, "I5")`."""
    return sum(sentence.startswith(f"{invariant}:") for sentence in broken)


def deviation_msat() -> int:
    """How far the books are from zero, and kept balances from computed ones; must be 0."""
    wrong = ledger.differences()
    return abs(ledger.users_msat() + sum(house_balances_msat().values())) + sum(
        abs(difference.posted_msat - difference.computed_posted_msat)
        + abs(difference.held_msat - difference.computed_held_msat)
        for difference in wrong
    )


# --- The books themselves ------------------------------------------------------------------------


def _books_add_up() -> Iterator[str]:
    total = ledger.users_msat() + sum(house_balances_msat().values())
    if total:
        yield f"I1: all balances sum to {total} msat instead of 0"
    for account, posted, held in _rows(
        "SELECT id, posted_msat, held_msat FROM ledger_account"
        " WHERE user_id IS NOT NULL AND (held_msat < 0 OR posted_msat < held_msat)"
    ):
        yield f"I2: account {account} has {posted} msat of which {held} are held"
    for difference in ledger.differences():
        yield f"I3: {difference}"
    for kind, external_id, times in _rows(
        "SELECT kind, external_id, count(*) FROM ledger_transfer"
        " GROUP BY kind, external_id HAVING count(*) > 1"
    ):
        yield f"I5: {kind} {external_id} was booked {times} times"


def _history_only_grew() -> Iterator[str]:
    name = str(connection.settings_dict["NAME"])
    last_id, digest = _history.get(name, (0, ""))
    if last_id and transfers_digest(up_to=last_id)[1] != digest:
        yield f"I10: the first {last_id} transfers are not what they were"
    _history[name] = transfers_digest()


def _holds_resolve_once() -> Iterator[str]:
    for hold, times in _rows(
        "SELECT pending_id, count(*) FROM ledger_transfer WHERE pending_id IS NOT NULL"
        " GROUP BY pending_id HAVING count(*) > 1"
    ):
        yield f"I4: hold {hold} was resolved {times} times"
    for hold, held, resolved in _rows(
        "SELECT hold.id, hold.amount_msat, row.amount_msat FROM ledger_transfer AS row"
        " JOIN ledger_transfer AS hold ON hold.id = row.pending_id"
        " WHERE row.amount_msat > hold.amount_msat"
    ):
        yield f"I4: hold {hold} of {held} msat was resolved by {resolved} msat"


def _auto_withdraw_paid_once() -> Iterator[str]:
    """I6: each payment that auto-withdraw has made is that of one run, which knows it."""
    for user, made, paid in _rows(
        """
        SELECT used.user_id, count(*), (
            SELECT count(*) FROM payments_autowithdrawrun AS run
            WHERE run.user_id = used.user_id AND run.state = 'paid')
        FROM accounts_idempotencykey AS used
        JOIN accounts_activity AS line ON line.id = used.made_id
        WHERE used.key LIKE 'auto-withdraw:%' AND line.status <> 'failed'
        GROUP BY used.user_id
        """
    ):
        if made != paid:
            yield f"I6: auto-withdraw made {made} payments of {user} in {paid} runs"


# --- Lightning -----------------------------------------------------------------------------------


def _payments_ended_as_at_the_node(
    control: Control, truth: dict[str, Any], *, alone: bool
) -> Iterator[str]:
    """I6, I7, I8, I11: what the node paid, the ledger has settled, and nothing else."""
    settled: dict[str, Payment] = {}
    unclaimed = dict(
        _rows(
            "SELECT external_id, amount_msat FROM ledger_transfer"
            " WHERE kind = 'receive.unmatched' AND external_id LIKE 'unclaimed:%'"
        )
    )
    resolutions = _resolutions()
    for payment in Payment.objects.filter(type=Payment.Type.LIGHTNING):
        name = f"payment {payment.id}"
        phase, posted_msat, debit_msat, hold_msat = resolutions[payment.hold_id]
        sent = truth["sent"].get(payment.payment_hash)
        if payment.state == State.SETTLED:
            if payment.payment_hash in settled:
                yield f"I6: two payments of {payment.payment_hash} are settled"
            settled[str(payment.payment_hash)] = payment
            if sent is None:
                yield f"I6: {name} is settled, but nothing was paid"
            elif phase != "post":
                yield f"I6: {name} is settled, but its hold is {phase}"
            elif posted_msat - unclaimed.get(f"unclaimed:{payment.id}", 0) != (
                sent["amount_msat"] + sent["fee_msat"]
            ):
                yield f"I8: {name} posted {posted_msat} msat, the node paid {sent}"
            elif not posted_msat <= debit_msat <= hold_msat:
                yield f"I8: {name} cost {debit_msat} msat of a hold of {hold_msat}"
        elif payment.state == State.FAILED:
            paid_by_another = Payment.objects.filter(
                payment_hash=payment.payment_hash, state=State.SETTLED
            ).exists()
            if phase != "void":
                yield f"I7: {name} failed, but its hold is {phase}"
            if sent is not None and not paid_by_another:
                yield f"I7: {name} was refunded, but the node paid {sent}"
        elif control.payment(str(payment.payment_hash))["status"] != "pending":
            age = timezone.now() - payment.created
            yield f"I11: {name} is still {payment.state} after {age}, and the node is not at work"
    for payment_hash in set(truth["sent"]) - set(settled) if alone else ():
        yield f"I6: the node paid {payment_hash}, which no payment has settled"


def _resolutions() -> dict[int, tuple[str, int, int, int]]:
    """By hold: its resolution's phase (or "open") and msat, the user's whole debit but for what a
    bump has raised it by later, the hold."""
    return {
        hold: (phase, int(posted), int(debit), int(held))
        for hold, phase, posted, debit, held in _rows(
            """
            SELECT hold.id, coalesce(done.phase, 'open'), coalesce(done.amount_msat, 0),
                coalesce((SELECT sum(row.amount_msat) FROM ledger_transfer AS row
                          WHERE row.cause_kind = hold.cause_kind AND row.cause_id = hold.cause_id
                              AND row.debit_id = hold.debit_id
                              AND row.phase IN ('post', 'posted')
                              AND row.kind <> 'send.fee.raise'), 0),
                hold.amount_msat
            FROM ledger_transfer AS hold
            LEFT JOIN ledger_transfer AS done ON done.pending_id = hold.id
            WHERE hold.phase = 'pending'
            """
        )
    }


def _receipts_are_credited_once(truth: dict[str, Any]) -> Iterator[str]:
    """I5: each receipt of the node stands in the ledger once, to the msat."""
    credited: dict[str, int] = defaultdict(int)
    for external_id, amount in _rows(
        "SELECT external_id, amount_msat FROM ledger_transfer WHERE kind IN"
        " ('receive.lightning', 'rounding.receive.lightning', 'receive.unmatched')"
        " AND external_id LIKE 'lightning:%'"
    ):
        credited[external_id.removeprefix("lightning:")] += amount
    for payment_hash, amount in credited.items():
        received = truth["received"].get(payment_hash, 0)
        if amount != received:
            yield f"I5: {payment_hash} was credited with {amount} msat, {received} arrived"
    ours = LightningRequest.objects.exclude(payment_hash=None)
    paid = set(ours.values_list("payment_hash", flat=True)) & set(truth["received"])
    for missing in paid - set(credited):
        yield f"I5: {missing} was paid to us and never credited"


# --- The chain -----------------------------------------------------------------------------------


def _deposits_are_credited_once(chain: dict[str, Any]) -> Iterator[str]:
    """I5: what the ledger counts of an outpoint is its amount while it is confirmed, else 0."""
    ours = set(Address.objects.values_list("address", flat=True))
    outputs = {o["outpoint"]: o for o in chain["received"] if o["address"] in ours}
    counted: dict[str, int] = defaultdict(int)
    for external_id, kind, amount in _rows(
        "SELECT external_id, kind, amount_msat FROM ledger_transfer WHERE kind IN"
        " ('receive.onchain', 'reverse.onchain', 'reverse.onchain.shortfall')"
    ):
        txid, vout = external_id.split(":")[1:3]
        counted[f"{txid}:{vout}"] += amount if kind == "receive.onchain" else -amount
    for outpoint in set(outputs) | set(counted):
        output = outputs.get(outpoint)
        deposit = Deposit.objects.filter(
            txid=outpoint.split(":")[0], vout=outpoint.split(":")[1]
        ).first()
        needed = deposit.confirmations_required if deposit else 1
        is_there = output is not None and output["confirmations"] >= needed
        expected = output["amount_sat"] * MSAT_PER_SAT if output and is_there else 0
        if counted[outpoint] != expected:
            yield f"I5: deposit {outpoint} counts {counted[outpoint]} msat instead of {expected}"


def _withdrawals_are_what_was_sent(chain: dict[str, Any]) -> Iterator[str]:
    """I6, I7, I8 on-chain: one transaction a withdrawal, booked with its exact fee. What a
    bump cost is the user's, or the house's when an operator asked for it."""
    house = int(ledger.House.ONCHAIN)
    sent = {entry["txid"]: entry for entry in _on_the_network(chain)}
    resolutions = _resolutions()
    corrected = dict(
        _rows(
            f"""
            SELECT cause_id, sum(CASE WHEN credit_id = {house:d} THEN amount_msat
                                      ELSE -amount_msat END)
            FROM ledger_transfer
            WHERE kind IN
                ('fee.overrun', 'fee.overrun.return', 'send.fee.raise', 'send.fee.return')
            GROUP BY cause_id
            """
        )
    )
    for payment in Payment.objects.filter(type=Payment.Type.BITCOIN):
        name = f"withdrawal {payment.id}"
        phase, posted_msat, debit_msat, hold_msat = resolutions[payment.hold_id]
        booked_msat = posted_msat + int(corrected.get(str(payment.id), 0))
        entry = sent.get(str(payment.txid))
        if payment.state in (State.BROADCAST, State.CONFIRMED):
            if entry is None:
                yield f"I6: {name} is {payment.state}, but its transaction is not on the network"
            elif booked_msat != (entry["amount_sat"] + entry["fee_sat"]) * MSAT_PER_SAT:
                yield f"I8: {name} booked {booked_msat} msat, the network took {entry}"
            elif not posted_msat <= debit_msat <= hold_msat:
                yield f"I8: {name} cost {debit_msat} msat of a hold of {hold_msat}"
        elif payment.state == State.FAILED:
            if entry is not None:
                yield f"I7: {name} was given back, but {payment.txid} is on the network"
            if phase == "open":
                yield f"I7: {name} failed, but its hold is open"
        else:
            yield f"I11: {name} is still {payment.state}"


def _on_the_network(chain: dict[str, Any]) -> list[dict[str, Any]]:
    """What was sent, without earlier versions that another one has pushed out of the mempool."""
    sent = [entry for entry in chain["sent"] if entry["confirmations"] >= 0]
    there = [entry for entry in sent if entry["in_mempool"] or entry["confirmations"]]
    spent = {outpoint for entry in there for outpoint in entry["inputs"]}
    return there + [e for e in sent if e not in there and not spent & set(e["inputs"])]


# --- Between the ledger and the world ------------------------------------------------------------


def _nodes_hold_what_the_books_say(truth: dict[str, Any], chain: dict[str, Any]) -> Iterator[str]:
    """I9, exactly: what went through our nodes is what the house accounts say, to the msat."""
    booked = house_balances_msat()
    went_out = truth["sent_msat"] + truth["fee_msat"] - truth["received_msat"]
    if booked[ledger.House.LIGHTNING] != went_out:
        yield (
            f"I9: by the books {booked[ledger.House.LIGHTNING]} msat went out over Lightning,"
            f" by the node {went_out}"
        )
    ours = set(Address.objects.values_list("address", flat=True))
    credited = Deposit.objects.filter(state=Deposit.State.CREDITED)
    outpoints = {deposit.outpoint for deposit in credited}
    arrived = sum(
        output["amount_sat"]
        for output in chain["received"]
        if output["address"] in ours and output["outpoint"] in outpoints
    )
    unmatched = _rows(
        "SELECT coalesce(sum(amount_msat), 0) FROM ledger_transfer"
        " WHERE kind = 'receive.unmatched' AND external_id LIKE 'onchain:%'"
    )
    arrived += int(unmatched[0][0]) // MSAT_PER_SAT
    left = sum(e["amount_sat"] + e["fee_sat"] for e in _on_the_network(chain))
    if booked[ledger.House.ONCHAIN] != (left - arrived) * MSAT_PER_SAT:
        yield (
            f"I9: by the books {booked[ledger.House.ONCHAIN]} msat went out on-chain,"
            f" by the chain {(left - arrived) * MSAT_PER_SAT}"
        )
    owned = truth["channel_msat"] + chain["balance_sat"] * MSAT_PER_SAT
    if owned < ledger.owed_msat():
        yield f"I9: the nodes hold {owned} msat and {ledger.owed_msat()} are owed"


# --- What people see -----------------------------------------------------------------------------


def _statements_add_up() -> Iterator[str]:
    """A11: the lines of a statement and the operator's corrections make up the balance."""
    for user, lines_sat, operator_msat, posted_msat in _rows(
        """
        SELECT account.user_id,
            coalesce((SELECT sum(amount_sat + sign(amount_sat) * coalesce(tip_sat, 0)
                                 - coalesce(fee_sat, 0) - coalesce(platform_fee_sat, 0))
                      FROM accounts_activity AS line WHERE line.user_id = account.user_id
                          AND (line.status = 'settled'
                               OR (line.status = 'pending' AND line.amount_sat < 0
                                   AND EXISTS (SELECT 1 FROM ledger_transfer AS post
                                               WHERE post.kind = 'send.post'
                                                   AND post.cause_id = line.id::text)))), 0),
            coalesce((SELECT sum(amount_msat) FROM ledger_transfer
                      WHERE kind = 'operator.credit' AND credit_id = account.id), 0),
            account.posted_msat
        FROM ledger_account AS account WHERE account.user_id IS NOT NULL
        """
    ):
        if int(lines_sat) * MSAT_PER_SAT + int(operator_msat) != posted_msat:
            yield (
                f"I3: the statement of {user} sums to {lines_sat} sat beside {operator_msat} msat"
                f" of the operator's, the account to {posted_msat} msat"
            )
    ended = {
        State.SETTLED: Activity.Status.SETTLED,
        State.CONFIRMED: Activity.Status.SETTLED,
        State.FAILED: Activity.Status.FAILED,
    }
    lines = dict(Activity.objects.values_list("id", "status"))
    for payment in Payment.objects.filter(state__in=list(ended)):
        if lines.get(payment.id) != ended[State(payment.state)]:
            yield f"I6: {payment.id} is {payment.state}, its line says {lines.get(payment.id)}"


def _webhooks_were_called() -> Iterator[str]:
    """I12: every delivery was tried."""
    for delivery in WebhookDelivery.objects.filter(attempts=None):
        yield f"I12: the webhook delivery {delivery.message_id} was never tried"


def _rows(query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())
