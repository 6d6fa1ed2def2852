-- What a settled payment took in the end is what one row says: the version of the withdrawal that
-- counts now, or, when the payment comes back, what its user was charged for. Both functions changed
-- the fee to whatever they were told, so nearly all of a settled payment could be returned.

CREATE FUNCTION ledger_require_spent(p_hold ledger_transfer, p_spent_msat bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM payments_payment payment
        LEFT JOIN payments_withdrawaltransaction version USING (txid)
        WHERE payment.id = p_hold.cause_id::uuid AND payment.hold_id = p_hold.id
            AND p_spent_msat IN ((amount_sat + payment.fee_sat) * 1000,
                                 (amount_sat + version.fee_sat) * 1000);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no version of % % took % msat',
            p_hold.cause_kind, p_hold.cause_id, p_spent_msat
            USING ERRCODE = 'foreign_key_violation';
    END IF;
END $$;
REVOKE ALL ON FUNCTION ledger_require_spent FROM PUBLIC;

-- As in 0008_correct_payment.sql, but for the second check.
CREATE OR REPLACE FUNCTION ledger_correct_payment(p_hold bigint, p_spent_msat bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_hold ledger_transfer;
    v_booked bigint;
    v_borne bigint;
    v_rows bigint;
    v_less bigint;
    v_external_id text;
BEGIN
    SELECT * INTO STRICT v_hold FROM ledger_transfer WHERE id = p_hold AND phase = 'pending';
    PERFORM 1 FROM ledger_account WHERE id = v_hold.debit_id FOR NO KEY UPDATE;
    SELECT coalesce(sum(CASE WHEN credit_id = v_hold.credit_id THEN amount_msat
                             ELSE -amount_msat END), 0),
           coalesce(sum(CASE WHEN debit_id = 7 THEN amount_msat
                             WHEN credit_id = 7 THEN -amount_msat END), 0),
           count(*)
        INTO v_booked, v_borne, v_rows
        FROM ledger_transfer
        WHERE cause_kind = v_hold.cause_kind AND cause_id = v_hold.cause_id
            AND v_hold.credit_id IN (debit_id, credit_id) AND phase IN ('posted', 'post');
    IF v_booked <= 0 OR p_spent_msat <= 0 THEN
        RAISE EXCEPTION 'hold % has % msat booked, not to be corrected to %',
            p_hold, v_booked, p_spent_msat USING ERRCODE = 'CO002';
    END IF;
    PERFORM ledger_require_spent(v_hold, p_spent_msat);
    -- Each correction adds a row, so no two have the same number.
    v_external_id := v_hold.external_id || ':' || v_rows;
    IF p_spent_msat > v_booked THEN
        PERFORM ledger_post(7, v_hold.credit_id, p_spent_msat - v_booked, 'fee.overrun',
                            v_external_id, v_hold.cause_kind, v_hold.cause_id);
        RETURN 0;
    END IF;
    v_less := v_booked - p_spent_msat;
    IF LEAST(v_less, v_borne) > 0 THEN
        PERFORM ledger_post(v_hold.credit_id, 7, LEAST(v_less, v_borne), 'fee.overrun.return',
                            v_external_id, v_hold.cause_kind, v_hold.cause_id);
    END IF;
    v_less := v_less - LEAST(v_less, v_borne);
    IF v_less > 0 THEN
        PERFORM ledger_post(v_hold.credit_id, v_hold.debit_id, v_less, 'send.fee.return',
                            v_external_id, v_hold.cause_kind, v_hold.cause_id);
        PERFORM ledger_repay(v_hold.debit_id, v_less, 'send.fee.return', v_external_id,
                             v_hold.cause_kind, v_hold.cause_id);
    END IF;
    RETURN v_less;
END $$;

-- As in 0011_raise_fee.sql, but for the check before the row.
CREATE OR REPLACE FUNCTION ledger_raise_fee(p_hold bigint, p_spent_msat bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_hold ledger_transfer;
    v_booked bigint;
    v_rows bigint;
    v_more bigint;
BEGIN
    SELECT * INTO STRICT v_hold FROM ledger_transfer WHERE id = p_hold AND phase = 'pending';
    PERFORM 1 FROM ledger_account WHERE id = v_hold.debit_id FOR NO KEY UPDATE;
    SELECT coalesce(sum(CASE WHEN credit_id = v_hold.credit_id THEN amount_msat
                             ELSE -amount_msat END), 0),
           count(*)
        INTO v_booked, v_rows
        FROM ledger_transfer
        WHERE cause_kind = v_hold.cause_kind AND cause_id = v_hold.cause_id
            AND v_hold.credit_id IN (debit_id, credit_id) AND phase IN ('posted', 'post');
    IF v_booked <= 0 THEN
        RAISE EXCEPTION 'hold % has % msat booked: its fee cannot be raised', p_hold, v_booked
            USING ERRCODE = 'CO002';
    END IF;
    v_more := p_spent_msat - v_booked;
    IF v_more <= 0 THEN
        RETURN 0;
    END IF;
    PERFORM ledger_require_spent(v_hold, p_spent_msat);
    -- Each change adds a row, so no two have the same number.
    IF ledger_post(v_hold.debit_id, v_hold.credit_id, v_more, 'send.fee.raise',
                   v_hold.external_id || ':' || v_rows, v_hold.cause_kind, v_hold.cause_id) IS NULL
    THEN
        RAISE EXCEPTION 'hold %: this change is booked already', p_hold USING ERRCODE = 'CO002';
    END IF;
    RETURN v_more;
END $$;
