"""A command that runs on one host only: it moves within thirty seconds after every fault, and never runs twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from plainstack.postgresql.layout import AS_POSTGRES, BIN
from plainstack.services import lease
from tests.lab.conftest import Operator
from tests.lab.one_host_command import LOG, Leases, moved, overlaps
from tests.waiting import until

HOSTS = ("app1", "app2", "db1", "db2")
LEASE = "main"
UNIT = f"lease@{LEASE}"
GROUP = "$(systemctl show --property=ControlGroup --value @UNIT@)"
# Run on two hosts, this leaves them a connection to each other and to no other host.
PART = """
iptables -N part
for way in -i -o; do iptables -A part $way lo -j RETURN; done
for end in -s -d; do iptables -A part $end @OTHER@ -j RETURN; done
iptables -A part -j DROP
iptables -I INPUT -j part
iptables -I OUTPUT -j part
"""
# Adds a row, which waits for a replica, and prints the answer that the supervisor would get.
ADD = """
set -a; . /etc/plainstack/app/one-test.env
python3 - <<'END'
import sys, time
sys.path.insert(0, "/usr/local/lib/plainstack/one")
from database import Database
from lease import Ask, Verb
database = Database("canceled", "app1", "a tenure", ttl=300)
database.ask(Ask(Verb.LOOK, time.monotonic()))
while not (heard := database.answer(time.monotonic())):
    time.sleep(0.1)
