"""One function for each kind of movement, and a cause for each movement."""

from pathlib import Path

from django.conf import settings
from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def create(apps, schema_editor):
    schema_editor.execute((SQL / "0012_verbs.sql").read_text(), params=None)
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        owner = cursor.fetchone()[0]
    if settings.DATABASE_APP_ROLE == owner:
        return  # one role for both: the constraint and the trigger still guard
    role = schema_editor.quote_name(settings.DATABASE_APP_ROLE)
    sql = (SQL / "0013_verb_grants.sql").read_text()
    schema_editor.execute(sql.replace("{app_role}", role), params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0025_fiat_of_fees")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
