"""A command under a lease on the lab's application hosts, and its record of when and where it ran."""

from __future__ import annotations

import base64
import io
import logging
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from plainstack import shipped
from plainstack.lab import container, up
from plainstack.lab.of_inventory import of
from tests import inventories
from tests.lab.operator import Operator
from tests.waiting import until

LOG = logging.getLogger(__name__)
PROGRAM = "usr/local/lib/plainstack/one"
LINES = "/var/lib/one-test"
# A child in its own session writes a line twenty times a second. All lab hosts share one monotonic clock.
COMMAND = f"""\
import os, sys, time
child = os.fork()
if child:
    os.waitpid(child, 0)
    sys.exit(3)
os.setsid()
now = lambda: time.clock_gettime(time.CLOCK_MONOTONIC)
run = f"{{os.getppid()}}-{{now()}}"
with open(f"{LINES}/{{sys.argv[1]}}", "a", buffering=1) as file:
    while True:
        file.write(f"{{run}} {{now()}}\\n")
        time.sleep(0.05)
"""
UNIT = f"""\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
User=app-web
EnvironmentFile=/etc/plainstack/app/one-test.env
Environment=@SET@
StateDirectory=one-test
ExecStart=/usr/bin/python3 -I /{PROGRAM} --lease %i -- /usr/bin/env -u LD_PRELOAD python3 {LINES}.py %i
Delegate=yes
DelegateSubgroup=supervisor
KillMode=mixed
WatchdogSec=30
WatchdogSignal=SIGKILL
Restart=always
RestartSec=500ms
TimeoutStopSec=45
"""
HOUR_OFF = (
    "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME=@SIGN@3600"
)
INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends python3-psycopg libfaketime >/dev/null 2>&1
echo @TAR@ | base64 -d | tar xz -C /
set -a; . /etc/plainstack/app/web.env; set +a
umask 077
cat >/etc/plainstack/app/one-test.env <<END
PGHOST=$DB_HOSTS
PGDATABASE=$DB_NAME
PGUSER=$DB_USER
PGPASSWORD=$DB_PASSWORD
PGSSLMODE=verify-full
PGSSLROOTCERT=$DB_SSLROOTCERT
END
systemctl daemon-reload
"""


@dataclass(frozen=True)
class Run:
    """One run of the command, with the times of its first and last line, in seconds."""

    host: str
    name: str
    first: float
    last: float


def overlaps(runs: Iterable[Run]) -> list[tuple[Run, Run]]:
    """Return every pair of runs that were alive at the same time."""
    order = sorted(runs, key=lambda run: run.first)
    return [(one, two) for at, one in enumerate(order) for two in order[at + 1 :] if two.first <= one.last]


class Leases:
    """Two application hosts, and the leases that tests start on them."""

    def __init__(self, operator: Operator, hosts: tuple[str, str]) -> None:
        self.operator = operator
        self.hosts = hosts
        # Names of runs that went on for a moment after their host was thawed.
        self.thawed: set[str] = set()
        for host, sign in zip(hosts, "-+", strict=True):
            units = {"lease@": "", "hour-off@": HOUR_OFF.replace("@SIGN@", sign)}
            files = {f"etc/systemd/system/{unit}.service": UNIT.replace("@SET@", what) for unit, what in units.items()}
            operator.on(host, INSTALL.replace("@TAR@", _archive({**files, f"{LINES[1:]}.py": COMMAND})))

    def start(self, *units: str) -> None:
        """Start units on all hosts, and wait until each lease has a holder."""
        for host in self.hosts:
            self.operator.on(host, f"systemctl start {' '.join(units)}")
        for unit in units:
            until(partial(self.runs, unit.partition("@")[2]), f"somebody runs {unit}")

    def holder(self, lease: str) -> str:
        """Return the host that wrote the latest line."""
        return max(self.runs(lease), key=lambda run: run.last).host

    def other(self, host: str) -> str:
        return next(name for name in self.hosts if name != host)

    def lines(self, lease: str, *hosts: str) -> list[tuple[str, str, float]]:
        """Return the lines of a lease on these hosts, or on all: host, run and time, ordered by time."""
        found = [
            (host, *line.split())
            for host in hosts or self.hosts
            for line in self.operator.on(host, f"cat {LINES}/{lease} 2>/dev/null || :").splitlines()
        ]
        return sorted(((host, run, float(at)) for host, run, at in found), key=lambda line: line[2])

    def runs(self, lease: str, *hosts: str) -> list[Run]:
        """Return all runs of a lease on these hosts, or on all."""
        times: dict[tuple[str, str], list[float]] = {}
        for host, run, at in self.lines(lease, *hosts):
            times.setdefault((host, run), []).append(at)
        return [Run(*key, min(each), max(each)) for key, each in times.items()]

    def pause(self, lease: str, since: float) -> float:
        """Return the longest time without a line, in seconds, since a moment."""
        times = [since, *(at for _, _, at in self.lines(lease) if at > since)]
        return max(after - before for before, after in pairwise(times))

    def await_run(self, lease: str, since: float, *hosts: str) -> Run:
        """Wait for a run on these hosts, or on any, that began after a moment, and return the first such run."""
        runs = until(lambda: [run for run in self.runs(lease, *hosts) if run.first > since], f"somebody runs {lease}")
        return min(runs, key=lambda run: run.first)

    def await_quiet(self, host: str) -> None:
        """Wait until a host that lost the lease has killed its command: its supervisor waits for the lease again."""
        until(lambda: "waits: " in self.operator.on(host, "systemctl show --property=StatusText 'lease@main'"), host)

    def address(self, host: str) -> str:
        return str(inventories.load(self.operator.inventory).hosts[host].address)

    def inside(self, host: str, script: str) -> None:
        """Run a script on a host, without using its network."""
        lab = of(inventories.load(self.operator.inventory))
        container.run(lab, up.running(lab, host, "lab.break"), script)


def moved(leases: Leases, lease: str, what: str, fault: Callable[[str], object]) -> tuple[str, Run]:
    """Break the holder, wait until the other host has taken over, and return the old holder and the new run.

    Fails the test if the takeover lasts thirty seconds or more.
    """
    holder = leases.holder(lease)
    began = time.monotonic()
    fault(holder)
    broken = time.monotonic()
    run = leases.await_run(lease, began, leases.other(holder))
    LOG.info("%s: the other host runs it %.1f s later", what, run.first - began)
    assert run.first - broken < 30
    return holder, run


def _archive(texts: Mapping[str, str]) -> str:
    program = shipped.FILES / "app" / PROGRAM
    contents = {path: text.encode() for path, text in texts.items()}
    contents |= {f"{PROGRAM}/{path.name}": path.read_bytes() for path in program.glob("*.py")}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path, content in contents.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return base64.b64encode(packed.getvalue()).decode()
