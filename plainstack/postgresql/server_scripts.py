"""Shell code about the server of a db host that both failovers and restores use."""

from __future__ import annotations

from plainstack.postgresql.layout import AS_POSTGRES, UNIT
from plainstack.postgresql.shell_paths import BIN, DEGRADED
from plainstack.shell import await_condition, journal

METRIC = "${ROOT:-}/var/lib/prometheus/node-exporter/plainstack_degraded.prom"

PSQL = f"{AS_POSTGRES} {BIN}/psql -v ON_ERROR_STOP=1 -XAtq"
JOURNAL = f"{journal(UNIT, '--lines=6')} >&2"

NOT_DEGRADED = f"rm -f {DEGRADED} {METRIC}\n"

# On a full or read-only disk, the file that keeps PostgreSQL from starting cannot be written. Then a runtime mask of
# the unit does so until the host boots.
MASK = f"/run/systemd/system/{UNIT}"
UNMASK = f"[ ! -e {MASK} ] && [ ! -L {MASK} ] || systemctl unmask --runtime {UNIT}\n"

AWAIT_NONE_RUNS = await_condition(
    "! pgrep -u postgres -x postgres >/dev/null", "PostgreSQL was stopped and still runs", tries=50, pause=0.1
)


def start(seconds: int) -> str:
    """Return shell code that starts the server, and fails with its journal if it is not up within `seconds`."""
    return (
        f"systemctl reset-failed {UNIT} 2>/dev/null || :\n"
        f"timeout {seconds} systemctl start {UNIT} && systemctl is-active --quiet {UNIT} || {{ {JOURNAL}; exit 1; }}\n"
    )