print(heard[1])
END
"""
MAIN_PID = "$(systemctl show --property=MainPID --value @UNIT@)"

# The faults that end the command, by unit. For hour-off@clock, the clocks of the two hosts are two hours apart.
FAULTS = {
    "lease@command": f"kill -9 $(head -n 1 /sys/fs/cgroup{GROUP}/command/cgroup.procs)",
    "lease@supervisor": f"kill -9 {MAIN_PID}",
    "lease@hung": f"kill -STOP {MAIN_PID}",
    "lease@stopped": "systemctl stop @UNIT@",
    "hour-off@clock": f"kill -9 {MAIN_PID}",
}


@pytest.fixture(scope="module")
def leases(deployed: Operator) -> Leases:
    here = Leases(deployed, ("app1", "app2"))
    here.start(UNIT, *FAULTS)
    return here


@pytest.fixture(autouse=True)
def never_twice(leases: Leases) -> Iterator[None]:
    yield
    assert overlaps(run for run in leases.runs(LEASE) if run.name not in leases.thawed) == []


def sql(leases: Leases, host: str, text: str) -> str:
    command = f"cd / && {AS_POSTGRES} {BIN}/psql -v ON_ERROR_STOP=1 -XAtqd shop"
    return leases.operator.on(host, f"{command} <<'END'\n{text}\nEND\n").strip()


def databases(leases: Leases) -> tuple[str, str]:
    """Return the primary and its replica."""
    one, two = "db1", "db2"
    return (one, two) if sql(leases, one, "select pg_is_in_recovery()") == "f" else (two, one)


def await_replica(leases: Leases, primary: str) -> None:
    confirms = "select sync_state from pg_stat_replication where state = 'streaming'"
    until(lambda: sql(leases, primary, confirms) == "quorum")


def test_the_process_runs_again_when_its_command_or_supervisor_dies_hangs_or_is_stopped(leases: Leases) -> None:
    holders = {unit: leases.holder(unit.partition("@")[2]) for unit in FAULTS}
    began = {}
    for unit, fault in FAULTS.items():
        began[unit] = time.monotonic()
        leases.operator.on(holders[unit], fault.replace("@UNIT@", unit))
    for unit in FAULTS:
        name = unit.partition("@")[2]
        run = leases.await_run(name, began[unit])
        LOG.info("%s: %s runs it %.1f s later, %s did", name, run.host, run.first - began[unit], holders[unit])
        assert run.first - began[unit] < 30
        assert overlaps(leases.runs(name)) == []
    for host in leases.hosts:
        leases.operator.on(host, "systemctl stop " + " ".join(FAULTS))


def test_one_query_tells_which_host_runs_the_process(leases: Leases) -> None:
    answer = sql(leases, databases(leases)[0], lease.HOLDERS)
    assert lease.holders(answer)[LEASE].host == leases.holder(LEASE)


def test_the_process_moves_when_its_host_loses_power(leases: Leases) -> None:
    inv = leases.operator.inv
    holder, _ = moved(leases, LEASE, "power off", lambda host: inv("lab.break", host, "--power-off"))
    inv("lab.mend", holder)
    leases.operator.on(holder, f"systemctl start {UNIT}")


def test_the_process_moves_when_its_host_is_cut_off(leases: Leases) -> None:
    inv = leases.operator.inv
    holder, _ = moved(leases, LEASE, "cut off", lambda host: inv("lab.break", host, "--cut"))
    inv("lab.mend", holder)
    leases.await_quiet(holder)


def test_the_process_moves_when_its_host_freezes_and_is_killed_when_the_host_thaws(leases: Leases) -> None:
    inv = leases.operator.inv
    holder, run = moved(leases, LEASE, "freeze", lambda host: inv("lab.break", host, "--freeze"))
    thawed = time.monotonic()
    inv("lab.mend", holder)
    leases.await_quiet(holder)
    late = [line for line in leases.lines(LEASE, holder) if line[2] > run.first]
    LOG.info("thawed: %d lines, in %.3f s", len(late), late[-1][2] - late[0][2] if late else 0)
    # The command may have gone on for as long as the guard needed to wake up.
    assert all(at > thawed for _, _, at in late)
    assert not late or late[-1][2] - late[0][2] < 10
    leases.thawed |= {name for _, name, _ in late}


def test_a_commit_whose_wait_for_a_replica_was_canceled_is_not_acknowledged(leases: Leases) -> None:
    primary, replica = databases(leases)
    leases.operator.on(replica, "systemctl stop postgresql@17-main")
    cancel = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep' and application_name ="
    try:
        with ThreadPoolExecutor(1) as pool:
            heard = pool.submit(leases.operator.on, "app1", ADD)
            until(lambda: sql(leases, primary, f"{cancel} 'lease canceled'") == "t")
    finally:
        leases.operator.on(replica, "systemctl start postgresql@17-main")
    assert "canceling wait for synchronous replication" in heard.result()
    assert sql(leases, primary, "select count(*) from plainstack.lease where name = 'canceled'") == "1"
    await_replica(leases, primary)


def test_the_process_runs_again_after_a_database_failover(leases: Leases) -> None:
    old, new = databases(leases)
    began = time.monotonic()
    leases.operator.on(old, "pkill -9 -u postgres -x postgres")
    leases.operator.fab("promote", "--yes", code=None)
    promoted = time.monotonic()
    again = until(lambda: [at for _, _, at in leases.lines(LEASE) if at > promoted])[0]
    pause = leases.pause(LEASE, began)
    LOG.info("database killed: promoted after %.1f s; %.1f s without the command", promoted - began, pause)
    assert again - promoted < 30
    leases.operator.fab("rejoin", code=None)
    await_replica(leases, new)


def test_the_process_moves_when_its_host_and_the_primary_are_cut_off_together(leases: Leases) -> None:
    old, new = databases(leases)

    def part(host: str) -> None:
        for one, other in ((old, host), (host, old)):
            leases.inside(one, PART.replace("@OTHER@", leases.address(other)))
        leases.operator.fab("promote", f"--to={new}", "--yes", code=None)

    holder, run = moved(leases, LEASE, "cut off together with the primary", part)
    # In its own part of the network, the old primary still acts as primary.
    leases.inside(old, f"cd / && {AS_POSTGRES} {BIN}/psql -XAtqc 'select pg_is_in_recovery()' | grep -x f")
    for one in (holder, old):
        leases.inside(one, "iptables -D INPUT -j part; iptables -D OUTPUT -j part")
    leases.await_quiet(holder)
    assert leases.holder(LEASE) == run.host
