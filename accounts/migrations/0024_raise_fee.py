"""The user pays a higher fee for what is on its way."""

from pathlib import Path

from django.conf import settings
from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def create(apps, schema_editor):
    schema_editor.execute((SQL / "0011_raise_fee.sql").read_text(), params=None)
    role = schema_editor.quote_name(settings.DATABASE_APP_ROLE)
    schema_editor.execute(f"GRANT EXECUTE ON FUNCTION ledger_raise_fee TO {role}", params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0022_correct_payment")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
