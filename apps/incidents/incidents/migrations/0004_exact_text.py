"""On MySQL and MariaDB, texts that differ in a letter's case or accent become different, as on PostgreSQL.

Their default collation takes the key "a1" for a retry of "A1", and "Müller" and "muller" for one machine.
"""

from django.db import migrations


def distinguish(apps, schema_editor):
    if schema_editor.connection.vendor != "mysql":
        return
    exact = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    database = schema_editor.quote_name(schema_editor.connection.settings_dict["NAME"])
    schema_editor.execute(f"ALTER DATABASE {database} {exact}")
    for model in apps.get_app_config("incidents").get_models():
        table = schema_editor.quote_name(model._meta.db_table)
        schema_editor.execute(f"ALTER TABLE {table} CONVERT TO {exact}")


class Migration(migrations.Migration):
    atomic = False  # these databases cannot roll a change of a table back
    dependencies = [("incidents", "0003_polls")]
    operations = [migrations.RunPython(distinguish, migrations.RunPython.noop)]
