"""The facts of db hosts, and what follows from them: findings and the transition to another database."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from plainstack.engine.observed import Observed
from plainstack.engine.paths import STATE
from plainstack.engine.role import Finding
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import AUDIT
from plainstack.postgresql.layout import AS_POSTGRES, ETC
from plainstack.postgresql.settings import Database
from plainstack.postgresql.shell_paths import BIN, DATA, RESTORING
from plainstack.postgresql.topology import PROBE, waiting
from plainstack.services import lease
from plainstack.services.processes import leases

# Print existing clusters on a host that never had this role.
CLUSTERS = f"""\
[ -e "${{ROOT:-}}{STATE}/manifest/db" ] || grep -qs '"role": "db"' "${{ROOT:-}}{AUDIT}" ||
    for version in "${{ROOT:-}}"/var/lib/postgresql/*/*/PG_VERSION; do
        cluster=${{version%/PG_VERSION}}
        [ ! -s "$version" ] || echo "cluster.${{cluster#"${{ROOT:-}}/var/lib/postgresql/"}}=yes"
    done
"""

_RESTORING = f"""\
[ ! -e {RESTORING} ] || echo "restoring=$(head -n 1 {RESTORING})"
for kept in {DATA}.before-* {DATA}.undone-*; do [ ! -d "$kept" ] || echo "kept.${{kept##*/main.}}=yes"; done
"""


def facts(stack: Stack, _host: Host) -> str:
    """Return the script that prints the replication state, databases open to app hosts, foreign clusters and leases."""
    names = f"sed -n 's/^hostssl \"\\([a-z0-9_]*\\)\".*/\\1/p' {ETC}/pg_hba.conf 2>/dev/null | sort -u | paste -sd ,"
    return f'{PROBE}\necho "databases=$({names})"\n{CLUSTERS}{_RESTORING}{_leases(stack)}'


def _leases(stack: Stack) -> str:
    if not leases(stack):
        return ""
    # The table does not exist before the first supervisor has run.
    name = stack.settings(Database).name
    return f"timeout 10 {AS_POSTGRES} {BIN}/psql -XAtqd {name} -c {shlex.quote(lease.FACTS)} 2>/dev/null || :\n"


def findings(_stack: Stack, _host: Host, observed: Observed) -> Iterator[Finding]:
    """Report clusters that Plainstack did not create, and settings that wait for a restart."""
    if settings := observed.facts.get("restart"):
        yield Finding(waiting(settings), refused=False)
    for name in sorted(key.removeprefix("cluster.") for key in observed.facts if key.startswith("cluster.")):
        version, _, cluster = name.partition("/")
        yield Finding(
            f"db: /var/lib/postgresql/{name} holds a PostgreSQL cluster that Plainstack did not create and does"
            " not touch. Use another host, or move its data (pg_dumpall) and remove it (pg_dropcluster --stop"
            f" {version} {cluster})"
        )


def transition(stack: Stack, observed: Mapping[str, Observed]) -> Stack:
    """Let the app hosts keep using the databases that they can connect to now."""
    if stack.given(Database) is None:
        return stack
    allowed = {
        name
        for host in stack.with_role("db")
        if host.name in observed
        for name in observed[host.name].facts.get("databases", "").split(",")
    }
    names = tuple(sorted(allowed - {"", stack.settings(Database).name}))
    return stack.model_copy(update={"still": stack.still.model_copy(update={"databases": names})}) if names else stack


def still_served(stack: Stack) -> Iterator[str]:
    """Yield a sentence for each database whose access the second pass revokes."""
    for name in stack.still.databases:
        yield f"app hosts may connect to database {name} until all of them have moved. A second pass removes the access"
