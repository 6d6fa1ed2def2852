"""The guards, and what breaks each: one text of one file, replaced by another.

`kills` are the tests that must fail then, of which one is enough. A guard that stands beside
another one for the same thing may survive: then `survives` says which, and why that is well. A
text occurs once in its file, so that what is broken is what was meant (`test_table.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    number: int
    rule: str
    file: str
    old: str
    new: str
    kills: tuple[str, ...]
    survives: str = ""


RELEASE = "tests/nodes/test_release.py"
ADAPTER = "tests/nodes/test_cln_payments.py"
NO_RECORDS = "tests/payments/test_node_without_records.py"
LIGHTNING = "tests/payments/test_lightning.py"
CLAIMS = "tests/payments/test_claims.py"
GATE = "tests/payments/test_gate.py"
ROUNDS = "tests/payments/test_withdrawal_rounds.py"
NODE = "tests/invoices/test_node_changes.py"
LEDGER = "tests/accounts/test_ledger.py"
RECEIPTS = "tests/invoices/test_lightning_receipts.py"
DEPOSITS = "tests/invoices/test_deposits.py"
ALARMS = "tests/payments/test_alarms.py"
SOLVENCY = "tests/payments/test_solvency.py"
RECONCILIATION = "tests/payments/test_reconciliation.py"
SENT_BEFORE = "tests/payments/test_sent_before.py"
INTERNAL = "tests/payments/test_internal.py"

MUTATIONS = (
    # --- The release rule and what it is told ----------------------------------------------------
    Mutation(
        1,
        "A node that is still trying keeps the hold",
        "coinos/nodes/release.py",
        "    if record.in_progress:\n",
        "    if False:\n",
        (f"{RELEASE}::test_without_parts_alive_the_hold_goes_only_when_no_more_can_follow",),
    ),
    Mutation(
        2,
        "Parts are read again after the node's summary",
        "coinos/nodes/cln.py",
        """        pays = _rows(self._read("listpays", params), "listpays", "pays", payment_hash)
        parts = _rows(self._read("listsendpays", params), "listsendpays", "payments", payment_hash)
""",
        """        pays = _rows(self._read("listpays", params), "listpays", "pays", payment_hash)
""",
        (f"{ADAPTER}::test_a_failed_payment_is_in_progress_while_the_summary_says_pending",),
    ),
    Mutation(
        3,
        "A summary and a list of parts that disagree are an attempt in progress",
        "coinos/nodes/cln.py",
        "in_progress=is_pending or bool(pays) != bool(parts))",
        "in_progress=is_pending)",
        (f"{ADAPTER}::test_parts_that_came_after_the_summary_count_as_in_progress",),
    ),
    Mutation(
        4,
        "No record is believed only of the node that was asked, and synced",
        "payments/services/resolution.py",
        "    if payment.parts_before is None or info.id != payment.node_id or not info.synced:\n",
        "    if payment.parts_before is None:\n",
        (f"{NO_RECORDS}::test_no_record_is_believed_only_of_a_node_that_is_synced",),
    ),
    Mutation(
        5,
        "The record that counts is read after the node said who it is",
        "payments/services/resolution.py",
        """        is_whole = _has_kept_all(node, payment)
        record = node.payment_record(payment.payment_hash)
""",
        """        is_whole = _has_kept_all(node, payment)
""",
        (f"{NO_RECORDS}::test_the_record_that_counts_is_read_after_the_node_said_who_it_is",),
    ),
    Mutation(
        6,
        "Only a payment that is under way can fail",
        "payments/services/resolution.py",
        "    if payment.state == Payment.State.SENDING:\n        release(",
        "    if True:\n        release(",
        (f"{CLAIMS}::test_what_others_have_settled_meanwhile_does_not_fail_any_more",),
    ),
    Mutation(
        28,
        "A node that counts fewer parts than before has lost records",
        "payments/services/resolution.py",
        "    if created < payment.parts_before:\n",
        "    if False:\n",
        (f"{NO_RECORDS}::test_a_node_that_counts_less_than_when_it_was_asked_gives_nothing_back",),
    ),
    # --- Receipts --------------------------------------------------------------------------------
    Mutation(
        7,
        "The cursor of receipts never moves back",
        "invoices/services/lightning.py",
        "        name=RECEIPTS, position__lt=last.pay_index\n",
        "        name=RECEIPTS\n",
        (f"{RECEIPTS}::test_the_cursor_never_moves_back",),
    ),
    Mutation(
        8,
        "A node whose counters went back is refused",
        "invoices/services/node.py",
        "        if counted < before:\n",
        "        if False:\n",
        (f"{NODE}::test_a_node_restored_from_an_old_copy_stops_receiving_and_sending",),
    ),
    # --- Once ------------------------------------------------------------------------------------
    Mutation(
        9,
        "One live payment of an invoice on the whole site, settled ones included",
        "payments/migrations/0001_initial.py",
        "('state__in', ['created', 'sending', 'settled'])",
        "('state__in', ['created', 'sending'])",
        (f"{LIGHTNING}::test_an_invoice_is_paid_once_on_the_whole_site",),
    ),
    Mutation(
        10,
        "One idempotency key is one request",
        "accounts/idempotency.py",
        "    if row.fingerprint != named.fingerprint:\n",
        "    if False:\n",
        (f"{INTERNAL}::test_the_same_key_pays_once_and_answers_the_same",),
    ),
    Mutation(
        11,
        "A key whose first request is still being answered has no answer yet",
        "accounts/idempotency.py",
        "    if row.answered_at is None and timezone.now() - row.created < ANSWER_LATEST:\n",
        "    if False:\n",
        (f"{LIGHTNING}::test_while_the_first_request_is_being_answered_the_same_key_is_told_so",),
    ),
    # --- The ledger's SQL ------------------------------------------------------------------------
    Mutation(
        12,
        "A hold is settled or voided once",
        "accounts/sql/0001_ledger.sql",
        "    CONSTRAINT hold_resolved_once UNIQUE (pending_id),\n",
        "    CONSTRAINT hold_resolved_once UNIQUE (pending_id, id),\n",
        (f"{LEDGER}::test_the_second_resolution_of_a_hold_is_refused_by_its_own_index",),
    ),
    Mutation(
        13,
        "A receipt is booked once, whatever its amount",
        "accounts/sql/0001_ledger.sql",
        "        WHERE kind IN (p_kind, 'rounding.' || p_kind) AND external_id = p_external_id;\n",
        "        WHERE kind = p_kind AND external_id = p_external_id;\n",
        (f"{LEDGER}::test_a_receipt_is_found_by_either_of_its_rows",),
    ),
    Mutation(
        22,
        "Only what was credited can be taken back",
        "accounts/sql/0007_debts.sql",
        """    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no credit % of % msat', p_external_id, p_amount_msat
