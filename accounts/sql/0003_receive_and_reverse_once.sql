-- Two functions of 0001_ledger.sql that trusted their caller too far; found by the ledger's model.
--
-- ledger_receive: an external id that comes again with another amount books nothing more, not even
-- the remainder, and an amount that is not positive is refused.
-- ledger_reverse: only what was credited can be taken back.

CREATE OR REPLACE FUNCTION ledger_receive(
    p_from bigint, p_user_account bigint, p_amount_msat bigint, p_kind text, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_remainder bigint := p_amount_msat % 1000;
    v_whole bigint := p_amount_msat - v_remainder;
BEGIN
    IF p_amount_msat <= 0 THEN
        RAISE EXCEPTION 'received % msat', p_amount_msat USING ERRCODE = 'check_violation';
    END IF;
    -- A receipt leaves one row or two; whichever there is says that it was booked. The lock makes
    -- a second caller wait here until the first one's rows are there to be seen.
    PERFORM 1 FROM ledger_account WHERE id = p_user_account FOR NO KEY UPDATE;
    PERFORM 1 FROM ledger_transfer
        WHERE kind IN (p_kind, 'rounding.' || p_kind) AND external_id = p_external_id;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    IF v_remainder > 0 AND ledger_post(
        p_from, 4, v_remainder, 'rounding.' || p_kind, p_external_id, p_cause_kind, p_cause_id) IS NULL
    THEN
        RETURN NULL;
    END IF;
    IF v_whole > 0 AND ledger_post(
        p_from, p_user_account, v_whole, p_kind, p_external_id, p_cause_kind, p_cause_id) IS NULL
    THEN
        RETURN NULL;
    END IF;
    RETURN v_whole;
END $$;

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
    END IF;
    RETURN p_amount_msat - v_from_user;
END $$;
