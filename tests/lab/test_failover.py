"""Failovers on lab hosts: a primary is switched over, killed, cut off or rejoined; no acknowledged write is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.postgresql.layout import FENCED, REWINDING
from plainstack.postgresql.server_scripts import METRIC
from tests import inventories
from tests.lab.commands import await_output, kill
from tests.lab.conftest import Operator
from tests.lab.database import Database
from tests.waiting import until

# All hosts that a failover contacts; one balancer is enough to reach the site.
HOSTS = ("lb1", "app1", "app2", "db1", "db2", "mon1", "bak1")
UNIT = "postgresql@17-main"


@pytest.fixture
def database(deployed: Operator) -> Iterator[Database]:
    """Yield the cluster with an empty table; repair the cluster if a test has failed half way."""
    here = Database(deployed)
    leader, _ = here.hosts()
    here.sql(leader, "drop table if exists failover_test; create table failover_test (row text)")
    # A switchover is refused until Barman's receiver, which has just started, streams.
    here.await_barman(leader)
    yield here
    seen = here.status()
    if not seen["healthy"] or seen["findings"]:
        deployed.fab("promote", "--yes", code=None)
        deployed.fab("rejoin", code=None)
        deployed.inv("deploy")


def test_a_switchover_moves_the_primary_and_leaves_nothing_to_deploy(database: Database) -> None:
    old, new = database.hosts()
    database.write(old, "before")
    said = database.operator.fab("switchover").out
    assert f"The primary is {new}" in said
    database.await_whole(new)
    database.write(new, "after")
    assert database.rows(new) == {"before", "after"}
    # Barman finds the new primary by itself.
    database.await_barman(new)
    assert database.sql(old, "select count(*) from pg_replication_slots where restart_lsn is not null") == "0"


def test_a_killed_primary_is_replaced_kept_out_and_rejoins_by_rewind(database: Database) -> None:
    old, new = database.hosts()
    database.write(old, "before")
    database.operator.on(old, "pkill -9 -u postgres -x postgres")
    database.operator.fab("status", code=1)
    assert "use --yes to skip this question" in database.operator.fab("promote", code=1).err
    database.operator.fab("promote", "--yes")
    database.write(new, "alone")
    seen = database.operator.fab("status", code=1).out
    assert f"{new}: writes do not wait for any replica (degraded since" in seen
    assert "plainstack_synchronous_degraded 1" in database.operator.on(new, f"cat {METRIC}")
    # Both the marker on the host and the fences on its peers keep it from starting as a second primary.
    for forget in ("", f"rm {FENCED};"):
        database.operator.on(old, f"{forget} ! systemctl start {UNIT} 2>/dev/null")
    journal = database.operator.on(old, f"journalctl --sync; journalctl -u {UNIT} -o cat -n 8")
    assert f"{new} has fenced this host off" in journal
    said = database.operator.fab("rejoin").out
    assert "undo the writes that" in said
    assert "copy the whole database" not in said
    database.await_whole(new)
    assert database.rows(new) == {"before", "alone"}
    database.operator.on(new, f"! test -e {METRIC}")


def test_an_isolated_primary_accepts_no_writes_after_it_is_reconnected(database: Database) -> None:
    old, new = database.hosts()
    database.write(old, "before")
    database.operator.inv("lab.break", old, "--cut")
    try:
        database.operator.fab("promote", "--yes")
    finally:
        database.operator.inv("lab.mend", old)
    database.write(new, "kept")
    assert database.sql(old, "select pg_is_in_recovery()") == "f"
    assert "two primaries" in database.operator.fab("status", code=1).out
    database.sql(old, "insert into failover_test values ('lost')", check=False, seconds=3)
    for app in [host.name for host in inventories.load(database.operator.inventory).with_role("app")]:
        database.operator.on(app, f"! timeout 1 bash -c '</dev/tcp/{old}/5432' 2>/dev/null")
    assert f"2 primaries: {' and '.join(sorted((old, new)))}" in database.operator.inv("plan", code=None).text
    database.operator.fab("rejoin")
    database.await_whole(new)
    assert database.rows(new) == {"before", "kept"}


def test_a_promotion_that_died_after_fencing_is_completed_by_repeating_it(database: Database) -> None:
    old, new = database.hosts()
    database.operator.on(old, "pkill -9 -u postgres -x postgres")
    line = [str(Path(sys.executable).with_name("fab")), "failover", "promote", "--yes"]
    run = subprocess.Popen(
        [*line, f"--inventory={database.operator.inventory}"],
        cwd=database.operator.project,
        stdout=subprocess.PIPE,
        text=True,
    )
    await_output(run, f"{new}: fence off")
    kill(database.operator, run, *HOSTS)
    database.operator.fab("promote", "--yes", code=None)
    assert "Next: fab failover rejoin" in database.operator.fab("promote", "--yes").out
    database.operator.fab("rejoin")
    database.await_whole(new)


def test_a_half_rewound_data_directory_is_replaced_by_a_copy_and_kept_until_the_copy_streams(
    database: Database,
) -> None:
    new, old = database.hosts()
    database.operator.on(old, f"systemctl stop {UNIT}; echo 'an earlier rewind was interrupted' >{REWINDING}")
    assert "is stopped" in database.operator.fab("status", code=1).out
    said = database.operator.fab("rejoin", f"--host={old}").out
    assert "because its own could not be rewound: an earlier rewind was interrupted" in said
    assert said.index(f"{old}: stream from") < said.index("remove the old data directory")
    database.await_whole(new)


def test_a_reinstalled_host_that_is_still_fenced_off_rejoins_with_one_command(database: Database) -> None:
    old, new = database.hosts()
    database.operator.on(old, "pkill -9 -u postgres -x postgres")
    database.operator.fab("promote", "--yes")
    database.operator.on(
        old,
        "systemctl disable --quiet --now prometheus-postgres-exporter;"
        " rm -rf /var/lib/postgresql/17 /var/lib/postgresql/.pgpass /etc/postgresql /usr/local/lib/plainstack"
        f" {FENCED} /var/lib/plainstack/manifest/db",
    )
    said = database.operator.fab("rejoin").out
    assert f"{new}: remove the fence against {old}" in said
    database.await_whole(new)


def test_a_setting_that_needs_a_restart_is_reported_and_reloads_still_work(database: Database) -> None:
    leader, follower = database.hosts()
    database.sql(follower, "alter system set max_worker_processes = 12")
    try:
        database.operator.on(follower, f"systemctl restart {UNIT}")
        database.sql(follower, "alter system reset max_worker_processes")
        by_hand = "echo '# by hand' >>/etc/postgresql/17/main/pg_hba.conf"
        database.operator.on(follower, by_hand)
        # Only after this reload, which it does a moment later, does PostgreSQL report that the setting needs a restart.
        database.operator.inv("deploy", f"--host={follower}")
        waits = "select pending_restart from pg_settings where name = 'max_worker_processes'"
        database.await_sql(follower, waits, "t")
        database.operator.on(follower, by_hand)
        said = database.operator.inv("deploy", f"--host={follower}").out
        assert f"{follower}: max_worker_processes: changed, but takes effect only when PostgreSQL restarts" in said
        assert any("max_worker_processes" in text for text in database.status()["findings"])
    finally:
        database.sql(follower, "alter system reset max_worker_processes")
        database.operator.on(follower, f"systemctl restart {UNIT}")
    database.await_replica(leader)
    database.await_whole(leader)


FULL = """
mkdir -p /mnt/data && mount --bind /var/lib/postgresql/17/main /mnt/data
mount -t tmpfs -o size=8m tmpfs /var/lib/postgresql/17
mkdir /var/lib/postgresql/17/main && mount --bind /mnt/data /var/lib/postgresql/17/main
"""
NOT_FULL = "umount /var/lib/postgresql/17/main /var/lib/postgresql/17 /mnt/data"


def test_a_rejoin_without_disk_space_changes_nothing_and_says_how_much_is_needed(database: Database) -> None:
    new, old = database.hosts()
    database.operator.on(old, f"systemctl stop {UNIT}; echo 'an earlier rewind was interrupted' >{REWINDING}; {FULL}")
    try:
        refused = database.operator.fab("rejoin", code=1).text
    finally:
        database.operator.on(old, NOT_FULL)
    assert "the disk is too full to copy the database beside the old data directory: 8 MB are free" in refused
    assert f"To delete the old data directory before the copy: fab failover rejoin --host={old} --discard" in refused
    said = database.operator.fab("rejoin", "--discard").out
    assert "copy" in said
    assert "remove the old data directory" not in said
    database.await_whole(new)


def test_writes_wait_for_a_lost_replica_until_degrade_and_again_after_resync(database: Database) -> None:
    leader, follower = database.hosts()
    insert = "insert into failover_test values ('nobody confirms this')"
    database.operator.on(follower, f"systemctl stop {UNIT}")

    def waits() -> bool:
        """Insert a row and return whether a commit waits for a standby.

        A waiting commit outlives its client, which is killed after 2 s. `until` tries again if the client was killed
        before it had sent the commit.
        """
        database.sql(leader, insert, check=False, seconds=2)
        return database.sql(leader, "select count(*) > 0 from pg_stat_activity where wait_event = 'SyncRep'") == "t"

    try:
        until(waits)
        database.await_finding(f"{leader}: every write waits, because no replica confirms it")
        database.operator.fab("degrade", "--yes")
        database.write(leader, "alone")
        assert (
            f"{leader}: writes do not wait for any replica (degraded since"
            in database.operator.fab("status", code=1).out
        )
        assert database.operator.json("plan", f"--host={leader}")["changes"] == {}
        database.await_alert("SynchronousDegraded", leader)
    finally:
        database.operator.on(follower, f"systemctl start {UNIT}")
    database.await_replica(leader)
    database.operator.fab("resync")
    database.await_whole(leader)
    assert "alone" in database.rows(leader)


def test_a_refusal_says_what_to_type_instead(database: Database) -> None:
    """The unit tests of the decisions have the other refusals."""
    leader, _ = database.hosts()
    refusals = {
        ("promot",): "unknown action 'promot', did you mean 'promote'?; known: status, switchover,",
        ("promote", "--yes"): "For a planned handover: fab failover switchover",
    }
    for words, sentence in refusals.items():
        assert sentence in database.operator.fab(*words, code=1).err
    assert "nothing to do" in database.operator.fab("rejoin").out
    assert (
        f"nothing to do: {leader} is the primary already" in database.operator.fab("switchover", f"--to={leader}").out
    )
    try:
        database.operator.on(
            "bak1",
            "systemctl stop plainstack-barman-cron.timer plainstack-barman-cron.service &&"
            " systemctl stop plainstack-barman-receive-wal",
        )
        streams = "select count(*) from pg_stat_replication where application_name = 'barman_receive_wal'"
        database.await_sql(leader, streams, "0")
        assert "Barman does not stream WAL" in database.operator.fab("switchover", code=1).err
    finally:
        database.operator.inv("deploy")
