-- Debts: what bad_debt has borne for a user and he has not given back.
--
-- A reversal takes what the user has; bad_debt bears the rest, and he owes that (ledger_reverse).
-- Much of it was never spent: it was held, on its way, or set aside. Whatever of that becomes his
-- again goes to bad_debt first, in the same transaction: a hold that is released or settled for
-- less, a withdrawal that comes back, a gift that nobody took. So do the coins themselves when they
-- confirm after all. Never more than is owed. What others pay him is no part of it.

ALTER TABLE ledger_account
    ADD COLUMN owed_msat bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT owed_is_not_negative CHECK (owed_msat >= 0),
    ADD CONSTRAINT owed_in_whole_sats CHECK (owed_msat % 1000 = 0),
    ADD CONSTRAINT house_owes_nothing CHECK (name IS NULL OR owed_msat = 0);

-- What each user owes by the books: what bad_debt bore of his credits, without what he has repaid.
CREATE VIEW ledger_debt AS
    SELECT account_id, sum(msat)::bigint AS msat FROM (
        SELECT credit.credit_id AS account_id, borne.amount_msat AS msat
            FROM ledger_transfer borne JOIN ledger_transfer credit
                ON credit.kind = 'receive.onchain' AND credit.external_id = borne.external_id
            WHERE borne.kind = 'reverse.onchain.shortfall'
        UNION ALL
        SELECT debit_id, -amount_msat FROM ledger_transfer WHERE kind LIKE 'repay.%'
    ) AS moved GROUP BY account_id;

UPDATE ledger_account SET owed_msat = msat FROM ledger_debt WHERE id = account_id AND msat > 0;

