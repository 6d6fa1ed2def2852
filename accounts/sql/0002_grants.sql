-- What the application's role ({app_role}) may do: everything with ordinary tables, read the books
-- and run the ledger's verbs, append to the audit log. Nothing of the schema is its own.
GRANT USAGE ON SCHEMA public TO {app_role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {app_role};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {app_role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app_role};
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {app_role};

REVOKE INSERT, UPDATE, DELETE ON ledger_account, ledger_transfer FROM {app_role};
REVOKE USAGE ON SEQUENCE ledger_account_id_seq FROM {app_role};
REVOKE UPDATE, DELETE ON accounts_auditevent FROM {app_role};
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {app_role};

REVOKE ALL ON FUNCTION ledger_open, ledger_post, ledger_receive, ledger_hold, ledger_settle,
    ledger_void, ledger_reverse FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger_open, ledger_post, ledger_receive, ledger_hold, ledger_settle,
    ledger_void, ledger_reverse TO {app_role};
