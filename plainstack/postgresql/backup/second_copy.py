"""The second copy of the backups, on a machine of its own: its resources on the backup host, and its key.

The program files/backup/usr/local/lib/plainstack/second_copy does the work there, in the unit plainstack-second-copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from shlex import quote
from typing import Any

from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Command, Directory, File, Package, Resource, Unit
from plainstack.errors import Refused
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.second_copy_settings import SecondCopy
from plainstack.postgresql.settings import Backup
from plainstack.wording import Loc

PROGRAM = "/usr/local/lib/plainstack/second_copy"
MODULES = ("__main__", "destination", "entries", "fetching", "outcome", "pushing", "verbs")
UNIT = "plainstack-second-copy.service"
TIMER = "plainstack-second-copy.timer"
METRICS = "/var/lib/prometheus/node-exporter/plainstack_second_copy.prom"
KEY = f"{barman.HOME}/.ssh/second_copy"
_CONFIG = "/etc/plainstack/second-copy.json"
_KNOWN_HOSTS = "/etc/plainstack/second-copy.known_hosts"
_UNITS = (UNIT, "plainstack-fetch-copy@.service", "plainstack-restore-test-copy.service")
_SYSTEM = "/etc/systemd/system"
_AS_BARMAN = f"runuser -u barman -- /usr/bin/python3 -I {PROGRAM}"


def copying(stack: Stack, host: Host) -> Iterator[Resource]:
    """Yield the resources of the backup host for the second copy; none if the inventory names no second copy."""
    wanted = stack.settings(Backup).second_copy
    if wanted is None:
        return
    yield Package(name="openssh-client")
    yield Directory(path=PROGRAM)
    yield from (verbatim("backup", f"{PROGRAM}/{name}.py") for name in MODULES)
    yield Directory(path=f"{barman.HOME}/.ssh", mode=0o700, owner="barman", group="barman")
    yield File(path=_KNOWN_HOSTS, content=_known_host(wanted).encode())
    yield File(path=_CONFIG, content=f"{json.dumps(_config(stack, host, wanted), indent=4)}\n".encode())
    known: dict[str, Any] = {
        "program": PROGRAM,
        "scratch": scratch.FOLDER,
        "trial": scratch.PROGRAM,
        "requests": scratch.REQUESTS,
    }
    for unit in _UNITS:
        yield template("backup", f"{_SYSTEM}/{unit}", metrics=METRICS, host=wanted.place.host, **known)
        yield template("backup", f"{_SYSTEM}/{{service}}.d/10-hardening.conf", at={"service": unit})
    yield template("backup", f"{_SYSTEM}/{TIMER}")
    yield Command(
        name="key of the second copy",
        why="generate the key for the second copy of the backups",
        run=f"runuser -u barman -- ssh-keygen -q -t ed25519 -N '' -C {quote(f'{stack.stack} backups')} -f {KEY}",
        unless=f"[ -s ${{ROOT:-}}{KEY} ] && [ -s ${{ROOT:-}}{KEY}.pub ]",
    )
    yield Unit(name=TIMER)


def first_copy(stack: Stack) -> Iterator[Resource]:
    """Yield the command that tries the destination when a deploy changes it; a refusal becomes a warning."""
    if stack.settings(Backup).second_copy is None:
        return
    state = f"${{ROOT:-}}{barman.copy_file(stack)}"
    yield Command(
        name="second copy",
        why="try the destination of the second copy, and start to copy",
        run=_FIRST_COPY,
        unless=f"[ {state} -nt ${{ROOT:-}}{_CONFIG} ] && [ {state} -nt ${{ROOT:-}}{_KNOWN_HOSTS} ]",
    )


_FIRST_COPY = f"""\
if said=$({_AS_BARMAN} check 2>&1); then
    systemctl start --no-block {UNIT}
else
    printf 'there is no second copy of the backups yet: %s\\n' "$said" >>"$WARNINGS"
fi
"""


def _known_host(wanted: SecondCopy) -> str:
    name = wanted.place.host if wanted.port == 22 else f"[{wanted.place.host}]:{wanted.port}"
    return f"{name} {wanted.host_key}\n"


def _config(stack: Stack, host: Host, wanted: SecondCopy) -> dict[str, Any]:
    place = wanted.place
    return {
        "here": host.name,
        "server": barman.server(stack),
        "folder": barman.folder(stack),
        "records": f"{scratch.SEEN}/records",
        "scratch": scratch.FOLDER,
        "user": place.user,
        "host": place.host,
        "path": place.path,
        "port": wanted.port,
        # rsync counts in KiB a second.
        "bandwidth": max(1, wanted.bandwidth // 8192) if wanted.bandwidth else 0,
        "key": KEY,
        "known_hosts": _KNOWN_HOSTS,
    }


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield an error if the second copy would be on the backup host itself."""
    wanted = stack.settings(Backup).second_copy
    for host in stack.with_role("backup") if wanted else ():
        assert wanted
        if wanted.place.host in (host.name, str(host.address), str(host.public), "localhost", "127.0.0.1"):
            loc = ("backup", "second_copy", "to")
            yield loc, f"backup.second_copy.to: {wanted.place.host} is the backup host itself; name another machine"


def required(stack: Stack) -> SecondCopy:
    """Return the settings of the second copy. Raises Refused if there is none."""
    wanted = stack.settings(Backup).second_copy
    if wanted is None:
        raise Refused("there is no second copy: backup.second_copy in the inventory says where to keep it")
    return wanted


def key_script() -> str:
    """Return shell code for root on the backup host that prints the public key of the copy."""
    return f"cat {KEY}.pub\n"


def authorized_key(stack: Stack, host: Host, public_key: str) -> str:
    """Return the line for the destination's authorized_keys: the key may use rsync in the copy's folder only.

    `from` has the addresses of the backup host.
    """
    wanted = required(stack)
    addresses = ",".join(str(one) for one in (host.address, host.public) if one)
    return f'restrict,from="{addresses}",command="rrsync -munge {wanted.place.path}" {public_key.strip()}'


def fetch_script() -> str:
    """Return shell code for root on the backup host that brings back what only the copy has.

    It prints the id of each backup that it fetched. It continues if the connection breaks.
    """
    unit = "plainstack-fetch-copy@all.service"
    said = f"journalctl --unit={unit} --invocation=0 --identifier=python3 --no-pager --quiet --output=cat"
    return f"""\
systemctl reset-failed {unit} 2>/dev/null || :
systemctl start {unit} || {{
    {said} --lines=12 >&2
    exit 1
}}
{said} | sed -n 's/^fetched backup //p'
"""
