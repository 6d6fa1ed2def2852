-- What operators asked for is kept as they asked for it. An act is approved once, and nothing of it
-- changes after it was carried out or dropped. This file is never edited once released.
CREATE FUNCTION operator_act_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.approved_by_id IS NOT NULL OR NEW.carried_out_at IS NOT NULL
            OR NEW.dropped_at IS NOT NULL THEN
            RAISE EXCEPTION 'an act begins with being asked for' USING ERRCODE = 'CO003';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.carried_out_at IS NOT NULL OR OLD.dropped_at IS NOT NULL THEN
        RAISE EXCEPTION 'act % has been carried out or dropped', OLD.id USING ERRCODE = 'CO003';
    END IF;
    IF (OLD.id, OLD.verb, OLD.arguments, OLD.about, OLD.user_id, OLD.amount_sat, OLD.reason,
            OLD.needs_approval, OLD.asked_by_id, OLD.asked_as, OLD.created)
        IS DISTINCT FROM
        (NEW.id, NEW.verb, NEW.arguments, NEW.about, NEW.user_id, NEW.amount_sat, NEW.reason,
            NEW.needs_approval, NEW.asked_by_id, NEW.asked_as, NEW.created) THEN
        RAISE EXCEPTION 'act % stays as it was asked for', OLD.id USING ERRCODE = 'CO003';
    END IF;
    IF OLD.approved_by_id IS NOT NULL
        AND (OLD.approved_by_id, OLD.approved_at)
            IS DISTINCT FROM (NEW.approved_by_id, NEW.approved_at) THEN
        RAISE EXCEPTION 'act % has been approved', OLD.id USING ERRCODE = 'CO003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER operator_act_stays BEFORE INSERT OR UPDATE ON payments_operatoract
    FOR EACH ROW EXECUTE FUNCTION operator_act_guard();
CREATE TRIGGER operator_act_is_kept BEFORE DELETE ON payments_operatoract
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER operator_act_no_truncate BEFORE TRUNCATE ON payments_operatoract
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
