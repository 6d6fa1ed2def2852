"""The table of idempotency keys is in `accounts` now; see its migration of the same name."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0014_expected_withdrawals"),
        ("accounts", "0028_keys_of_requests"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.DeleteModel(name="IdempotencyKey")]
        ),
    ]
