from django.db import migrations

# Sealing the same text twice gives two texts: an equal one was not given again but left behind.
STAY = """
    CREATE FUNCTION webhook_refuse_old_secret() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
        RAISE EXCEPTION 'the secret of one webhook is not sent to another one'
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END $$;

    CREATE TRIGGER secret_stays_with_its_webhook BEFORE UPDATE OF webhook ON invoices_invoice
        FOR EACH ROW WHEN (NEW.webhook <> OLD.webhook AND NEW.secret <> '' AND NEW.secret = OLD.secret)
        EXECUTE FUNCTION webhook_refuse_old_secret();

    CREATE TRIGGER secret_stays_with_its_webhook BEFORE UPDATE OF webhook ON accounts_user
        FOR EACH ROW WHEN (
            NEW.webhook <> OLD.webhook AND NEW.webhook_sealed_secret <> ''
            AND NEW.webhook_sealed_secret = OLD.webhook_sealed_secret
        )
        EXECUTE FUNCTION webhook_refuse_old_secret();
"""
GO = """
    DROP TRIGGER secret_stays_with_its_webhook ON invoices_invoice;
    DROP TRIGGER secret_stays_with_its_webhook ON accounts_user;
    DROP FUNCTION webhook_refuse_old_secret();
"""


class Migration(migrations.Migration):
    """Whoever moves a webhook, of an invoice or of an account, does not move its secret."""

    dependencies = [
        ("accounts", "0011_account_webhook"),
        ("invoices", "0004_webhook_belongs_to_the_payee"),
    ]

    operations = [migrations.RunSQL(STAY, GO)]
