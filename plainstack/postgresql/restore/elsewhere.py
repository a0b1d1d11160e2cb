"""Restore tests on a db host: it copies the cluster that the backup host has recovered, and checks the copy.

The copy travels as in a restore. The unit that checks it has no network, sees neither the live cluster's files nor its
socket, and deletes the copy however it ends.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from shlex import join, quote
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup.catalogue import Catalogue
from plainstack.postgresql.hosts import databases
from plainstack.postgresql.layout import AS_POSTGRES, BIN, CLUSTERS, DATA, VERSION
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.restore.db_scripts import copying
from plainstack.shipped import FILES
from plainstack.wording import did_you_mean, size

# The cluster on the backup host, as its program calls it.
LENT = "restore-test-lent"
FOLDER = f"{CLUSTERS}/restore-test"
UNIT = "plainstack-restore-test.service"
# Deletes the copy when the host boots after a power failure in the middle of a test.
_AT_BOOT = "/etc/tmpfiles.d/plainstack-restore-test.conf"
# Bytes that stay free beside the copy: for the WAL of the copy, and for the live cluster.
SPARE = 512 * 2**20
_PROGRAMS = ("postgres", "psql", "pg_basebackup", "pg_verifybackup", "pg_checksums", "pg_amcheck", "pg_controldata")
_MODULES = ("base_backup", "compared", "contents", "damage", "fetch", "place", "postmaster", "recovery")

LOOK = f"""\
missing=
for one in {" ".join(_PROGRAMS)}; do [ -x {BIN}/$one ] || missing="$missing $one"; done
echo "missing=${{missing# }}"
echo "running=$(systemctl show --property=ActiveState --value {UNIT})"
echo "room=$(df --output=avail -B1 {CLUSTERS} 2>/dev/null | tail -n 1)"
"""
"""Shell code for a db host that prints what `refuse` needs to know."""


@dataclass(frozen=True)
class Checked:
    """What the checks of a copy found, as sentences, and in how many seconds the copied cluster was up."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float


def must_be_suitable(stack: Stack, host: str, *, from_copy: bool) -> None:
    """Raise Refused if the inventory says that a host cannot test a backup."""
    if host not in stack.hosts:
        known = list(stack.hosts)
        raise Refused(f"--host={host}: unknown host{did_you_mean(host, known)}; known: {', '.join(known)}")
    able = databases(stack)
    if host not in able:
        raise Refused(
            f"--host={host}: {host} does not have the role db. Only db hosts have PostgreSQL's server and may copy a"
            f" restored cluster from the backup host: {', '.join(able) or 'there are none'}"
        )
    if from_copy:
        raise Refused("--from-copy restores from the second copy on the backup host; leave --host out")


def restored_size(catalogue: Catalogue, backup: str) -> int:
    """Return how many bytes a backup (or latest) has when it is restored. Raises Refused if it cannot be used."""
    usable = {one.id: one for one in catalogue.usable}
    if not usable:
        raise Refused("there is no usable backup; take one: inv backup-now")
    found = catalogue.newest if backup == "latest" else usable.get(backup)
    if found is None:
        raise Refused(f"--backup={backup}: there is no usable backup with this id. Usable are: {', '.join(usable)}")
    return found.restored_bytes


def refuse(host: str, facts: Mapping[str, str], needed: int) -> None:
    """Raise Refused if a host that printed these facts cannot hold and start a cluster of so many bytes."""
    if missing := facts.get("missing"):
        raise Refused(
            f"{host}: PostgreSQL {VERSION} is not complete there, {missing} is missing. Install it: inv deploy"
        )
    if facts.get("running") not in ("inactive", "failed"):
        raise Refused(f"{host}: another restore test runs there. Wait until it has ended")
    room, wanted = int(facts.get("room") or 0), needed + SPARE
    if room < wanted:
        raise Refused(
            f"{host}: the disk of {CLUSTERS} is too full for the restore test: {size(wanted)} are needed,"
            f" {size(room)} are free. Nothing was restored. Free some there, or name another db host"
        )


def lend_script(wanted: Sequence[str]) -> str:
    """Return shell code for the backup host that tests a backup, and lends the recovered cluster to a db host.

    `wanted` are the options of a test, see testing.py. It prints lines of progress, then the result as JSON; in it,
    `lent` says whether the cluster can be copied.
    """
    return f"/usr/bin/python3 -I {scratch.PROGRAM} {join(['lend', *wanted])}\n"


