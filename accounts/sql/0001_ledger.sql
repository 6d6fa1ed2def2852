-- The books: two tables, their guards, and the only functions that may write them.
--
-- Every movement is a row of ledger_transfer with one debit and one credit of the same amount, so
-- the books sum to zero by construction. A user's balance is kept on ledger_account and equals
-- the sum of the user's transfers:
--   posted_msat = credits - debits over phases posted and post
--   held_msat   = pending debits not yet resolved
-- System accounts (ids below 1000) keep no balance and are never locked.
--
-- The application's role may SELECT and EXECUTE, nothing else (see 0002_grants.sql). This file is
-- never edited once released; a change is a new file.

CREATE TABLE ledger_account (
    id          bigint PRIMARY KEY,
    user_id     uuid UNIQUE REFERENCES accounts_user (id),
    name        varchar(20) UNIQUE,
    posted_msat bigint NOT NULL DEFAULT 0,
    held_msat   bigint NOT NULL DEFAULT 0,
    CONSTRAINT account_belongs_to_user_or_house CHECK ((user_id IS NULL) <> (name IS NULL)),
    CONSTRAINT held_is_not_negative CHECK (held_msat >= 0),
    CONSTRAINT available_is_not_negative CHECK (posted_msat - held_msat >= 0),
    CONSTRAINT users_hold_whole_sats CHECK (posted_msat % 1000 = 0 AND held_msat % 1000 = 0),
    CONSTRAINT house_keeps_no_balance CHECK (name IS NULL OR (posted_msat = 0 AND held_msat = 0))
);
CREATE SEQUENCE ledger_account_id_seq START 1000 OWNED BY ledger_account.id;

INSERT INTO ledger_account (id, name) VALUES
    (1, 'lightning'),  -- what our Lightning node holds for users
    (2, 'onchain'),    -- what our Bitcoin wallet holds for users
    (3, 'fees'),       -- platform fees earned
    (4, 'rounding'),   -- sub-sat remainders
    (5, 'suspense'),   -- money that arrived and matches nobody
    (6, 'bad_debt'),   -- credited deposits that a reorg took back after they were spent
    (7, 'equity');     -- the operator's own: corrections, fee overruns

CREATE TABLE ledger_transfer (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debit_id            bigint NOT NULL REFERENCES ledger_account (id),
    credit_id           bigint NOT NULL REFERENCES ledger_account (id),
    amount_msat         bigint NOT NULL,
    kind                varchar(40) NOT NULL,
    external_id         varchar(200) NOT NULL,
    phase               varchar(7) NOT NULL,
    pending_id          bigint,
    pending_amount_msat bigint,
    pending_phase       varchar(7) GENERATED ALWAYS AS
                            (CASE WHEN pending_id IS NOT NULL THEN 'pending' END) STORED,
    cause_kind          varchar(20) NOT NULL,
    cause_id            varchar(100) NOT NULL,
    created             timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT amount_is_positive CHECK (amount_msat > 0),
    CONSTRAINT debit_is_not_credit CHECK (debit_id <> credit_id),
    CONSTRAINT phase_is_known CHECK (phase IN ('posted', 'pending', 'post', 'void')),
    CONSTRAINT only_resolutions_name_a_hold CHECK
        ((phase IN ('post', 'void')) = (pending_id IS NOT NULL)
         AND (pending_id IS NULL) = (pending_amount_msat IS NULL)),
    CONSTRAINT posts_no_more_than_held CHECK (amount_msat <= pending_amount_msat),
    CONSTRAINT voids_all_that_is_held CHECK (phase <> 'void' OR amount_msat = pending_amount_msat),
    CONSTRAINT credited_once UNIQUE (kind, external_id),
    CONSTRAINT hold_resolved_once UNIQUE (pending_id),
    CONSTRAINT hold_identity UNIQUE (id, amount_msat, phase, debit_id, credit_id),
    CONSTRAINT resolution_matches_its_hold
        FOREIGN KEY (pending_id, pending_amount_msat, pending_phase, debit_id, credit_id)
        REFERENCES ledger_transfer (id, amount_msat, phase, debit_id, credit_id)
);
CREATE INDEX ledger_transfer_debit ON ledger_transfer (debit_id);
CREATE INDEX ledger_transfer_credit ON ledger_transfer (credit_id);
CREATE INDEX ledger_transfer_cause ON ledger_transfer (cause_kind, cause_id);

-- History is added to, never edited.
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: correct it with a new row', TG_TABLE_NAME
        USING ERRCODE = 'CO003';
END $$;
CREATE TRIGGER ledger_transfer_append_only BEFORE UPDATE OR DELETE ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_transfer_no_truncate BEFORE TRUNCATE ON ledger_transfer
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON accounts_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

