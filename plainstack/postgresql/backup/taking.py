"""Taking a backup: the script that runs on the backup host."""

from __future__ import annotations

from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import catalogue
from plainstack.postgresql.backup.barman import unit

# EX_TEMPFAIL of sysexits.h: the same request may succeed later.
BUSY = 75


def backup_script(stack: Stack, kind: str = "full") -> str:
    """Return shell code for root on the backup host that takes a backup and then prints the catalogue.

    It waits until the backup is usable. It exits with code 75 if a backup is already running. systemd runs the backup,
    so that the backup continues if the operator's connection breaks.
    """
    name = f"{unit(kind)}.service"
    return f"""\
set -eu
case $(systemctl show --property=ActiveState --value {name}) in
activating | active | deactivating | reloading)
    echo "a backup is already running, since $(systemctl show --property=ExecMainStartTimestamp --value {name})" >&2
    exit {BUSY}
    ;;
esac
systemctl reset-failed {name} 2>/dev/null || :
systemctl start {name} || {{
    journalctl --unit={name} --invocation=0 --no-pager --quiet --output=cat --lines=12 >&2
    exit 1
}}
{catalogue.script(stack)}"""
