"""The Invoke task that restores the database of a stack."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.options import JSON, NOTIFY, SELECT


@task(
    help={
        "inventory": SELECT["inventory"],
        "at": 'go back to this time, written with its zone as in "2026-11-21 14:03:00+00"',
        "before-xid": "go back to just before this transaction committed (pg_current_xact_id() prints such numbers)",
        "backup": "start from this backup; without --at and --before-xid, go back to its end (see inv backups)",
        "table": "restore only this table, such as public.orders, as a copy with another name",
        "database": "restore only this database, as a copy with another name",
        "into": "the name of the copy (default: the old name with _restored at its end)",
        "files": "restore only this folder, such as web/media: from its newest snapshot, or the last one until --at",
        "undo": "put the data from before the last restore back",
        "discard": "delete the data from before restores, which inv restore --undo needs",
        "despite-checks": "open the site even if checks fail, for example because another host is down",
        "yes": "do not ask for the name of the stack (for scripts)",
        **JSON,
        **NOTIFY,
    },
)
def restore(
    _c: Context,
    inventory: str = "hosts.yaml",
    at: str = "",
    before_xid: str = "",
    backup: str = "",
    table: str = "",
    database: str = "",
    into: str = "",
    files: str = "",
    undo: bool = False,
    discard: bool = False,
    despite_checks: bool = False,
    yes: bool = False,
    json: bool = False,
    no_notify: bool = False,
) -> None:
    """Bring the database of the stack back to an earlier moment; everything committed later is removed from it.

    First, the backup host recovers a copy, while the site stays open. Then visitors get the maintenance page, and the
    processes of the services stop. Every db host puts its data aside; one copies the recovered data and becomes the
    primary, the others copy it from there. Barman receives the new WAL and takes a base backup. The site opens after
    the checks of the database have passed. Folders of services that are backed up go back too.

    An interrupted restore can be repeated: it continues from the state that it finds. It can be undone, even after it
    has ended: inv restore --undo. The old data stays on the db hosts until inv restore --discard.

    With --table or --database, the site stays open: a copy of the table or database as it was is added to the live
    cluster under a new name. Its foreign keys and triggers are left out.

    With --files, only the named folders of services go back, and the services restart. The current files are kept on
    their host; with --files, --undo puts them back and --discard deletes them.

    Exit code: 0 done, 1 refused or failed (the message says why and what to type next).
    """
    from plainstack.cli import restore_commands, restore_files_command, restore_one_command

    if files:
        forbidden = bool(before_xid or backup or table or database or into or despite_checks)
        restore_files_command.restore_files(
            inventory, files, at, undo=undo, discard=discard, alone=not forbidden, yes=yes, json=json
        )
        return

    if table or database or into:
        forbidden = undo or discard
        restore_one_command.restore_one(
            inventory,
            (at, before_xid, backup),
            (table, database, into),
            alone=not forbidden,
            json=json,
        )
        return
    restore_commands.restore(
        inventory,
        at=at,
        before_xid=before_xid,
        backup=backup,
        undo=undo,
        discard=discard,
        despite_checks=despite_checks,
        yes=yes,
        json=json,
        notify=not no_notify,
    )
