"""Snapshots of services' folders on the backup host: its units, how they are listed, and the scripts of the commands.

The program files/backup/usr/local/lib/plainstack/folders does the work there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from shlex import join, quote
from typing import Any

from plainstack.engine.render import template
from plainstack.engine.resources import Command, Directory, File, Resource, Unit
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman
from plainstack.postgresql.backup.schedule import calendars
from plainstack.postgresql.settings import NEVER, Backup
from plainstack.services import folders
from plainstack.shell import journal

# No Barman server can have the folder's name, because it begins with an underscore.
ROOT = f"{barman.HOME}/_folders"
UNIT, TEST = "plainstack-files-snapshot", "plainstack-files-test"
METRICS = "/var/lib/prometheus/node-exporter/plainstack_files.prom"
_CONFIG = "/etc/plainstack/kept-folders.json"
_SYSTEM = "/etc/systemd/system"
# The group can read the key of the host's certificate.
_AS_BARMAN = f"runuser -u barman -g barman -G ssl-cert -- /usr/bin/python3 -I {folders.PROGRAM}"


def keeping(stack: Stack, host: Host) -> Iterator[Resource]:
    """Yield the resources of the backup host for snapshots; none if no service has a folder that is backed up."""
    wanted = folders.kept(stack)
    if not wanted:
        return
    settings = stack.settings(Backup)
    yield from folders.program()
    yield Directory(path=ROOT, mode=0o700, owner="barman", group="barman")
    known: dict[str, Any] = {
        "here": host.name,
        "port": folders.PORT,
        "retention": settings.retention,
        "root": ROOT,
        "folders": [asdict(one) for one in wanted],
    }
    yield File(path=_CONFIG, content=f"{json.dumps(known, indent=4)}\n".encode())
    backups = [calendar for _, calendar in calendars(settings)]
    for unit, verb, times in ((UNIT, "take", backups), (TEST, "test", [settings.restore_test])):
        about: dict[str, Any] = {"verb": verb, "program": folders.PROGRAM, "metrics": METRICS, "calendars": times}
        yield template("backup", f"{_SYSTEM}/{{unit}}.service", at={"unit": unit}, unit=unit, **about)
        yield template("backup", f"{_SYSTEM}/{{service}}.d/10-hardening.conf", at={"service": f"{unit}.service"})
        if times != [NEVER]:
            yield template("backup", f"{_SYSTEM}/{{unit}}.timer", at={"unit": unit}, unit=unit, **about)
            yield Unit(name=f"{unit}.timer")


def first_snapshots(stack: Stack) -> Iterator[Resource]:
    """Yield the command that takes snapshots after a deploy that changed which folders are backed up."""
    if folders.kept(stack):
        yield Command(
            name="files of services",
            why="start to take snapshots of the folders of services",
            # The hosts of the services may be deployed after this one. The unit tries again.
            run=f"systemctl start --no-block {UNIT}.service && touch {ROOT}/begun",
            unless=f"[ ${{ROOT:-}}{ROOT}/begun -nt ${{ROOT:-}}{_CONFIG} ]",
        )


def list_script(stack: Stack) -> str:
    """Return shell code for root on the backup host that prints all snapshots as JSON, if any folder is backed up."""
    return f"[ ! -s {_CONFIG} ] || {_AS_BARMAN} list\n" if folders.kept(stack) else ":\n"


def run_script(unit: str) -> str:
    """Return shell code for root on the backup host that runs UNIT or TEST to its end, and prints all snapshots.

    It continues if the connection breaks. If a run is under way, another one follows it: the first may not have seen
    what the caller relies on.
    """
    options = ("--invocation=0", "--priority=err", "--identifier=python3", "--lines=40")
    return f"""\
case $(systemctl show --property=SubState {unit}.service) in
*=start) systemctl start {unit}.service 2>/dev/null || : ;;
esac
systemctl reset-failed {unit}.service 2>/dev/null || :
systemctl start {unit}.service 2>/dev/null || {journal(f"{unit}.service", *options)} >&2
{_AS_BARMAN} list
"""


def send_script(one: folders.Kept, snapshot: str) -> str:
    """Return shell code for root on the backup host that checks a snapshot and copies it to the folder's host."""
    words = [f"--service={one.service}", f"--folder={one.folder}", f"--source={one.host}", f"--host={one.host}"]
    return f"{_AS_BARMAN} send {join([*words, f'--snapshot={snapshot}'])}\n"


def facts(stack: Stack) -> str:
    """Return shell code for the probe; it prints files, the list of all snapshots, as JSON."""
    if not folders.kept(stack):
        return ""
    return f'[ ! -s "${{ROOT:-}}{_CONFIG}" ] || printf "files=%s\\n" "$(cd / && {_AS_BARMAN} list)"\n'


def step(verb: str, one: folders.Kept, **options: str) -> str:
    """Return shell code for root on the folder's host that does a step of a restore there."""
    words = [f"--data={one.data}", f"--folder={one.folder}", f"--account={one.account}"]
    words += [f"--{name}={value}" for name, value in options.items()]
    return f"/usr/bin/python3 -I {folders.PROGRAM} restore {quote(verb)} {join(words)}\n"
