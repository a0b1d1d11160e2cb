"""The database goes back to an earlier moment on lab hosts, and forward again; no row is lost or left over."""

from __future__ import annotations

import re
import signal
import subprocess
import time

import pytest

from plainstack.postgresql.layout import AS_POSTGRES, BIN, UNIT
from tests.lab import labs
from tests.lab.conftest import Operator
from tests.lab.database import primary
from tests.lab.whole import await_whole
from tests.waiting import PATIENCE, until

HOSTS = ("lb1", "app1", "db1", "db2", "mon1", "bak1")
# The restore is killed at the beginning of each of these steps: one of every kind. The model in
# unit/postgresql/test_restore_decisions.py interrupts it at all of them.
KINDS = (
    "record what is restored",
    "recover a copy of the database",
    "copy web/media to app1",
    "show visitors the maintenance page",
    "stop the processes of the services",
    "stop PostgreSQL, to exchange its data",
    "put the data directory aside",
    "copy the recovered database",
    "start as the primary",
    "prepare the accounts",
    "copy the database from",
    "start as a replica",
    "put the files of web/media in place",
    "receive the WAL of the new history",
    "start the processes of the services again",
    "take a base backup",
)
# A line of a restore that says that a step begins on a host, and what it does.
STEP = re.compile(r"^\[ *[\d.]+s\] \w+: (.*) \.\.\.$")