-- Give bad_debt back what the user owes, out of p_most_msat that have just become his. The caller
-- holds the account's lock. `p_kind` is the movement that freed them.
CREATE FUNCTION ledger_repay(
    p_account bigint, p_most_msat bigint, p_kind text, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_msat bigint;
BEGIN
    SELECT LEAST(owed_msat, posted_msat - held_msat, p_most_msat) INTO v_msat
        FROM ledger_account WHERE id = p_account;
    IF v_msat > 0 AND ledger_post(p_account, 6, v_msat, 'repay.' || p_kind, p_external_id,
                                  p_cause_kind, p_cause_id) IS NOT NULL
    THEN
        UPDATE ledger_account SET owed_msat = owed_msat - v_msat WHERE id = p_account;
    END IF;
END $$;
REVOKE ALL ON FUNCTION ledger_repay FROM PUBLIC;

-- Resolve a hold by what was really paid: p_spent_msat (amount plus exact network fee) goes where
-- the hold pointed, the platform fee to the house, and the remainder to a whole sat to rounding.
-- Whatever the network took beyond the hold is paid by equity as a fee.overrun row: settlement
-- never fails. Returns the user's total debit in msat, or NULL when the hold was resolved before.
CREATE OR REPLACE FUNCTION ledger_settle(
    p_hold bigint, p_spent_msat bigint, p_platform_fee_msat bigint,
    p_kind text, p_external_id text, p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_hold ledger_transfer;
    v_post bigint;
    v_rounding bigint;
    v_overrun bigint;
    v_total bigint;
    v_owed bigint;
BEGIN
    SELECT * INTO STRICT v_hold FROM ledger_transfer WHERE id = p_hold AND phase = 'pending';
    PERFORM 1 FROM ledger_account WHERE id = v_hold.debit_id FOR NO KEY UPDATE;
    v_post := LEAST(p_spent_msat, v_hold.amount_msat - p_platform_fee_msat);
    v_overrun := p_spent_msat - v_post;
    v_rounding := (1000 - v_post % 1000) % 1000;
    v_total := v_post + v_rounding + p_platform_fee_msat;
    IF p_platform_fee_msat < 0 OR v_total > v_hold.amount_msat THEN
        RAISE EXCEPTION 'settling % of a hold of %', v_total, v_hold.amount_msat USING ERRCODE = 'CO002';
    END IF;

    INSERT INTO ledger_transfer
        (debit_id, credit_id, amount_msat, kind, external_id, phase, pending_id, pending_amount_msat,
         cause_kind, cause_id)
    VALUES (v_hold.debit_id, v_hold.credit_id, v_post, p_kind, p_external_id, 'post', v_hold.id,
            v_hold.amount_msat, p_cause_kind, p_cause_id)
    ON CONFLICT (pending_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF v_rounding > 0 THEN
        INSERT INTO ledger_transfer
            (debit_id, credit_id, amount_msat, kind, external_id, phase, cause_kind, cause_id)
        VALUES (v_hold.debit_id, 4, v_rounding, 'rounding.' || p_kind, p_external_id, 'posted',
                p_cause_kind, p_cause_id);
    END IF;
    IF p_platform_fee_msat > 0 THEN
        INSERT INTO ledger_transfer
            (debit_id, credit_id, amount_msat, kind, external_id, phase, cause_kind, cause_id)
        VALUES (v_hold.debit_id, 3, p_platform_fee_msat, 'fee.platform', p_external_id, 'posted',
                p_cause_kind, p_cause_id);
    END IF;
    IF v_overrun > 0 THEN
        INSERT INTO ledger_transfer
            (debit_id, credit_id, amount_msat, kind, external_id, phase, cause_kind, cause_id)
        VALUES (7, v_hold.credit_id, v_overrun, 'fee.overrun', p_external_id, 'posted',
                p_cause_kind, p_cause_id);
    END IF;
    UPDATE ledger_account
        SET held_msat = held_msat - v_hold.amount_msat, posted_msat = posted_msat - v_total
        WHERE id = v_hold.debit_id RETURNING owed_msat INTO v_owed;
    IF v_owed > 0 THEN
        PERFORM ledger_repay(v_hold.debit_id, v_hold.amount_msat - v_total, p_kind, p_external_id,
                             p_cause_kind, p_cause_id);
    END IF;
    RETURN v_total;
END $$;

-- Give a hold back in full. Returns the msat released, or NULL when the hold was resolved before.
CREATE OR REPLACE FUNCTION ledger_void(
    p_hold bigint, p_kind text, p_external_id text, p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_hold ledger_transfer;
    v_owed bigint;
BEGIN
    SELECT * INTO STRICT v_hold FROM ledger_transfer WHERE id = p_hold AND phase = 'pending';
    PERFORM 1 FROM ledger_account WHERE id = v_hold.debit_id FOR NO KEY UPDATE;
    INSERT INTO ledger_transfer
        (debit_id, credit_id, amount_msat, kind, external_id, phase, pending_id, pending_amount_msat,
         cause_kind, cause_id)
    VALUES (v_hold.debit_id, v_hold.credit_id, v_hold.amount_msat, p_kind, p_external_id, 'void',
            v_hold.id, v_hold.amount_msat, p_cause_kind, p_cause_id)
    ON CONFLICT (pending_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE ledger_account SET held_msat = held_msat - v_hold.amount_msat
        WHERE id = v_hold.debit_id RETURNING owed_msat INTO v_owed;
    IF v_owed > 0 THEN
        PERFORM ledger_repay(v_hold.debit_id, v_hold.amount_msat, p_kind, p_external_id,
                             p_cause_kind, p_cause_id);
    END IF;
    RETURN v_hold.amount_msat;
END $$;

-- Take back a credit that turned out not to exist (a reorganised deposit). The user pays what is
-- available; bad_debt covers the rest, and the user owes it. Returns the shortfall in msat, or NULL when booked before.
-- Only what was credited can be taken back.
CREATE OR REPLACE FUNCTION ledger_reverse(
    p_user_account bigint, p_to bigint, p_amount_msat bigint, p_kind text, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_from_user bigint;
BEGIN
    SELECT LEAST(posted_msat - held_msat, p_amount_msat) INTO v_from_user
        FROM ledger_account WHERE id = p_user_account FOR NO KEY UPDATE;
    PERFORM 1 FROM ledger_transfer
        WHERE kind = replace(p_kind, 'reverse.', 'receive.') AND external_id = p_external_id
            AND credit_id = p_user_account AND debit_id = p_to AND amount_msat = p_amount_msat;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no credit % of % msat', p_external_id, p_amount_msat
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    PERFORM 1 FROM ledger_transfer
        WHERE kind IN (p_kind, p_kind || '.shortfall') AND external_id = p_external_id;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    IF v_from_user > 0 THEN
        PERFORM ledger_post(p_user_account, p_to, v_from_user, p_kind, p_external_id,
                            p_cause_kind, p_cause_id);
    END IF;
    IF v_from_user < p_amount_msat THEN
        PERFORM ledger_post(6, p_to, p_amount_msat - v_from_user, p_kind || '.shortfall',
                            p_external_id, p_cause_kind, p_cause_id);
        UPDATE ledger_account SET owed_msat = owed_msat + p_amount_msat - v_from_user
            WHERE id = p_user_account;
    END IF;
    RETURN p_amount_msat - v_from_user;
END $$;

-- Coins whose credit was reversed have confirmed again and are credited again: repay what bad_debt
-- bore of that very credit, as far as it is still owed.
CREATE FUNCTION ledger_repay_shortfall(
    p_user_account bigint, p_external_id text, p_cause_kind text, p_cause_id text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM ledger_account WHERE id = p_user_account FOR NO KEY UPDATE;
    PERFORM ledger_repay(p_user_account, borne.amount_msat, 'shortfall', p_external_id,
                         p_cause_kind, p_cause_id)
        FROM ledger_transfer borne JOIN ledger_transfer credit
            ON credit.kind = 'receive.onchain' AND credit.external_id = borne.external_id
        WHERE borne.kind = 'reverse.onchain.shortfall' AND borne.external_id = p_external_id
            AND credit.credit_id = p_user_account;
END $$;
REVOKE ALL ON FUNCTION ledger_repay_shortfall FROM PUBLIC;

-- Give a settled withdrawal back whose coins are spent otherwise for good: amount and network fee
-- from the wallet that still has them, the platform fee from the house. Returns whether it was
-- booked now.
CREATE FUNCTION ledger_return_withdrawal(
    p_user_account bigint, p_spent_msat bigint, p_platform_fee_msat bigint, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF ledger_post(2, p_user_account, p_spent_msat, 'send.return', p_external_id,
                   p_cause_kind, p_cause_id) IS NULL
    THEN
        RETURN false;
    END IF;
    IF p_platform_fee_msat > 0 THEN
        PERFORM ledger_post(3, p_user_account, p_platform_fee_msat, 'fee.return', p_external_id,
                            p_cause_kind, p_cause_id);
    END IF;
    PERFORM ledger_repay(p_user_account, p_spent_msat + p_platform_fee_msat, 'send.return',
                         p_external_id, p_cause_kind, p_cause_id);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION ledger_return_withdrawal FROM PUBLIC;

-- Give the giver a gift back that nobody took. Returns whether it was booked now.
CREATE FUNCTION ledger_return_gift(
    p_user_account bigint, p_amount_msat bigint, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF ledger_post(8, p_user_account, p_amount_msat, 'gift.return', p_external_id,
                   p_cause_kind, p_cause_id) IS NULL
    THEN
        RETURN false;
    END IF;
    PERFORM ledger_repay(p_user_account, p_amount_msat, 'gift.return', p_external_id,
                         p_cause_kind, p_cause_id);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION ledger_return_gift FROM PUBLIC;

-- Let the operator's own money bear what a user owes, or a part of it: he is given it, and repays
-- with it. Returns whether it was booked now. The owner's alone.
CREATE FUNCTION ledger_forgive(
    p_user_account bigint, p_amount_msat bigint, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_owed bigint;
BEGIN
    SELECT owed_msat INTO v_owed FROM ledger_account WHERE id = p_user_account FOR NO KEY UPDATE;
    IF ledger_post(7, p_user_account, p_amount_msat, 'operator.forgive', p_external_id,
                   p_cause_kind, p_cause_id) IS NULL
    THEN
        RETURN false;
    END IF;
    IF p_amount_msat > v_owed THEN
        RAISE EXCEPTION 'forgiving % of a debt of %', p_amount_msat, v_owed
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM ledger_repay(p_user_account, p_amount_msat, 'operator.forgive', p_external_id,
                         p_cause_kind, p_cause_id);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION ledger_forgive FROM PUBLIC;