""",
        """    IF FALSE THEN
        RAISE EXCEPTION 'there is no credit % of % msat', p_external_id, p_amount_msat
""",
        (f"{LEDGER}::test_only_what_was_credited_can_be_taken_back",),
    ),
    # --- Withdrawals -----------------------------------------------------------------------------
    Mutation(
        14,
        "The kill switch stops a signed withdrawal before its first broadcast",
        "payments/services/withdrawals/sending.py",
        "    if killswitch.is_stopped():\n",
        "    if False:\n",
        (f"{ROUNDS}::test_what_is_signed_does_not_leave_while_sends_are_stopped",),
    ),
    Mutation(
        15,
        "The kill switch stops an accepted withdrawal before it is signed",
        "payments/services/withdrawals/signing.py",
        "    if killswitch.is_stopped():\n",
        "    if False:\n",
        (f"{ROUNDS}::test_what_waits_is_not_even_signed_while_sends_are_stopped",),
    ),
    Mutation(
        16,
        "The inputs of signed withdrawals are locked again each round",
        "payments/services/withdrawals/rounds.py",
        "            if payment.state == Payment.State.SIGNED:\n                _lock_again",
        "            if False:\n                _lock_again",
        (f"{ROUNDS}::test_coins_of_a_signed_withdrawal_are_locked_again_each_round",),
    ),
    Mutation(
        20,
        "A fee above what was held is not signed",
        "payments/services/withdrawals/signing.py",
        "    if signed.fee_sat > most_sat:\n",
        "    if False:\n",
        (f"{ROUNDS}::test_a_fee_above_what_was_agreed_is_not_signed",),
    ),
    Mutation(
        29,
        "A withdrawal that the wallet has sent already is not prepared again",
        "payments/services/withdrawals/signing.py",
        "    if _may_have_been_sent(payment) and (found := find_sent(payment)):\n",
        "    if False and (found := find_sent(payment)):\n",
        (
            f"{SENT_BEFORE}::test_k3_what_a_failover_forgot_is_paid_once_and_booked_with_its_real_fee",
        ),
    ),
    # --- The gate --------------------------------------------------------------------------------
    Mutation(
        17,
        "A failed payment gives back only to the window that it was counted in",
        "payments/gate.py",
        "        window_start__lte=payment.created,\n",
        "",
        (f"{GATE}::test_a_payment_that_failed_gives_back_to_its_own_window_only",),
    ),
    Mutation(
        19,
        "An invoice of our own node that no user owns is not paid",
        "payments/services/lightning.py",
        "    if decoded.payee == info.id:\n",
        "    if False:\n",
        (f"{LIGHTNING}::test_an_invoice_of_our_own_node_that_no_user_owns_is_refused",),
    ),
    Mutation(
        21,
        "The kill switch stops a Lightning payment that waits to be sent",
        "payments/services/lightning.py",
        "    if killswitch.is_stopped():\n        return  # still `created`",
        "    if False:\n        return  # still `created`",
        (f"{GATE}::test_a_lightning_payment_that_waits_is_not_sent_while_sends_are_stopped",),
    ),
    Mutation(
        25,
        "The site's hourly limit is counted",
        "payments/gate.py",
        """        _spend_limit("site", debit_sat, settings.SEND_LIMIT_SITE_SAT, SITE_WINDOW)
