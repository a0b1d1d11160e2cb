"""The commands behind `inv backup-now` and `inv backups`."""

from __future__ import annotations

from datetime import UTC, datetime

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import HostFailed


def backup_now(inventory: str, *, json: bool) -> None:
    """Run `inv backup-now`."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.postgresql.backup import catalogue
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.postgresql.backup.taking import backup_script
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        name = backup_host(stack)
        console.line(f"{name}: taking a base backup")
        with Sessions(stack) as sessions:
            output = sessions.to(name).script(backup_script(stack), timeout=6 * 3600, step="backup")
        if output.code != 0:
            lines = (output.err or output.out).splitlines()[-8:]
            raise HostFailed(name, "backup", "no usable backup was taken", lines, output.code)
        taken = catalogue.parse(output.out).newest
        if taken is None:
            raise HostFailed(name, "backup", "no usable backup was taken")
        if json:
            document(taken.as_data())
        else:
            size = f"{(taken.size or 0) / 2**20:.1f} MiB"
            console.line(f"backup {taken.id} is usable: {size} in {taken.seconds or 0:.1f} s", "bold green")


def backups(inventory: str, *, json: bool) -> None:
    """Run `inv backups`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.postgresql.backup import catalogue, listing
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        name = backup_host(stack)
        with Sessions(stack) as sessions:
            output = sessions.to(name).script(catalogue.script(stack, retention=True), timeout=120, step="catalogue")
        if output.code != 0:
            raise HostFailed(name, "catalogue", "it could not be read", output.err.splitlines()[-3:], output.code)
        found = catalogue.parse(output.out)
        if json:
            document({"host": name, **listing.as_data(found)})
        else:
            if found.backups:
                console.table(listing.HEADER, listing.rows(found, datetime.now(UTC)))
            for sentence in listing.sentences(found):
                console.line(sentence)
            for text in (*output.err.splitlines(), *listing.problems(found)):
                console.error(f"{name}: {text}")
    if listing.problems(found):
        raise Exit(code=1)
