-- A name is one account's for ever: whoever pays it, by an old sticker or from a list of contacts,
-- pays that account or nobody.
--
-- accounts_usedname has every name that an account has or had since this table was made. The user's
-- row refers to its pair of name and account, so no account can have a name that is another's there,
-- whatever program writes it and however many do so at once. The trigger only adds the pair when
-- nobody has the name yet. The application may not change or drop rows (its grants).
INSERT INTO accounts_usedname (username, user_id) SELECT username, id FROM accounts_user;
ALTER TABLE accounts_usedname ADD CONSTRAINT one_name_of_one_user UNIQUE (username, user_id);

CREATE FUNCTION accounts_note_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts_usedname (username, user_id) VALUES (NEW.username, NEW.id)
        ON CONFLICT (username) DO NOTHING;
    RETURN NEW;
END $$;
CREATE TRIGGER accounts_user_name BEFORE INSERT OR UPDATE OF username ON accounts_user
    FOR EACH ROW EXECUTE FUNCTION accounts_note_name();

ALTER TABLE accounts_user ADD CONSTRAINT name_is_nobody_elses
    FOREIGN KEY (username, id) REFERENCES accounts_usedname (username, user_id);
