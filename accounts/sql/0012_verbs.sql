-- One function for each kind of movement, and a cause for each movement. Three guards:
--
-- 1. A kind fixes from which account to which it goes, and in which phase: asked of every row,
--    whoever writes it. A new kind is a new line there.
-- 2. The row that was the reason for a movement is there when it commits, is of that user and of
--    that amount: a trigger of every row, whoever writes it.
-- 3. The application's role may run the functions below that name a kind. Those of
--    0001_ledger.sql that take any are the owner's, who alone can spend `equity` and `suspense`
--    but for a network fee above what was held (fee.overrun), which goes to a node's account.
--
-- The reasons themselves are ordinary rows, which that role writes (docs/security.md).

-- --- 1. What a kind fixes --------------------------------------------------------------------

CREATE FUNCTION ledger_kind_fits(p_kind text, p_phase text, p_debit bigint, p_credit bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_kind
        WHEN 'receive.lightning'          THEN p_debit = 1 AND p_credit >= 1000
        WHEN 'rounding.receive.lightning' THEN p_debit = 1 AND p_credit = 4
        WHEN 'receive.onchain'            THEN p_debit = 2 AND p_credit >= 1000
        WHEN 'receive.unmatched'          THEN p_debit IN (1, 2) AND p_credit = 5
        WHEN 'reverse.onchain'            THEN p_debit >= 1000 AND p_credit = 2
        WHEN 'reverse.onchain.shortfall'  THEN p_debit = 6 AND p_credit = 2
        WHEN 'repay.shortfall'            THEN p_debit >= 1000 AND p_credit = 6
        WHEN 'repay.send.void'            THEN p_debit >= 1000 AND p_credit = 6
        WHEN 'repay.send.post'            THEN p_debit >= 1000 AND p_credit = 6
        WHEN 'repay.send.return'          THEN p_debit >= 1000 AND p_credit = 6
        WHEN 'repay.send.fee.return'      THEN p_debit >= 1000 AND p_credit = 6
        WHEN 'repay.gift.return'          THEN p_debit >= 1000 AND p_credit = 6
        WHEN 'repay.operator.forgive'     THEN p_debit >= 1000 AND p_credit = 6
        WHEN 'internal'                   THEN p_debit >= 1000 AND p_credit >= 1000
        WHEN 'gift.make'                  THEN p_debit >= 1000 AND p_credit = 8
        WHEN 'gift.take'                  THEN p_debit = 8 AND p_credit >= 1000
        WHEN 'gift.return'                THEN p_debit = 8 AND p_credit >= 1000
        WHEN 'send.hold'                  THEN p_debit >= 1000 AND p_credit IN (1, 2)
        WHEN 'send.post'                  THEN p_debit >= 1000 AND p_credit IN (1, 2)
        WHEN 'send.void'                  THEN p_debit >= 1000 AND p_credit IN (1, 2)
        WHEN 'rounding.send.post'         THEN p_debit >= 1000 AND p_credit = 4
        WHEN 'fee.platform'               THEN p_debit >= 1000 AND p_credit = 3
        WHEN 'fee.overrun'                THEN p_debit = 7 AND p_credit IN (1, 2)
        WHEN 'fee.overrun.return'         THEN p_debit IN (1, 2) AND p_credit = 7
        WHEN 'send.return'                THEN p_debit = 2 AND p_credit >= 1000
        WHEN 'send.fee.raise'             THEN p_debit >= 1000 AND p_credit IN (1, 2)
        WHEN 'send.fee.return'            THEN p_debit IN (1, 2) AND p_credit >= 1000
        WHEN 'fee.return'                 THEN p_debit = 3 AND p_credit >= 1000
        WHEN 'operator.credit'            THEN p_debit = 7 AND p_credit >= 1000
        WHEN 'operator.match'             THEN p_debit = 5 AND p_credit >= 1000
        WHEN 'operator.forgive'           THEN p_debit = 7 AND p_credit >= 1000
        WHEN 'operator.pay_out'           THEN p_debit >= 1000 AND p_credit >= 1000
        WHEN 'operator.write_off'         THEN p_debit = 7 AND p_credit IN (1, 2, 3, 4, 5)
        ELSE false
    END AND p_phase = CASE p_kind
        WHEN 'send.hold' THEN 'pending' WHEN 'send.post' THEN 'post' WHEN 'send.void' THEN 'void'
        ELSE 'posted'
    END
$$;

-- A trigger, since a session plans it once; a CHECK is planned anew by each INSERT, which takes as long
-- as the rest of a payment.
CREATE FUNCTION ledger_require_kind() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT ledger_kind_fits(NEW.kind, NEW.phase, NEW.debit_id, NEW.credit_id) THEN
        RAISE EXCEPTION 'no % row of % goes from account % to %',
            NEW.phase, NEW.kind, NEW.debit_id, NEW.credit_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER kind_fixes_the_accounts AFTER INSERT ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_require_kind();

-- --- 2. The cause of a movement --------------------------------------------------------------

-- Run at the COMMIT, since a reason may be written after the movement, in one round trip with it.
-- What is asked stays true for ever, so accounts/books.py can ask it again of every row. The small
-- rows that a function books beside a movement (rounding, fees, repayments) need no more than the
-- movement, and the operator's need the owner's role.
CREATE FUNCTION ledger_require_cause() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE  -- onchain:<txid>:<vout>[:<n>], the n-th credit of these coins
    v_number int := coalesce(nullif(split_part(NEW.external_id, ':', 4), '')::int, 0);
BEGIN
    CASE NEW.kind
    WHEN 'internal' THEN  -- the payer's line
        PERFORM 1 FROM accounts_activity line
            JOIN ledger_account payer ON payer.user_id = line.user_id
            JOIN ledger_account payee ON payee.user_id = line.counterparty_id
            WHERE line.id = NEW.cause_id::uuid AND payer.id = NEW.debit_id
                AND payee.id = NEW.credit_id
                AND (coalesce(line.tip_sat, 0) - line.amount_sat) * 1000 = NEW.amount_msat;
    WHEN 'send.hold' THEN
        PERFORM 1 FROM payments_payment payment JOIN ledger_account account USING (user_id)
            WHERE payment.id = NEW.cause_id::uuid AND payment.hold_id = NEW.id
                AND account.id = NEW.debit_id
                AND (amount_sat + max_fee_sat + platform_fee_sat) * 1000 = NEW.amount_msat
                AND NEW.credit_id = CASE type WHEN 'lightning' THEN 1 ELSE 2 END;
    WHEN 'send.post' THEN  -- at the least what the recipient gets
        PERFORM 1 FROM payments_payment WHERE id = NEW.cause_id::uuid
            AND hold_id = NEW.pending_id AND state NOT IN ('created', 'sending', 'signed')
            AND NEW.amount_msat >= payments_payment.amount_msat;
    WHEN 'send.void' THEN
        PERFORM 1 FROM payments_payment WHERE id = NEW.cause_id::uuid
            AND hold_id = NEW.pending_id AND state = 'failed';
    WHEN 'send.fee.raise', 'send.fee.return' THEN
        PERFORM 1 FROM payments_payment payment JOIN ledger_account account USING (user_id)
            WHERE payment.id = NEW.cause_id::uuid AND account.id IN (NEW.debit_id, NEW.credit_id)
                AND state NOT IN ('created', 'sending', 'signed');
    WHEN 'send.return' THEN
        PERFORM 1 FROM payments_payment payment JOIN ledger_account account USING (user_id)
            WHERE payment.id = NEW.cause_id::uuid AND state = 'failed' AND type = 'bitcoin'
                AND account.id = NEW.credit_id;
    WHEN 'receive.lightning' THEN
        PERFORM 1 FROM invoices_lightningrequest request
            JOIN invoices_invoice invoice ON invoice.id = request.invoice_id
            JOIN ledger_account account ON account.user_id = invoice.user_id
            WHERE request.payment_hash = substr(NEW.external_id, length('lightning:') + 1)
                AND invoice.id = NEW.cause_id::uuid AND account.id = NEW.credit_id
                AND received_msat - received_msat % 1000 = NEW.amount_msat;
    WHEN 'receive.onchain' THEN
        PERFORM 1 FROM invoices_deposit deposit
            JOIN invoices_address address ON address.address = deposit.address_id
            JOIN invoices_invoice invoice ON invoice.id = address.invoice_id
            JOIN ledger_account account ON account.user_id = invoice.user_id
            WHERE deposit.id = NEW.cause_id::uuid AND account.id = NEW.credit_id
                AND deposit.amount_sat * 1000 = NEW.amount_msat
                AND starts_with(NEW.external_id, 'onchain:' || deposit.txid || ':' || deposit.vout)
                AND deposit.sequence > v_number;
    WHEN 'reverse.onchain', 'reverse.onchain.shortfall' THEN
        PERFORM 1 FROM invoices_deposit deposit
            WHERE id = NEW.cause_id::uuid
                AND starts_with(NEW.external_id, 'onchain:' || deposit.txid || ':' || deposit.vout)
                AND (deposit.sequence > v_number + 1 OR state <> 'credited');
    WHEN 'gift.make', 'gift.return' THEN
        PERFORM 1 FROM payments_gift gift JOIN ledger_account account ON account.user_id = giver_id
            WHERE gift.id = NEW.cause_id::uuid AND NEW.external_id = 'gift:' || gift.id
                AND account.id IN (NEW.debit_id, NEW.credit_id)
                AND gift.amount_sat * 1000 = NEW.amount_msat
                AND (NEW.kind = 'gift.make' OR state = 'returned');
    WHEN 'gift.take' THEN
        PERFORM 1 FROM payments_gift gift JOIN ledger_account account ON account.user_id = taker_id
            WHERE gift.id = NEW.cause_id::uuid AND NEW.external_id = 'gift:' || gift.id
                AND account.id = NEW.credit_id AND state = 'taken';
    END CASE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'transfer % (% %) has no cause: % %',
            NEW.id, NEW.kind, NEW.external_id, NEW.cause_kind, NEW.cause_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transfer_has_a_cause AFTER INSERT ON ledger_transfer
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.kind IN ('internal', 'send.hold', 'send.post', 'send.void', 'send.return',
        'send.fee.raise', 'send.fee.return',
        'receive.lightning', 'receive.onchain', 'reverse.onchain', 'reverse.onchain.shortfall',
        'gift.make', 'gift.take', 'gift.return'))
    EXECUTE FUNCTION ledger_require_cause();