class Stack:
    """The stack, as the tests use it: rows with an acknowledgement each, and the site."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.acknowledged: list[int] = []
        self._leader = ""

    @property
    def primary(self) -> str:
        self._leader = primary(self.operator, first=self._leader)
        return self._leader

    def sql(self, text: str, host: str = "") -> str:
        command = f"cd / && timeout 60 {AS_POSTGRES} {BIN}/psql -v ON_ERROR_STOP=1 -XAtqd shop"
        return self.operator.on(host or self.primary, f"{command} <<'END'\n{text}\nEND\n").strip()

    def write(self, count: int) -> None:
        """Insert rows one by one, and record each after its commit was acknowledged."""
        host = self.primary
        first = len(self.acknowledged) + 1
        numbers = list(range(first, first + count))
        self.sql("\n".join(f"insert into restore_test values ({number});" for number in numbers), host)
        self.acknowledged += numbers

    def rows(self) -> list[int]:
        return [int(row) for row in self.sql("select n from restore_test order by n").split()]

    def upload(self, text: str) -> None:
        """Change the files of the service on app1 as the service: some are replaced, some are new, some are gone."""
        self.operator.on(
            "app1",
            f"runuser -u app-web -- sh -ec 'cd {MEDIA}; rm -rf old; [ ! -e new ] || mv new old; mkdir -p new/empty;"
            f' echo {text} >same; echo {text} >"new/{text} ö"; chmod 600 same; ln -sfn same link\'',
        )

    def files(self) -> str:
        return self.operator.on("app1", LOOK)

    def now(self) -> str:
        return self.sql("select clock_timestamp()")

    def serves(self) -> bool:
        """Return whether the site answers through the balancer with the service, not the maintenance page."""
        ask = f"curl -sk -m 30 -o /dev/null -w '%{{http_code}}' https://{labs.NETWORKS[1]}.230/"
        return self.operator.on("lb1", ask, check=False).strip() == "200"

    def await_whole(self) -> None:
        until(self.serves, "the site does not answer")
        await_whole(self.operator)


MEDIA = "/var/lib/app-web/media"
KEPT = "    writable: [{path: media, backup: true}]\n"
# All about the files of a folder but the times of links and folders.
LOOK = f"""cd {MEDIA}
{{ find . -printf '%P %y %m %u %g %l\\n'; find . -type f -printf '%P %T@\\n' -exec sha256sum {{}} +; }} | sort"""


@pytest.fixture(scope="module")
def stack(deployed: Operator) -> Stack:
    text = deployed.inventory.read_text(encoding="utf-8")
    deployed.inventory.write_text(
        text.replace("    kind: django\n", "    kind: django\n    hosts: [app1]\n" + KEPT, 1),
        encoding="utf-8",
    )
    deployed.inv("deploy", "--host=lb1,app1,bak1,mon1", timeout=1200)
    stack = Stack(deployed)
    stack.sql("create table restore_test (n int primary key, at timestamptz default clock_timestamp())")
    stack.sql("create table restore_orders as select generate_series(1, 1000) as n")
    return stack


def killed(stack: Stack, *words: str, at: str) -> list[str]:
    """Type a restore until it ends, and its checks of the database and the backups pass.

    Kill it whenever a step begins that had not begun in an earlier attempt, and whose description contains the pattern
    `at`. Return these steps. On a busy machine, the next one may have begun, too, before the kill.
    """
    seen: list[str] = []
    operator = stack.operator
    line = [str(operator.programs / "inv"), "restore", *words, "--yes", f"--inventory={operator.inventory}"]
    killed_run, killed_at = 0, 0.0
    while True:
        process = subprocess.Popen(
            line,
            cwd=operator.project,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert process.stdout
        said = []
        for text in process.stdout:
            said.append(text)
            found = STEP.match(text.rstrip("\n"))
            if found and re.search(at, found[1]) and found[1] not in seen:
                seen.append(found[1])
                process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=600)
        process.stdout.close()
        if code == -signal.SIGKILL:
            killed_run, killed_at = process.pid, time.monotonic()
        # A host notices a moment later that a killed run has ended, and until then refuses the next one.
        elif f"(pid {killed_run})" not in "".join(said) or time.monotonic() - killed_at > PATIENCE:
            assert code == 0, "".join(said)[-4000:]
            return seen


def test_a_dropped_table_comes_back_with_every_row_from_before_and_none_from_after_over_a_failover(
    stack: Stack,
) -> None:
    """The backup is from before a failover, the moment from after it; every kind of step is interrupted."""
    stack.write(50)
    stack.upload("first")
    uploaded = stack.files()
    stack.operator.inv("backup-now")
    stack.upload("second")
    stack.write(50)
    old = stack.primary
    stack.operator.on(old, f"systemctl kill --signal=KILL {UNIT}")
    stack.operator.fab("promote", "--yes")
    stack.operator.fab("rejoin", "--yes")
    stack.write(50)
    before = list(stack.acknowledged)
    moment = stack.now()
    stack.sql("drop table restore_orders")
    stack.write(50)
    seen = killed(stack, f"--at={moment}", at="|".join(f"^{kind}" for kind in KINDS))
    assert len(seen) == len(KINDS), seen
    assert stack.rows() == before
    assert stack.sql("select count(*) from restore_orders") == "1000"
    assert stack.files() == uploaded
    stack.await_whole()


def test_undoing_a_restore_brings_back_everything_also_if_it_is_interrupted(stack: Stack) -> None:
    assert stack.rows() != stack.acknowledged
    stack.sql("insert into restore_test values (100000)")
    seen = killed(stack, "--undo", at="old data directory|timeline of its own|new history")
    assert len(seen) == 3, seen
    assert stack.rows() == stack.acknowledged
    assert stack.sql("select to_regclass('restore_orders') is null") == "t"
    assert "second" in stack.files()
    said = stack.operator.on("bak1", "journalctl --boot --unit=plainstack-barman-receive-wal --output=cat --no-pager")
    assert "not in this server's history" not in said
    stack.await_whole()
    # Barman follows the old history again: a failover works, and so does a restore to a moment after it.
    stack.write(20)


def test_a_restore_to_just_before_a_transaction_while_the_replica_is_away_after_an_undone_one(stack: Stack) -> None:
    before = list(stack.acknowledged)
    xid = stack.sql("begin; insert into restore_test values (0); select pg_current_xact_id(); commit").split()[-1]
    leader = stack.primary
    (away,) = {"db1", "db2"} - {leader}
    stack.operator.inv("lab.break", away, "--cut")
    try:
        # The checks find that the replica does not stream.
        assert "the site stays closed" in stack.operator.inv("restore", f"--before-xid={xid}", "--yes", code=1).text
        assert not stack.serves()
        stack.operator.inv("restore", "--despite-checks", "--yes", code=1)
        assert stack.rows() == before
        until(stack.serves, "the site does not answer")
        assert stack.primary == leader
    finally:
        stack.operator.inv("lab.mend", away)
    stack.operator.fab("rejoin")
    stack.operator.inv("verify", "--role=db,backup")
    stack.await_whole()
    stack.operator.inv("restore", "--discard", "--yes")
    assert "nothing to undo" in stack.operator.inv("restore", "--undo", "--yes", code=1).text


def test_one_folder_comes_back_alone_and_a_damaged_file_of_its_snapshot_is_caught(stack: Stack) -> None:
    operator = stack.operator
    stack.upload("second")
    before = stack.files()
    operator.on("bak1", "systemctl start plainstack-files-snapshot")
    newest = operator.json("backups")["files"][-1]
    assert (newest["service"], newest["folder"], newest["host"], newest["restore_test"]) == (
        "web",
        "media",
        "app1",
        None,
    )
    stack.upload("third")
    after = stack.files()
    operator.inv("restore", "--files=web/media", "--yes")
    assert stack.files() == before
    operator.inv("restore", "--files=web/media", "--undo", "--yes")
    assert stack.files() == after
    # A certificate of the stack is not enough: it must be the backup host's.
    ask = "/usr/bin/python3 -I /usr/local/lib/plainstack/folders connect read web/media 9873 app1 rsync --server 2>&1"
    assert "app1 refuses: it does not admit app1" in operator.on("app1", f"{ask} || :")
    tree = f"/var/lib/barman/_folders/web/app1/media/{newest['id']}/tree"
    operator.on("bak1", f"cd {tree} && touch -r same /root/when && echo fourth >same && touch -r /root/when same")
    damaged = f"web/media of app1: same has changed in the snapshot {newest['id']}"
    assert damaged in operator.inv("restore-test", code=1).text
    assert damaged in operator.inv("restore", "--files=web/media", "--yes", code=1).text
    assert damaged in operator.inv("status", code=None).text
    assert stack.files() == after


def test_a_moment_out_of_reach_and_a_wrong_name_change_nothing(stack: Stack) -> None:
    assert "The backups and their WAL reach" in stack.operator.inv("restore", code=1).text
    assert "cannot go back to" in stack.operator.inv("restore", "--at=2020-01-01 00:00+00", "--yes", code=1).text
    # Without a terminal, nobody can be asked for the name of the stack.
    assert "nothing was done" in stack.operator.inv("restore", f"--at={stack.now()}", code=1).text
    until(stack.serves, "the site does not answer")
