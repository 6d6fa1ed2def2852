-- Which state of an account's password and second factor a session was made under.
--
-- accounts_user.authenticators_version counts their changes, whatever program makes them; a session
-- keeps the number it began with and ends when the two differ. The column is this trigger's alone:
-- what a statement writes to it is dropped.
--
-- A new hash of the same password is no change. Whoever writes one says so for the transaction:
-- SELECT set_config('coinos.only_hashed_again', 'yes', true). Forgetting to say it ends sessions.
--
-- A seed that waits to be confirmed is asked for nowhere yet, so it counts only while it is in use.
CREATE FUNCTION accounts_count_authenticators() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed boolean := NEW.second_factor_at IS DISTINCT FROM OLD.second_factor_at
        OR (OLD.second_factor_at IS NOT NULL AND NEW.totp_seed <> OLD.totp_seed)
        OR (NEW.password <> OLD.password
            AND current_setting('coinos.only_hashed_again', true) IS DISTINCT FROM 'yes');
BEGIN
    NEW.authenticators_version := OLD.authenticators_version + changed::int;
    RETURN NEW;
END $$;
CREATE TRIGGER accounts_user_authenticators
    BEFORE UPDATE OF password, second_factor_at, totp_seed, authenticators_version ON accounts_user
    FOR EACH ROW EXECUTE FUNCTION accounts_count_authenticators();
