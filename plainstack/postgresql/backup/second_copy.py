"""The second copy of the backups, on another machine or in a bucket: its resources on the backup host, and its key.

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
from plainstack.postgresql.backup import barman, folders, second_copy_s3
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.second_copy_settings import OF_BUCKET, OF_MACHINE, Bucket, Place, SecondCopy
from plainstack.postgresql.settings import Backup
from plainstack.secrets.values import Vault
from plainstack.services.folders import kept
from plainstack.shell import journal
from plainstack.wording import Loc

PROGRAM = "/usr/local/lib/plainstack/second_copy"
MODULES = ("__main__", "destination", "entries", "fetching", "outcome", "over_ssh", "pushing", "verbs")
# They import a module of the program that takes snapshots.
OF_FILES = ("fetch_files", "kept_files", "push_files")
UNIT = "plainstack-second-copy.service"
TIMER = "plainstack-second-copy.timer"
METRICS = "/var/lib/prometheus/node-exporter/plainstack_second_copy.prom"
KEY = f"{barman.HOME}/.ssh/second_copy"
_CONFIG = "/etc/plainstack/second-copy.json"
_KNOWN_HOSTS = "/etc/plainstack/second-copy.known_hosts"
_UNITS = (UNIT, "plainstack-fetch-copy@.service", "plainstack-restore-test-copy.service")
_SYSTEM = "/etc/systemd/system"
_AS_BARMAN = f"runuser -u barman -- /usr/bin/python3 -I {PROGRAM}"


def copying(stack: Stack, host: Host, vault: Vault) -> Iterator[Resource]:
    """Yield the resources of the backup host for the second copy; none if the inventory names no second copy."""
    wanted = stack.settings(Backup).second_copy
    if wanted is None:
        return
    in_s3 = isinstance(wanted.place, Bucket)
    yield Directory(path=PROGRAM)
    modules = (*MODULES, *(second_copy_s3.MODULES if in_s3 else ()), *(OF_FILES if kept(stack) else ()))
    yield from (verbatim("backup", f"{PROGRAM}/{name}.py") for name in modules)
    yield from second_copy_s3.resources(stack, wanted, vault) if in_s3 else _over_ssh(stack, wanted)
    yield File(path=_CONFIG, content=f"{json.dumps(_config(stack, host, wanted), indent=4)}\n".encode())
    known: dict[str, Any] = {
        "program": PROGRAM,
        "scratch": scratch.FOLDER,
        "trial": scratch.PROGRAM,
        "requests": scratch.REQUESTS,
    }
    for unit in _UNITS:
        yield template("backup", f"{_SYSTEM}/{unit}", metrics=METRICS, where=wanted.where, **known)
        yield template("backup", f"{_SYSTEM}/{{service}}.d/10-hardening.conf", at={"service": unit})
    yield template("backup", f"{_SYSTEM}/{TIMER}")
    yield Unit(name=TIMER)


def _over_ssh(stack: Stack, wanted: SecondCopy) -> Iterator[Resource]:
    yield Package(name="openssh-client")
    yield Directory(path=f"{barman.HOME}/.ssh", mode=0o700, owner="barman", group="barman")
    yield File(path=_KNOWN_HOSTS, content=_known_host(wanted).encode())
    yield Command(
        name="key of the second copy",
        why="generate the key for the second copy of the backups",
        run=f"runuser -u barman -- ssh-keygen -q -t ed25519 -N '' -C {quote(f'{stack.stack} backups')} -f {KEY}",
        unless=f"[ -s ${{ROOT:-}}{KEY} ] && [ -s ${{ROOT:-}}{KEY}.pub ]",
    )


def first_copy(stack: Stack) -> Iterator[Resource]:
    """Yield the command that tries the destination when a deploy changes it; a refusal becomes a warning."""
    wanted = stack.settings(Backup).second_copy
    if wanted is None:
        return
    state = f"${{ROOT:-}}{barman.copy_file(stack)}"
    # A run that the timer starts writes the state, too, and does not report to the deploy.
    tried = f"${{ROOT:-}}{barman.folder(stack)}/second-copy.tried"
    s3 = (second_copy_s3.CREDENTIALS, *((second_copy_s3.CA,) if wanted.ca else ()))
    files = (_CONFIG, *(s3 if isinstance(wanted.place, Bucket) else (_KNOWN_HOSTS,)))
    yield Command(
        name="second copy",
        why="try the destination of the second copy, and start to copy",
        run=f"{_FIRST_COPY}touch {tried}\n",
        unless=" && ".join([f"[ -s {state} ]", *(f"[ {tried} -nt ${{ROOT:-}}{path} ]" for path in files)]),
    )


_FIRST_COPY = f"""\
# A run that is under way has the old settings, and would record what it does with them.
systemctl stop {UNIT}
if said=$({_AS_BARMAN} check 2>&1); then
    systemctl start --no-block {UNIT}
