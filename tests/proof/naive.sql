-- The ledger as one writes it on a Friday: it reads, thinks, and writes. No lock, no unique
-- external id, no CHECK. Only the proof installs this, in a database of its own.

ALTER TABLE ledger_account DROP CONSTRAINT available_is_not_negative;
ALTER TABLE ledger_transfer DROP CONSTRAINT credited_once;

CREATE OR REPLACE FUNCTION ledger_post(
    p_debit bigint, p_credit bigint, p_amount_msat bigint, p_kind text, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    IF p_debit >= 1000 THEN
        PERFORM ledger_require(p_debit, p_amount_msat);
        PERFORM pg_sleep(0.05);
    END IF;
    INSERT INTO ledger_transfer
        (debit_id, credit_id, amount_msat, kind, external_id, phase, cause_kind, cause_id)
    VALUES (p_debit, p_credit, p_amount_msat, p_kind, p_external_id, 'posted', p_cause_kind, p_cause_id)
    RETURNING id INTO v_id;
    UPDATE ledger_account
        SET posted_msat = posted_msat + CASE WHEN id = p_credit THEN p_amount_msat ELSE -p_amount_msat END
        WHERE id IN (p_debit, p_credit) AND id >= 1000;
    RETURN v_id;
END $$;

CREATE OR REPLACE FUNCTION ledger_receive(
    p_from bigint, p_user_account bigint, p_amount_msat bigint, p_kind text, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_whole bigint := p_amount_msat - p_amount_msat % 1000;
BEGIN
    PERFORM ledger_post(p_from, p_user_account, v_whole, p_kind, p_external_id, p_cause_kind, p_cause_id);
    RETURN v_whole;
END $$;
