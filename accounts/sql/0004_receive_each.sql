-- Book many receipts in one call: ledger_receive for each of them, in order. Returns a row for each,
-- as ledger_receive does: the msat credited, or NULL when it was booked before, be it in this call.
-- One receipt that cannot be booked raises and undoes all of them.
CREATE FUNCTION ledger_receive_each(
    p_from bigint, p_users uuid[], p_amounts_msat bigint[], p_kind text, p_external_ids text[],
    p_cause_kinds text[], p_cause_ids text[]
) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- User rows are locked in id order, before anything else, so that batches cannot deadlock.
    PERFORM 1 FROM ledger_account WHERE user_id = ANY (p_users) ORDER BY id FOR NO KEY UPDATE;
    FOR n IN 1 .. cardinality(p_users) LOOP
        RETURN NEXT ledger_receive(
            p_from, (SELECT id FROM ledger_account WHERE user_id = p_users[n]), p_amounts_msat[n],
            p_kind, p_external_ids[n], p_cause_kinds[n], p_cause_ids[n]);
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION ledger_receive_each FROM PUBLIC;
