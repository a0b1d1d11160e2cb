"""What a db host says of itself when it is probed, and what follows from that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plainstack.engine.observed import Observed
from plainstack.engine.paths import STATE
from plainstack.engine.role import Finding
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import AUDIT
from plainstack.postgresql.layout import ETC
from plainstack.postgresql.settings import Database
from plainstack.postgresql.topology import PROBE, waiting

# Of a host that never had this role: the clusters that somebody made there.
CLUSTERS = f"""\
[ -e "${{ROOT:-}}{STATE}/manifest/db" ] || grep -qs '"role": "db"' "${{ROOT:-}}{AUDIT}" ||
    for version in "${{ROOT:-}}"/var/lib/postgresql/*/*/PG_VERSION; do
        cluster=${{version%/PG_VERSION}}
        [ ! -s "$version" ] || echo "cluster.${{cluster#"${{ROOT:-}}/var/lib/postgresql/"}}=yes"
    done
"""


def facts(_stack: Stack, _host: Host) -> str:
    """What a failover asks too, the databases that the application hosts may connect to, and clusters of others."""
    names = f"sed -n 's/^hostssl \"\\([a-z0-9_]*\\)\".*/\\1/p' {ETC}/pg_hba.conf 2>/dev/null | sort -u | paste -sd ,"
    return f'{PROBE}\necho "databases=$({names})"\n{CLUSTERS}'


def findings(_stack: Stack, _host: Host, observed: Observed) -> Iterator[Finding]:
    """Clusters that somebody else made, and settings that wait for a restart."""
    if settings := observed.facts.get("restart"):
        yield Finding(waiting(settings), refused=False)
    for name in sorted(key.removeprefix("cluster.") for key in observed.facts if key.startswith("cluster.")):
        version, _, cluster = name.partition("/")
        yield Finding(
            f"db: /var/lib/postgresql/{name} holds a PostgreSQL cluster that Plainstack did not make, and it is left"
            " alone. Use another host, or move its data (pg_dumpall) and remove it"
            f" (pg_dropcluster --stop {version} {cluster})"
        )


def transition(stack: Stack, observed: Mapping[str, Observed]) -> Stack:
    """The application hosts may also go on with the databases that they use now."""
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
    """The databases that are taken back in the second pass."""
    for name in stack.still.databases:
        yield f"app hosts may connect to database {name} until all of them have moved; a second pass takes it back"
