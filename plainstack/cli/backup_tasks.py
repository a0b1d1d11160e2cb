"""The Invoke tasks for backups of the database."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.options import JSON, SELECT


@task(
    name="backup-now",
    help={
        "inventory": SELECT["inventory"],
        "incremental": "copy only what changed since the last backup, of either kind",
        **JSON,
    },
)
def backup_now(_c: Context, inventory: str = "hosts.yaml", incremental: bool = False, json: bool = False) -> None:
    """Take a backup of the database now, show its progress, and wait until it is usable.

    If it fails, the command says which of Barman's checks fails, and what to do. The backup continues if the connection
    breaks, and after Ctrl-C. If WAL is missing, take a full backup.

    Exit code: 0, or 1 if there is no usable backup at the end.
    """
    from plainstack.cli import backup_commands

    backup_commands.backup_now(inventory, "incremental" if incremental else "full", json=json)


@task(
    help={
        "copy_key": "print the line for authorized_keys at the destination of the second copy",
        "fetch_copy": "bring back the backups that only the second copy has, for example on a new backup host",
        "inventory": SELECT["inventory"],
        **JSON,
    }
)
def backups(
    _c: Context,
    copy_key: bool = False,
    fetch_copy: bool = False,
    inventory: str = "hosts.yaml",
    json: bool = False,
) -> None:
    """List the backups of the database: kind, size, how long they are kept, to which moments they can be restored.

    WAL up to: the backup can be restored to any moment between its end and this one. Times are in UTC.

    Exit code: 0, or 1 if there is no usable backup, if WAL after the newest one is missing, if the last restore test of
    a backup failed, or if the backup host failed.
    """
    from plainstack.cli import backup_commands, second_copy_commands

    if copy_key:
        second_copy_commands.copy_key(inventory, json=json)
    elif fetch_copy:
        second_copy_commands.fetch_copy(inventory, json=json)
    else:
        backup_commands.backups(inventory, json=json)


@task(
    name="restore-test",
    help={
        "backup": "the id of a backup, from `inv backups` (default: the newest)",
        "from_copy": "fetch the backup and its WAL from the second copy",
        "at": 'recover to this time: --at="2026-11-21 14:03:00+00" (default: as far as there is WAL)',
        "host": "a db host that copies the restored cluster and checks the copy (default: only the backup host)",
        "inventory": SELECT["inventory"],
        **JSON,
    },
)
def restore_test(
    _c: Context,
    backup: str = "latest",
    at: str = "",
    host: str = "",
    from_copy: bool = False,
    inventory: str = "hosts.yaml",
    json: bool = False,
) -> None:
    """Restore a backup on the backup host, check it, and delete it again; says how long that took.

    The restored cluster is cut off from the network. Its files, pages, tables and indexes are checked, and its tables
    compared with what was recorded when the backup was taken. The test continues if the connection breaks; with --host,
    it ends, and both hosts delete what they have of it.

    Exit code: 0, or 1 if the test failed or could not run.
    """
    from plainstack.cli import restore_test_command

    restore_test_command.restore_test(inventory, backup, at, host, from_copy=from_copy, json=json)