-- --- 3. The verbs ----------------------------------------------------------------------------

CREATE FUNCTION ledger_account_of(p_user uuid) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT id FROM ledger_account WHERE user_id = p_user
$$;

-- Many receipts at once, each as ledger_receive_each says: the msat credited, NULL when it was
-- booked before.
CREATE FUNCTION ledger_receive_lightning(
    p_users uuid[], p_amounts_msat bigint[], p_payment_hashes text[], p_invoices text[]
) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_receive_each(1, p_users, p_amounts_msat, 'receive.lightning',
        ARRAY(SELECT 'lightning:' || hash FROM unnest(p_payment_hashes) WITH ORDINALITY AS each (hash, n)
              ORDER BY n),
        array_fill('invoice'::text, ARRAY[cardinality(p_invoices)]), p_invoices)
$$;

CREATE FUNCTION ledger_receive_onchain(
    p_users uuid[], p_amounts_msat bigint[], p_outpoints text[], p_deposits text[]
) RETURNS SETOF bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_receive_each(2, p_users, p_amounts_msat, 'receive.onchain',
        ARRAY(SELECT 'onchain:' || outpoint
              FROM unnest(p_outpoints) WITH ORDINALITY AS each (outpoint, n) ORDER BY n),
        array_fill('deposit'::text, ARRAY[cardinality(p_deposits)]), p_deposits)
