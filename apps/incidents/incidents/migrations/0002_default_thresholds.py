"""Two thresholds for every machine, so that a new site opens incidents.

Ordinary rows: change them in the admin.
"""

from django.db import migrations

DEFAULTS = [("temperature", 80.0, "critical"), ("disk_used_percent", 90.0, "warning")]


def add(apps, schema_editor) -> None:
    threshold = apps.get_model("incidents", "Threshold")
    for metric, limit, severity in DEFAULTS:
        threshold.objects.using(schema_editor.connection.alias).create(
            metric=metric, limit=limit, severity=severity
        )


class Migration(migrations.Migration):
    dependencies = [("incidents", "0001_initial")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
