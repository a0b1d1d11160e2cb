"""Scratch clusters on the backup host: a backup, restored to a moment, in a PostgreSQL server of its own.

The program files/backup/usr/local/lib/plainstack/scratch does the work there, in the unit plainstack-scratch@NAME. A
cluster stays up when the operator's connection ends, until `stop`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from shlex import join

from plainstack.dataclass import dataclass
from plainstack.errors import PlainstackError
from plainstack.inventory import port_numbers as ports
from plainstack.paths import TLS

# A name that no server of Barman can have.
FOLDER = "/var/lib/barman/_scratch"
REQUESTS = "/run/plainstack-scratch"
PROGRAM = "/usr/local/lib/plainstack/scratch"
MODULES = (
    "__main__",
    "base_backup",
    "borrowed",
    "commands",
    "compared",
    "contents",
    "damage",
    "disk",
    "fetch",
    "lending",
    "life",
    "place",
    "postmaster",
    "record",
    "recovery",
    "service",
    "trial",
    "trial_unit",
    "wal_files",
)
# What was recorded about each backup when it was taken, and the results of restore tests; both as ID.json.
RECORDS = "/var/lib/plainstack/backup-records"
TESTS = "/var/lib/plainstack/restore-tests"
# The folder in which Barman's units see both, because only root can enter /var/lib/plainstack.
SEEN = "/run/plainstack-backup"
CONFIG = "/etc/plainstack/scratch.json"
PORT = ports.RESTORED
# The account of the db hosts in a served cluster. It is the primary's own; the host's certificate takes the place of
# the password.
READER = "replicator"
_COMMAND = f"/usr/bin/python3 -I {PROGRAM}"


@dataclass(frozen=True)
class Restored:
    """A scratch cluster that is up.

    `timeline` is its own, which began at `fork_lsn`; `last_commit` is None if no transaction was replayed. `reached`
    is "target" or "end of WAL". `socket` is the folder of its Unix socket; `seconds` is how long it took to start.
    `tablespaces` maps each name to where the tablespace is on the db hosts, and where in the scratch cluster.
    """

    backup: str
    timeline: int
    fork_lsn: str
    last_commit: datetime | None
    reached: str
    socket: str
    port: int
    tablespaces: dict[str, tuple[str, str]]
    seconds: float


def start_script(name: str, words: Sequence[str]) -> str:
    """Return shell code for root on the backup host that brings a scratch cluster up, and waits for it.

    `words` are the options of the program, such as --backup=ID and --end. The script prints lines of progress, then the
    cluster as JSON, which `parse` reads. It fails with a sentence, followed by the last lines of PostgreSQL's log. Run
    again with the same words, it continues to wait, or returns at once.
    """
    return f"{_COMMAND} {join(['start', name, *words])}\n"


def stop_script(name: str) -> str:
    """Return shell code for root on the backup host that ends a scratch cluster and deletes it, if there is one."""
    return f"{_COMMAND} {join(['stop', name])}\n"


def status_script() -> str:
    """Return shell code for root on the backup host that prints all scratch clusters as JSON."""
    return f"{_COMMAND} status\n"


def conninfo(server: str, user: str = READER) -> str:
    """Return how the account postgres of a db host connects to the served cluster on a backup host."""
    files = f"sslcert={TLS}/host.crt sslkey={TLS}/host.key sslrootcert={TLS}/ca.crt"
    # The site is closed meanwhile: a backup host that vanishes must not keep it waiting for hours.
    alive = "keepalives_idle=10 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=30000"
    return f"host={server} port={PORT} user={user} sslmode=verify-full {files} connect_timeout=5 {alive}"


def parse(text: str) -> Restored:
    """Return the cluster that `start_script` printed on its last line. Raises PlainstackError."""
    last = next((line for line in reversed(text.split("\n")) if line.strip()), "")
    try:
        known = json.loads(last)
        commit = known["last_commit"]
        return Restored(
            known["backup"],
            int(known["timeline"]),
            known["fork_lsn"],
            datetime.fromisoformat(commit) if commit else None,
            known["reached"],
            known["socket"],
            int(known["port"]),
            {name: (place["was"], place["is"]) for name, place in known["tablespaces"].items()},
            float(known["seconds"]),
        )
    except (KeyError, TypeError, ValueError):
        raise PlainstackError(f"not the description of a scratch cluster: {last[:200]!r}") from None
