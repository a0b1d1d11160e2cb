"""The commands behind `inv backups --copy-key` and `inv backups --fetch-copy`."""

from __future__ import annotations

from plainstack.cli.command import document, load, reporting
from plainstack.cli.console import Console
from plainstack.errors import HostFailed

_LONGEST = 24 * 3600


def copy_key(inventory: str, *, json: bool) -> None:
    """Print the line for authorized_keys at the destination of the second copy."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.postgresql.backup import second_copy
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        machine = second_copy.machine(stack)
        name = backup_host(stack)
        with Sessions(stack) as sessions:
            output = sessions.to(name).script(second_copy.key_script(), step="key of the second copy")
        if output.code != 0:
            raise HostFailed(name, "key of the second copy", "there is no key yet. Run: inv deploy --role=backup")
        line = second_copy.authorized_key(stack, stack.hosts[name], output.out)
        if json:
            document({"host": machine.host, "user": machine.user, "line": line})
        else:
            console.line(line)


def fetch_copy(inventory: str, *, json: bool) -> None:
    """Bring back to the backup host what only the second copy has."""
    console = Console(json=json)
    with reporting(console, json=json):
        from plainstack.postgresql.backup import second_copy
        from plainstack.postgresql.backup.barman import backup_host
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        wanted = second_copy.required(stack)
        name = backup_host(stack)
        console.line(f"{name}: fetching backups from {wanted.to}")
        with Sessions(stack) as sessions:
            output = sessions.to(name).script(second_copy.fetch_script(), timeout=_LONGEST, step="fetch")
        if output.code != 0:
            first, *rest = output.err.splitlines() or ["it ended without saying why"]
            raise HostFailed(name, "fetch", first, rest[-8:], output.code)
        lines = output.out.splitlines()
        fetched, files = (
            [line.removeprefix(word) for line in lines if line.startswith(word)] for word in ("backup ", "files ")
        )
        if json:
            document({"host": name, "fetched": fetched, "files": files})
            return
        for backup in fetched:
            console.line(f"{name}: backup {backup} is back", "bold green")
        for snapshot in files:
            console.line(f"{name}: {snapshot} is back", "bold green")
        if not lines:
            console.line(f"{name}: it already has all that is in the copy")
