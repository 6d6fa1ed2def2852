"""Who owes what bad_debt has borne, and that it is repaid first."""

from pathlib import Path

from django.conf import settings
from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"
VERBS = "ledger_repay_shortfall, ledger_return_withdrawal, ledger_return_gift"


def create(apps, schema_editor):
    schema_editor.execute((SQL / "0007_debts.sql").read_text(), params=None)
    role = schema_editor.quote_name(settings.DATABASE_APP_ROLE)
    schema_editor.execute(f"GRANT EXECUTE ON FUNCTION {VERBS} TO {role}", params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0020_email_of_changes")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