else
    printf 'there is no second copy of the backups yet: %s\\n' "$said" >>"$WARNINGS"
fi
"""


def _known_host(wanted: SecondCopy) -> str:
    name = wanted.where if wanted.port == 22 else f"[{wanted.where}]:{wanted.port}"
    return f"{name} {wanted.host_key}\n"


def _config(stack: Stack, host: Host, wanted: SecondCopy) -> dict[str, Any]:
    place = wanted.place
    shared = {
        "here": host.name,
        "server": barman.server(stack),
        "folder": barman.folder(stack),
        "records": f"{scratch.SEEN}/records",
        "scratch": scratch.FOLDER,
        # rsync counts in KiB a second.
        "bandwidth": max(1, wanted.bandwidth // 8192) if wanted.bandwidth else 0,
        **({"files": folders.ROOT} if kept(stack) else {}),
    }
    if isinstance(place, Bucket):
        return {**shared, **second_copy_s3.config(wanted, place)}
    return {
        **shared,
        "kind": "ssh",
        "user": place.user,
        "host": place.host,
        "path": place.path,
        "port": wanted.port,
        "key": KEY,
        "known_hosts": _KNOWN_HOSTS,
    }


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield errors in the destination: keys of the other kind, a missing one, or the backup host itself."""
    wanted = stack.settings(Backup).second_copy
    for key, sentence in _errors(stack, wanted) if wanted else ():
        yield ("backup", "second_copy", key), f"backup.second_copy.{key}: {sentence}"


def _errors(stack: Stack, wanted: SecondCopy) -> Iterator[tuple[str, str]]:
    place = wanted.place
    in_s3 = isinstance(place, Bucket)
    for key in OF_MACHINE if in_s3 else OF_BUCKET:
        if key in wanted.model_fields_set:
            kind, other = ("user@host:path", "s3://bucket/prefix")[:: 1 if in_s3 else -1]
            yield key, f"is only for a copy at {kind}, and this one is at {other}. Remove it, or correct `to`"
    if in_s3:
        yield from second_copy_s3.contradictions(stack, wanted)
    elif wanted.host_key is None:
        yield "to", "the host needs host_key, its public host key. ssh-keyscan -t ed25519 HOST prints it"
    if not isinstance(place, Bucket):
        for host in stack.with_role("backup"):
            if place.host in (host.name, *map(str, host.addresses), "localhost", "127.0.0.1", "::1"):
                yield "to", f"{place.host} is the backup host itself; name another machine"


def required(stack: Stack) -> SecondCopy:
    """Return the settings of the second copy. Raises Refused if there is none."""
    wanted = stack.settings(Backup).second_copy
    if wanted is None:
        raise Refused("there is no second copy: backup.second_copy in the inventory says where to keep it")
    return wanted


def machine(stack: Stack) -> Place:
    """Return the machine that holds the copy. Raises Refused if it is in a bucket, or if there is none."""
    wanted = required(stack)
    if isinstance(wanted.place, Bucket):
        raise Refused(
            f"the second copy at {wanted.to} needs no SSH key; set its credentials: inv secrets.set"
            f" {second_copy_s3.ACCESS_KEY}, and inv secrets.set {second_copy_s3.SECRET_KEY}"
        )
    return wanted.place


def key_script() -> str:
    """Return shell code for root on the backup host that prints the public key of the copy."""
    return f"cat {KEY}.pub\n"


def authorized_key(stack: Stack, host: Host, public_key: str) -> str:
    """Return the line for the destination's authorized_keys: the key may use rsync in the copy's folder only.

    `from` has the addresses of the backup host.
    """
    place = machine(stack)
    addresses = ",".join(map(str, host.addresses))
    return f'restrict,from="{addresses}",command="rrsync -munge {place.path}" {public_key.strip()}'


def fetch_script() -> str:
    """Return shell code for root on the backup host that brings back what only the copy has.

    It prints a line for each backup that it fetched, `backup` and the id, and for each snapshot of services' files,
    `files` and which one. It continues if the connection breaks.
    """
    unit = "plainstack-fetch-copy@all.service"
    options = ("--invocation=0", "--identifier=python3")
    return f"""\
systemctl reset-failed {unit} 2>/dev/null || :
systemctl start {unit} || {{
    {journal(unit, *options, "--lines=12")} >&2
    exit 1
}}
{journal(unit, *options)} | sed -n 's/^fetched //p'
"""