""",
        "",
        (f"{GATE}::test_two_hundred_at_once_do_not_get_past_the_sites_limit",),
    ),
    Mutation(
        26,
        "The window of a limit begins anew",
        "payments/gate.py",
        """                window_start = CASE WHEN budget.window_start < %(oldest)s
                    THEN %(now)s ELSE budget.window_start END
""",
        """                window_start = budget.window_start
""",
        (f"{GATE}::test_when_its_window_is_over_a_limit_begins_anew",),
    ),
    Mutation(
        27,
        "A failed payment counts no more against budget and limits",
        "payments/services/release.py",
        "    give_back(payment, debit_sat=payment.held_sat)\n",
        "",
        (f"{GATE}::test_a_payment_that_failed_counts_no_more_against_limits_and_budget",),
    ),
    # --- Deposits --------------------------------------------------------------------------------
    Mutation(
        23,
        "The block of a deposit is in the active chain when it is credited",
        "invoices/services/deposits.py",
        "        and chain.block_is_active(transaction.block_hash)\n",
        "",
        (f"{DEPOSITS}::test_a_block_that_has_left_the_active_chain_meanwhile_credits_nothing",),
    ),
    Mutation(
        24,
        "Credits are compared with the active chain for 100 blocks",
        "invoices/services/deposits.py",
        "REORG_BLOCKS = 100",
        "REORG_BLOCKS = 3",
        (
            f"{DEPOSITS}::test_credits_of_the_last_hundred_blocks_are_compared_with_the_chain_whatever_the_node_lists",
        ),
    ),
    # --- Reconciliation and its alarms -----------------------------------------------------------
    Mutation(
        18,
        "HTLCs of settled payments are no longer ours",
        "payments/models.py",
        "self.arriving_msat - self.leaving_msat + onchain_msat",
        "self.arriving_msat + onchain_msat",
        (f"{RECONCILIATION}::test_a_payment_just_made_is_not_counted_as_ours_any_more",),
    ),
    Mutation(
        30,
        "Two readings of a shortfall are apart in time",
        "payments/reconciliation.py",
        "    if reading.began_at - alarm.first_seen >= APART:\n",
        "    if alarm.last_seen > alarm.first_seen:\n",
        (
            f"{RECONCILIATION}::test_owing_more_than_the_nodes_hold_stops_sends_at_the_second_reading",
        ),
    ),
    Mutation(
        31,
        "An alarm that was acknowledged stops nothing again",
        "coinos/killswitch.py",
        "    if alarms.is_seen_to(alarm):\n        return\n",
        "",
        (f"{ALARMS}::test_an_acknowledged_alarm_does_not_come_back",),
    ),
    Mutation(
        32,
        "An alarm that nobody has acknowledged brings the stop file back",
        "payments/reconciliation.py",
        """    for alarm in alarms.stopping():
        killswitch.stop_for(alarm)
""",
        "",
        (f"{ALARMS}::test_an_alarm_that_others_raised_brings_the_file_back_too",),
    ),
    Mutation(
        33,
        "A shortfall that grows stops sends again",
        "coinos/alarms.py",
        "    return grown_msat <= GROWTH_MSAT\n",
        "    return True\n",
        (f"{ALARMS}::test_an_acknowledged_shortfall_stops_again_only_when_it_grows",),
    ),
    Mutation(
        34,
        "A place for the stop file that cannot be looked at stops sends",
        "coinos/killswitch.py",
        "    except OSError:\n        return True\n",
        "    except OSError:\n        return False\n",
        (f"{ALARMS}::test_a_place_that_cannot_be_looked_at_stops_sends",),
    ),
    Mutation(
        35,
        "Where the stop file cannot be written, the alarm stops sends",
        "coinos/killswitch.py",
        "    return _has_file() or heartbeat.sends_are_held()\n",
        "    return _has_file()\n",
        (f"{ALARMS}::test_a_file_that_cannot_be_written_has_the_alarm_in_its_place",),
    ),
    Mutation(
        36,
        "What of a closed channel has reached the wallet is counted there alone",
        "coinos/nodes/cln.py",
        """                left_msat -= arrived_msat.get(channel.text("channel_id"), 0)
""",
        """                left_msat -= 0
""",
        (f"{ADAPTER}::test_what_of_a_close_has_reached_the_wallet_is_not_counted_twice",),
    ),
    Mutation(
        37,
        "What a peer withholds counts for no more than was booked",
        "payments/reconciliation.py",
        "sum(min(incoming_msat[hash], booked_msat[hash]) for hash in booked_msat)",
        "sum(incoming_msat.values())",
        (f"{SOLVENCY}::test_what_a_peer_withholds_counts_for_no_more_than_was_booked",),
    ),
    Mutation(
        38,
        "Sends stop when nobody has compared books and nodes for long",
        "payments/gate.py",
        "    if killswitch.is_stopped() or is_silent(AUDITOR):\n",
        "    if killswitch.is_stopped():\n",
        (f"{RECONCILIATION}::test_sends_stop_when_nobody_has_compared_books_and_nodes_for_long",),
    ),
)
