-- Gifts: what a user has set aside for whoever opens a link, until somebody takes it or it returns.
--
-- The money stands on account 8 meanwhile and is still owed. Whatever leaves that account answers
-- to one gift that was made, whole and once: taking and returning share the index below (M20).

INSERT INTO ledger_account (id, name) VALUES (8, 'gifts');

CREATE UNIQUE INDEX gift_resolved_once ON ledger_transfer (external_id) WHERE debit_id = 8;

CREATE FUNCTION ledger_check_gift() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM ledger_transfer
        WHERE kind = 'gift.make' AND external_id = NEW.external_id AND phase = 'posted'
            AND credit_id = 8 AND amount_msat = NEW.amount_msat AND NEW.phase = 'posted'
            AND (NEW.kind = 'gift.take' OR NEW.kind = 'gift.return' AND debit_id = NEW.credit_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no gift % of % msat', NEW.external_id, NEW.amount_msat
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER gift_was_made BEFORE INSERT ON ledger_transfer
    FOR EACH ROW WHEN (NEW.debit_id = 8) EXECUTE FUNCTION ledger_check_gift();