-- --- Verbs ----------------------------------------------------------------------------------

-- Open the account of a user; returns its id, the same one when it is open already.
CREATE FUNCTION ledger_open(p_user uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    INSERT INTO ledger_account (id, user_id) VALUES (nextval('ledger_account_id_seq'), p_user)
    ON CONFLICT (user_id) DO NOTHING RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        SELECT id INTO v_id FROM ledger_account WHERE user_id = p_user;
    END IF;
    RETURN v_id;
END $$;

-- Raise CO001 with "<available> <needed>" in msat when the locked account cannot cover the amount.
CREATE FUNCTION ledger_require(p_account bigint, p_needed_msat bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_available bigint;
BEGIN
    SELECT posted_msat - held_msat INTO v_available FROM ledger_account WHERE id = p_account;
    IF v_available < p_needed_msat THEN
        RAISE EXCEPTION 'insufficient funds'
            USING ERRCODE = 'CO001', DETAIL = v_available || ' ' || p_needed_msat;
    END IF;
END $$;
REVOKE ALL ON FUNCTION ledger_require FROM PUBLIC;

-- Move an amount at once. Returns the transfer's id, or NULL when (kind, external_id) was booked
-- before. Raises CO001 when a user's account cannot cover it.
CREATE FUNCTION ledger_post(
    p_debit bigint, p_credit bigint, p_amount_msat bigint, p_kind text, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    -- User rows are locked in id order, before anything else, so that transfers cannot deadlock.
    PERFORM 1 FROM ledger_account WHERE id IN (p_debit, p_credit) AND id >= 1000
        ORDER BY id FOR NO KEY UPDATE;
    INSERT INTO ledger_transfer
        (debit_id, credit_id, amount_msat, kind, external_id, phase, cause_kind, cause_id)
    VALUES (p_debit, p_credit, p_amount_msat, p_kind, p_external_id, 'posted', p_cause_kind, p_cause_id)
    ON CONFLICT (kind, external_id) DO NOTHING RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        RETURN NULL;
    END IF;
    IF p_debit >= 1000 THEN
        PERFORM ledger_require(p_debit, p_amount_msat);
    END IF;
    UPDATE ledger_account
        SET posted_msat = posted_msat + CASE WHEN id = p_credit THEN p_amount_msat ELSE -p_amount_msat END
        WHERE id IN (p_debit, p_credit) AND id >= 1000;
    RETURN v_id;
END $$;

-- Book money that arrived: whole sats to the user, the sub-sat remainder to rounding. Returns the
-- msat credited to the user, or NULL when this external id was booked before, with any amount.
CREATE FUNCTION ledger_receive(
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

-- Hold an amount for an outgoing payment. Returns the hold's id. Raises CO001.
CREATE FUNCTION ledger_hold(
    p_user_account bigint, p_to bigint, p_amount_msat bigint, p_kind text, p_external_id text,
    p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    PERFORM 1 FROM ledger_account WHERE id = p_user_account FOR NO KEY UPDATE;
    PERFORM ledger_require(p_user_account, p_amount_msat);
    INSERT INTO ledger_transfer
        (debit_id, credit_id, amount_msat, kind, external_id, phase, cause_kind, cause_id)
    VALUES (p_user_account, p_to, p_amount_msat, p_kind, p_external_id, 'pending', p_cause_kind, p_cause_id)
    RETURNING id INTO v_id;
    UPDATE ledger_account SET held_msat = held_msat + p_amount_msat WHERE id = p_user_account;
    RETURN v_id;
END $$;

-- Resolve a hold by what was really paid: p_spent_msat (amount plus exact network fee) goes where
-- the hold pointed, the platform fee to the house, and the remainder to a whole sat to rounding.
-- Whatever the network took beyond the hold is paid by equity as a fee.overrun row: settlement
-- never fails. Returns the user's total debit in msat, or NULL when the hold was resolved before.
CREATE FUNCTION ledger_settle(
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
        WHERE id = v_hold.debit_id;
    RETURN v_total;
END $$;

-- Give a hold back in full. Returns the msat released, or NULL when the hold was resolved before.
CREATE FUNCTION ledger_void(
    p_hold bigint, p_kind text, p_external_id text, p_cause_kind text, p_cause_id text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE v_hold ledger_transfer;
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
    UPDATE ledger_account SET held_msat = held_msat - v_hold.amount_msat WHERE id = v_hold.debit_id;
    RETURN v_hold.amount_msat;
END $$;

-- Take back a credit that turned out not to exist (a reorganised deposit). The user pays what is
-- available; bad_debt covers the rest. Returns the shortfall in msat, or NULL when booked before.
-- Only what was credited can be taken back.
CREATE FUNCTION ledger_reverse(
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
