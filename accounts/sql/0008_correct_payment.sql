-- Correct a settled payment: what went out in the end is not what was booked, since another version
-- of its transaction was mined. p_spent_msat is amount plus exact network fee.
--
-- Nobody is debited again: for more than was booked equity pays, as for any fee above its hold.
-- Of less, equity has back first what it bore of this payment, then the user the rest, which this
-- returns in msat. Raises when the payment is not settled, or was returned.
CREATE FUNCTION ledger_correct_payment(p_hold bigint, p_spent_msat bigint) RETURNS bigint
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
REVOKE ALL ON FUNCTION ledger_correct_payment FROM PUBLIC;
