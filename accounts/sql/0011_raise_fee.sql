-- Let the user pay more for a settled payment: another version of its transaction, with a higher
-- fee, goes out instead. p_spent_msat is amount plus exact network fee from now on.
--
-- Returns the msat that the user paid for the difference to what was booked; 0 when that is enough.
-- Raises CO001 when the user has not so much, CO002 when the payment is not settled, or was returned.
CREATE FUNCTION ledger_raise_fee(p_hold bigint, p_spent_msat bigint) RETURNS bigint
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
    -- Each change adds a row, so no two have the same number.
    IF ledger_post(v_hold.debit_id, v_hold.credit_id, v_more, 'send.fee.raise',
                   v_hold.external_id || ':' || v_rows, v_hold.cause_kind, v_hold.cause_id) IS NULL
    THEN
        RAISE EXCEPTION 'hold %: this change is booked already', p_hold USING ERRCODE = 'CO002';
    END IF;
    RETURN v_more;
END $$;
REVOKE ALL ON FUNCTION ledger_raise_fee FROM PUBLIC;
