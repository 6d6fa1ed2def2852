"""Totals in a currency that are the change of the balance: without its fees they were not."""

from django.db import migrations, models

# A failed line is not counted; `9999-12-31` is the row of all days.
SUM_FEES = """
    UPDATE accounts_dailytotal AS total SET fiat_fees = found.fees
    FROM (
        SELECT user_id, day, amount_sat > 0 AS incoming, currency, sum(round(
            (coalesce(fee_sat, 0) + coalesce(platform_fee_sat, 0)) * rate / 100000000, 2
        )) AS fees
        FROM accounts_activity,
            unnest(ARRAY[(created AT TIME ZONE 'UTC')::date, '9999-12-31']) AS day
        WHERE status <> 'failed' AND rate IS NOT NULL
            AND coalesce(fee_sat, 0) + coalesce(platform_fee_sat, 0) > 0
        GROUP BY 1, 2, 3, 4
    ) AS found
    WHERE (total.user_id, total.day, total.incoming, total.currency)
        = (found.user_id, found.day, found.incoming, found.currency)
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0024_raise_fee")]
    operations = [
        migrations.AddField(
            "dailytotal",
            "fiat_fees",
            models.DecimalField(db_default=0, decimal_places=2, default=0, max_digits=24),
        ),
        migrations.RunSQL(SUM_FEES, migrations.RunSQL.noop),
    ]
