"""What operators ask for, and the guards that keep it as it was asked for."""

import django.db.models.deletion
import django.utils.timezone
import uuid
from pathlib import Path
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


def guard(apps, schema_editor):
    schema_editor.execute((SQL / "0001_operator_acts.sql").read_text(), params=None)


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0008_hex_of_versions'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='OperatorAct',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('verb', models.CharField(max_length=30)),
                ('arguments', models.JSONField(default=dict)),
                ('about', models.TextField(help_text='What it does, as whoever approves it reads it')),
                ('amount_sat', models.BigIntegerField(default=0, help_text="Moved on an operator's word")),
                ('reason', models.TextField()),
                ('needs_approval', models.BooleanField(help_text='By another operator than the one who asked')),
                ('asked_as', models.CharField(help_text='As the audit log names them', max_length=60)),
                ('created', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('approved_at', models.DateTimeField(null=True)),
                ('problem', models.TextField(blank=True, help_text='Why it could not be carried out yet')),
                ('carried_out_at', models.DateTimeField(null=True)),
                ('outcome', models.TextField(blank=True)),
                ('dropped_at', models.DateTimeField(null=True)),
                ('dropped_as', models.CharField(blank=True, max_length=60)),
                ('approved_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('asked_by', models.ForeignKey(help_text="Empty: whoever has the server's machine", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('user', models.ForeignKey(help_text='Whose money it is', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('carried_out_at', None), ('dropped_at', None)), fields=['created'], name='acts_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('approved_at', None), ('approved_by', None)), models.Q(models.Q(('approved_by', models.F('asked_by')), _negated=True), ('approved_at__isnull', False), ('approved_by__isnull', False), ('asked_by__isnull', False)), _connector='OR'), name='approved_by_another_operator'), models.CheckConstraint(condition=models.Q(('carried_out_at', None), ('needs_approval', False), ('approved_by__isnull', False), _connector='OR'), name='carried_out_with_approval'), models.CheckConstraint(condition=models.Q(('carried_out_at', None), ('dropped_at', None), _connector='OR'), name='carried_out_or_dropped'), models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='act_has_a_reason'), models.CheckConstraint(condition=models.Q(('amount_sat__gte', 0)), name='act_amount_ge_0')],
            },
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
