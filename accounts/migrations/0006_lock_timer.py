from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_second_factor'),
    ]

    operations = [
        migrations.AddField(
            model_name='session',
            name='pin_at',
            field=models.DateTimeField(blank=True, help_text='Last right PIN, in a browser', null=True),
        ),
        migrations.AlterField(
            model_name='user',
            name='locktime_s',
            field=models.PositiveIntegerField(default=300, help_text='A browser asks for the PIN again after this; 0: every time'),
        ),
    ]