$$;

CREATE FUNCTION ledger_reverse_onchain(
    p_user uuid, p_amount_msat bigint, p_outpoint text, p_deposit text
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_reverse(ledger_account_of(p_user), 2, p_amount_msat, 'reverse.onchain',
                          'onchain:' || p_outpoint, 'deposit', p_deposit)
$$;

-- Coins whose credit was reversed have confirmed again and are credited again: repay what bad_debt
-- bore of that very credit, as far as it is still owed.
DROP FUNCTION ledger_repay_shortfall;
CREATE FUNCTION ledger_repay_shortfall(p_user uuid, p_outpoint text, p_deposit text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_account bigint;
BEGIN
    SELECT id INTO v_account FROM ledger_account WHERE user_id = p_user FOR NO KEY UPDATE;
    PERFORM ledger_repay(v_account, borne.amount_msat, 'shortfall', borne.external_id,
                         'deposit', p_deposit)
        FROM ledger_transfer borne JOIN ledger_transfer credit
            ON credit.kind = 'receive.onchain' AND credit.external_id = borne.external_id
        WHERE borne.kind = 'reverse.onchain.shortfall'
            AND borne.external_id = 'onchain:' || p_outpoint AND credit.credit_id = v_account;
END $$;

-- Money that arrived and matches nobody. Only the node knows of most of it; what a payee did not
-- take of a payment is less than the payment.
CREATE FUNCTION ledger_receive_unmatched(
    p_from bigint, p_amount_msat bigint, p_external_id text, p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM 1 WHERE p_cause_kind = 'receipt' AND starts_with(p_external_id, 'lightning:')
        OR p_cause_kind = 'deposit' AND starts_with(p_external_id, 'onchain:')
        OR p_cause_kind = 'payment' AND p_external_id = 'unclaimed:' || p_cause_id AND EXISTS (
            SELECT FROM payments_payment
                WHERE id::text = p_cause_id AND type = 'lightning' AND amount_msat > p_amount_msat);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nothing unmatched: % of % %', p_external_id, p_cause_kind, p_cause_id
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN ledger_post(p_from, 5, p_amount_msat, 'receive.unmatched', p_external_id,
                       p_cause_kind, p_cause_id);
END $$;

-- The external id is that of the payment, or of the invoice, which is paid once inside.
CREATE FUNCTION ledger_move_internal(
    p_from uuid, p_to uuid, p_amount_msat bigint, p_external_id text, p_payment text
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_post(ledger_account_of(p_from), ledger_account_of(p_to), p_amount_msat,
                       'internal', p_external_id, 'payment', p_payment)
$$;

CREATE FUNCTION ledger_make_gift(p_giver uuid, p_amount_msat bigint, p_gift uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_post(ledger_account_of(p_giver), 8, p_amount_msat, 'gift.make',
                       'gift:' || p_gift, 'gift', p_gift::text)
$$;

CREATE FUNCTION ledger_take_gift(p_taker uuid, p_amount_msat bigint, p_gift uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_post(8, ledger_account_of(p_taker), p_amount_msat, 'gift.take',
                       'gift:' || p_gift, 'gift', p_gift::text)
$$;

-- A gift that nobody took goes back to its giver. Returns whether it was booked now.
DROP FUNCTION ledger_return_gift;
CREATE FUNCTION ledger_return_gift(p_giver uuid, p_amount_msat bigint, p_gift uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_account bigint := ledger_account_of(p_giver);
    v_external_id text := 'gift:' || p_gift;
BEGIN
    IF ledger_post(8, v_account, p_amount_msat, 'gift.return', v_external_id,
                   'gift', p_gift::text) IS NULL
    THEN
        RETURN false;
    END IF;
    PERFORM ledger_repay(v_account, p_amount_msat, 'gift.return', v_external_id,
                         'gift', p_gift::text);
    RETURN true;
END $$;

CREATE FUNCTION ledger_hold_payment(
    p_user uuid, p_through bigint, p_amount_msat bigint, p_payment uuid
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_hold(ledger_account_of(p_user), p_through, p_amount_msat, 'send.hold',
                       'send:' || p_payment, 'payment', p_payment::text)
$$;

CREATE FUNCTION ledger_settle_payment(
    p_hold bigint, p_spent_msat bigint, p_platform_fee_msat bigint, p_payment uuid
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_settle(p_hold, p_spent_msat, p_platform_fee_msat, 'send.post',
                         'send:' || p_payment, 'payment', p_payment::text)
$$;

CREATE FUNCTION ledger_release_payment(p_hold bigint, p_payment uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ledger_void(p_hold, 'send.void', 'send:' || p_payment, 'payment', p_payment::text)
$$;

-- A settled withdrawal whose coins are spent otherwise for good: amount and network fee from the
-- wallet that still has them, the platform fee from the house, and no more than it took. Returns
-- whether it was booked now.
DROP FUNCTION ledger_return_withdrawal;
CREATE FUNCTION ledger_return_withdrawal(
    p_user uuid, p_spent_msat bigint, p_platform_fee_msat bigint, p_payment uuid
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_account bigint := ledger_account_of(p_user);
    v_spent bigint;
    v_fee bigint;
    v_external_id text := 'send:' || p_payment;
BEGIN
    SELECT sum(CASE WHEN debit_id = v_account THEN amount_msat ELSE -amount_msat END)
                FILTER (WHERE kind IN ('send.post', 'send.fee.raise', 'send.fee.return')),
            coalesce(sum(amount_msat) FILTER (WHERE kind = 'fee.platform'), 0)
        INTO v_spent, v_fee FROM ledger_transfer
        WHERE cause_kind = 'payment' AND cause_id = p_payment::text
            AND (kind IN ('send.post', 'send.fee.raise') AND credit_id = 2 AND debit_id = v_account
                OR kind = 'send.fee.return' AND credit_id = v_account
                OR kind = 'fee.platform' AND debit_id = v_account);
    IF v_spent IS NULL OR p_spent_msat > v_spent OR p_platform_fee_msat > v_fee THEN
        RAISE EXCEPTION 'payment % took % msat and a fee of %, not % and %', p_payment,
            coalesce(v_spent, 0), v_fee, p_spent_msat, p_platform_fee_msat
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    IF ledger_post(2, v_account, p_spent_msat, 'send.return', v_external_id,
                   'payment', p_payment::text) IS NULL
    THEN
        RETURN false;
    END IF;
    IF p_platform_fee_msat > 0 THEN
        PERFORM ledger_post(3, v_account, p_platform_fee_msat, 'fee.return', v_external_id,
                            'payment', p_payment::text);
    END IF;
    PERFORM ledger_repay(v_account, p_spent_msat + p_platform_fee_msat, 'send.return',
                         v_external_id, 'payment', p_payment::text);
    RETURN true;
END $$;

-- The owner's alone: no more than arrived for nobody.
CREATE FUNCTION ledger_credit_from_suspense(
    p_user uuid, p_amount_msat bigint, p_external_id text, p_reason text
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_id bigint;
    v_left bigint;
BEGIN
    PERFORM 1 FROM ledger_account WHERE id = 5 FOR UPDATE;  -- one operator at a time
    v_id := ledger_post(5, ledger_account_of(p_user), p_amount_msat, 'operator.match',
                        p_external_id, 'operator', p_reason);
    SELECT sum(CASE WHEN credit_id = 5 THEN amount_msat ELSE -amount_msat END) INTO v_left
        FROM ledger_transfer WHERE 5 IN (debit_id, credit_id);
    IF v_left < 0 THEN
        RAISE EXCEPTION '% msat more than arrived for nobody', -v_left
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN v_id;
END $$;

-- --- Who may run what ------------------------------------------------------------------------

REVOKE ALL ON FUNCTION ledger_kind_fits, ledger_require_kind, ledger_require_cause, ledger_account_of,
    ledger_receive_lightning, ledger_receive_onchain, ledger_reverse_onchain,
    ledger_repay_shortfall, ledger_receive_unmatched, ledger_move_internal, ledger_make_gift,
    ledger_take_gift, ledger_return_gift, ledger_hold_payment, ledger_settle_payment,
    ledger_release_payment, ledger_return_withdrawal, ledger_credit_from_suspense FROM PUBLIC;