def program(lent: Mapping[str, Any]) -> bytes:
    """Return the program that checks a copy, as an archive that Python runs; `lent` is what `lend_script` printed."""
    folder = FILES / "backup" / scratch.PROGRAM.lstrip("/")
    request = {"bin": BIN, "port": ports.RESTORED, "contents": lent["contents"], "size_bytes": lent["size_bytes"]}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", (folder / "borrowed.py").read_bytes())
        for name in _MODULES:
            archive.writestr(f"{name}.py", (folder / f"{name}.py").read_bytes())
        archive.writestr("request.json", json.dumps(request))
    return packed.getvalue()


def check_script(backup_host: str, needed: int) -> str:
    """Return shell code for the db host that copies the lent cluster of `needed` bytes, checks it, and deletes it.

    Its input is the program. It prints lines of progress, then the result as JSON.
    """
    unit = {
        "ExecStopPost": (f"+/usr/bin/rm -rf {FOLDER}", f"+/usr/bin/rm -f {_AT_BOOT}"),
        "ProtectSystem": ("strict",),
        # Not the folder itself: it would be a mount point, which cannot be removed.
        "ReadWritePaths": (CLUSTERS,),
        # What was restored must not reach the live cluster.
        "InaccessiblePaths": (f"-{DATA}", "-/run/postgresql"),
        "PrivateTmp": ("yes",),
        "Nice": ("10",),
        "IOSchedulingClass": ("idle",),
        "CPUWeight": ("20",),
        "RuntimeMaxSec": ("12h",),
        "TimeoutStopSec": ("60",),
    }
    options = [f"--property={key}={value}" for key, values in unit.items() for value in values]
    run = ["systemd-run", f"--unit={UNIT}", "--description=Restore test of a backup", "--collect", "--quiet", "--wait"]
    return f"""\
set -eu
free=$(df --output=avail -B1 {CLUSTERS} | tail -n 1)
if [ "$free" -lt {needed + SPARE} ]; then
    echo "the disk of {CLUSTERS} is too full: {(needed + SPARE) >> 20} MB are needed, $((free >> 20)) MB are free" >&2
    exit 1
fi
clean() {{ rm -rf {FOLDER}; rm -f {_AT_BOOT}; }}
clean
trap clean EXIT
mkdir -p {_AT_BOOT.rpartition("/")[0]}
printf 'R! %s\\nr! %s\\n' {FOLDER} {_AT_BOOT} >{_AT_BOOT}
install -d -m 700 -o postgres -g postgres {FOLDER} {FOLDER}/copy
cat >{FOLDER}/program.pyz
chown postgres {FOLDER}/program.pyz
{join([*run, "--pipe", *options])} sh -euc {quote(_inside(backup_host))}
"""


def _inside(backup_host: str) -> str:
    """Return the shell code in the unit: only the copying has a network."""
    apart = "unshare --net --ipc --pid --fork --kill-child --mount-proc"
    return f"""\
cd /
new={FOLDER}/copy/data
began=$(date +%s%N)
{copying(backup_host, BIN)}\
kill "$shown" 2>/dev/null || :
echo "copied in $(( ($(date +%s%N) - began) / 1000000 )) ms"
exec {apart} -- {AS_POSTGRES} /usr/bin/python3 -I {FOLDER}/program.pyz
"""


STOP = f"""\
systemctl stop {UNIT} 2>/dev/null || :
rm -rf {FOLDER}
rm -f {_AT_BOOT}
"""
"""Shell code for the db host that ends a test and deletes the copy, if there is one."""


def keep_script(backup: str) -> str:
    """Return shell code for the backup host that keeps a result, given as JSON on its input, with those of its own."""
    path = f"{scratch.TESTS}/{backup}.json"
    return f"""\
set -eu
new={scratch.TESTS}/.{backup}.json.new
install -m 600 -o barman -g barman /dev/null "$new"
cat >"$new"
mv "$new" {path}
rm -f {scratch.TESTS}/refused/last.json
systemctl start --no-block plainstack-backup-metrics.service
"""


def checked(text: str, lines: list[str]) -> Checked:
    """Return what the checks printed last; `lines` are all lines of the output."""
    data = json.loads(text)
    copied = sum(int(line.split()[2]) for line in lines if line.startswith("copied in ")) / 1000
    return Checked(tuple(data["problems"]), tuple(data["notes"]), float(data["seconds"]) + copied)


def completed(lent: Mapping[str, Any], host: str, found: Checked) -> dict[str, Any]:
    """Return the result of the whole test, as the backup host keeps it."""
    data = {key: value for key, value in lent.items() if key not in ("contents", "lent")}
    return {
        **data,
        "host": host,
        "problems": [*lent["problems"], *found.problems],
        "notes": [*lent["notes"], *found.notes],
        "passed": bool(lent["passed"]) and not found.problems,
        "seconds": round(float(lent["seconds"]) + found.seconds, 1),
    }
