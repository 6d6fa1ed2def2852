"""What a settled payment cost in the end."""

from pathlib import Path

from django.conf import settings
from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def create(apps, schema_editor):
    schema_editor.execute((SQL / "0008_correct_payment.sql").read_text(), params=None)
    role = schema_editor.quote_name(settings.DATABASE_APP_ROLE)
    schema_editor.execute(f"GRANT EXECUTE ON FUNCTION ledger_correct_payment TO {role}", params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0021_debts")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
