from django.db import migrations

# What `DailyTotal` keeps from now on for its `ALL_DAYS`, of the days that there are.
SUM_ALL_DAYS = """
    INSERT INTO accounts_dailytotal
        (user_id, day, incoming, currency, count, sats, tips_sat, fees_sat, fiat, fiat_tips)
    SELECT user_id, '9999-12-31', incoming, currency, sum(count), sum(sats), sum(tips_sat),
        sum(fees_sat), sum(fiat), sum(fiat_tips)
    FROM accounts_dailytotal GROUP BY user_id, incoming, currency
"""
FORGET_THEM = "DELETE FROM accounts_dailytotal WHERE day = '9999-12-31'"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0012_funds")]
    operations = [migrations.RunSQL(SUM_ALL_DAYS, FORGET_THEM)]
