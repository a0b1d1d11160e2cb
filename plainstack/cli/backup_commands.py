"""The commands behind `inv backup-now` and `inv backups`."""

from __future__ import annotations

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
