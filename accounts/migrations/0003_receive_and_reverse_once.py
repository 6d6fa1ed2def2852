"""A receipt that comes again with another amount books nothing; a reversal needs its credit."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def replace_functions(apps, schema_editor):
    sql = (SQL / "0003_receive_and_reverse_once.sql").read_text()
    schema_editor.execute(sql, params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_ledger")]

    operations = [migrations.RunPython(replace_functions, migrations.RunPython.noop)]
