"""A second copy of the backups on another machine: refused, interrupted, complete, restored from, and brought back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plainstack.postgresql.backup.barman import METRICS
from plainstack.postgresql.backup.second_copy import TIMER, UNIT
from tests.lab import bucket, labs
from tests.lab.conftest import Operator
from tests.lab.writer import sql
from tests.waiting import until

HOSTS = ("db1", "db2", "bak1", "mon1")
FOLDER = "/srv/copy"
NO_TEST = 'restore_test: "*-02-29 03:30"'
# The backups need more than the first size, and less than the second.
TOO_SMALL, LARGE = "12M", "900M"

FILES = "/var/lib/barman/_folders"
KEPT = "    hosts: [app1]\n    writable: [{path: media, backup: true}]\n"
_TREE = f"{FILES}/web/app1/media/20261101T020000/tree"
LOOK = f"cd {_TREE} && find . -printf '%p %m %T@ %l\\n' | sort; cat cat link"
# No host of the service is up, so its snapshot is made here.
SNAPSHOT = f"""systemctl stop plainstack-files-snapshot
mkdir -p {_TREE}/folder && cd {_TREE} && printf cat >cat && ln -s cat link && touch -d 2026-01-01 cat folder
printf dog >folder/dog
python3 - <<'END'
import json, sys
sys.path.append("/usr/local/lib/plainstack/folders")
from pathlib import Path
import snapshots
path = Path("{_TREE}").parent
snapshots.write(path, snapshots.manifest(path / "tree"))
(path / "snapshot.json").write_text(json.dumps({{"begin": 1793498400.0, "end": 1793498401.0, "files": 2, "size": 6}}))
END
chown -R barman: {FILES}/web
{LOOK}"""


class Copy:
    """The stack with a second copy on mon1, in a folder of an account that is used for nothing else."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.mon1 = operator.on("bak1", "getent hosts mon1").split()[0]
        self.key = operator.on("mon1", "cat /etc/ssh/ssh_host_ed25519_key.pub").strip()
        operator.on(
            "mon1",
            "apt-get -qq update && apt-get -qqy install --no-install-recommends rsync python3 >/dev/null\n"
            f"useradd --create-home keeper && mkdir {FOLDER} && mount -t tmpfs -o size={TOO_SMALL} none {FOLDER}"
            f" && chown keeper: {FOLDER} && install -d -m 700 -o keeper -g keeper ~keeper/.ssh",
        )

    def wanted(self, key: str) -> None:
        """Write the machine into the inventory, with this host key."""
        self.write(f'to: "keeper@mon1:{FOLDER}", host_key: "{key}"')

    def write(self, keys: str) -> None:
        """Write the destination into the inventory."""
        text = self.operator.inventory.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("backup:")]
        lines.append(f"backup: {{{labs.UNSCHEDULED}, second_copy: {{{keys}, {NO_TEST}}}}}")
        self.operator.inventory.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def deploy(self) -> str:
        return self.operator.inv("deploy", "--role=backup", timeout=1200).text

    def admit(self, options: str = "") -> None:
        """Add the key of the backup host to the account."""
        line = self.operator.inv("backups", "--copy-key").out.strip()
        self.operator.on("mon1", f"cat >~keeper/.ssh/authorized_keys <<'END'\n{options or line}\nEND\n")

    def run(self) -> dict[str, Any]:
        """Run a copy, and return what it achieved."""
        # One that began earlier, by a timer or after a backup, may not see what the test has changed since.
        ended = f'while [ "$(systemctl is-active {UNIT})" = activating ]; do sleep 0.2; done'
        self.operator.on("bak1", f"{ended}; systemctl start {UNIT} || :")
        found: dict[str, Any] = json.loads(
            self.operator.on("bak1", f"cat /var/lib/barman/{self.operator.stack}/second-copy.json")
        )
        return found

    def listed(self) -> list[str]:
        """Return the backups that Barman lists."""
        return [one["id"] for one in self.operator.json("backups", code=None)["backups"]]

    def kept(self) -> list[str]:
        """Return the backups that the copy lists."""
        listed = self.operator.on("mon1", f"cd {FOLDER} && ls meta 2>/dev/null || :").split()
        return sorted(name.removesuffix("-backup.info") for name in listed)

    def sql(self, text: str) -> str:
        return sql(self.operator, text)


@pytest.fixture(scope="module")
def copy(deployed: Operator) -> Copy:
    return Copy(deployed)


def test_a_destination_that_cannot_be_used_is_reported_with_what_to_do(copy: Copy) -> None:
    operator = copy.operator
    copy.wanted(operator.on("db1", "cat /etc/ssh/ssh_host_ed25519_key.pub").strip())
    assert "mon1 has another host key than backup.second_copy.host_key" in copy.deploy()
    copy.wanted(copy.key)
    said = copy.deploy()
    assert "mon1 refuses the key of bak1. Add the line that inv backups --copy-key prints" in said
    assert "mon1 refuses the key of bak1" in operator.inv("status", code=None).text
    copy.admit(operator.on("bak1", "cat /var/lib/barman/.ssh/second_copy.pub"))
    assert "mon1 lets the key of bak1 run any command" in copy.run()["problem"]
    copy.admit()
    assert "the disk of mon1 is full" in copy.run()["problem"]
    assert copy.kept() == []
    operator.on("mon1", f"mount -o remount,size={LARGE} {FOLDER}")
    from_bak1 = f"INPUT -s {operator.on('mon1', 'getent hosts bak1').split()[0]} -p tcp --dport 22 -j REJECT"
    operator.on("mon1", f"iptables -I {from_bak1} --reject-with tcp-reset")
    assert "mon1 cannot be reached: Connection refused" in copy.run()["problem"]
    operator.on("mon1", f"iptables -D {from_bak1} --reject-with tcp-reset")


def test_what_was_copied_passes_a_restore_test_from_the_copy(copy: Copy) -> None:
    operator = copy.operator
    copy.sql("create table copied_test as select generate_series(1, 2000) as n")
    backup = operator.json("backup-now")
    copy.sql("insert into copied_test values (2001)")
    # A copy that began by itself would miss the files that are put aside below. A run for the metrics that began just
    # before the restore test has ended would miss that, and the next one comes only after five minutes.
    operator.on("bak1", f"systemctl stop {TIMER} plainstack-backup-metrics.timer")
    assert copy.run()["problem"] == ""
    assert backup["id"] in copy.kept()
    assert "copied until" in operator.inv("backups").text
    assert operator.json("backups")["second_copy"]["problem"] is None
    assert "second copy" not in operator.inv("status", code=None).text
    # Not even rsync can leave the folder.
    key = "-i /var/lib/barman/.ssh/second_copy -o UserKnownHostsFile=/etc/plainstack/second-copy.known_hosts"
    outside = f"cd / && runuser -u barman -- rsync --rsh='ssh {key}' keeper@mon1:/../../etc/hostname /tmp/ 2>&1 || :"
    assert "do not use .. in" in operator.on("bak1", outside)
    # The copy alone is enough: Barman's own backup is out of the way.
    base = f"/var/lib/barman/{operator.stack}/base/{backup['id']}"
    operator.on("bak1", f"mv {base} /var/lib/barman/aside")
    result = operator.json("restore-test", "--from-copy")
    operator.on("bak1", f"mv /var/lib/barman/aside {base} && systemctl start {TIMER}")
    assert (result["backup"], result["passed"], result["problems"]) == (backup["id"], True, [])
    assert result["rows"] >= 2000
    assert result["from_copy"]
    until(
        lambda: operator.on("bak1", "ls -A /var/lib/barman/_scratch | grep -v '^[.]' || :") == "",
        "what was fetched is not deleted",
    )
    assert "restored as a test" in operator.inv("backups").text
    until(
        lambda: bool(operator.on("bak1", f"grep '^plainstack_second_copy_restore_test_ok.* 1$' {METRICS} || :")),
        "the metrics do not have the restore test",
    )
    operator.on("bak1", "systemctl start plainstack-backup-metrics.timer")


def test_an_interrupted_copy_lists_no_half_backup_and_the_next_one_completes_it(copy: Copy) -> None:
    operator = copy.operator
    operator.on("bak1", f"systemctl stop {TIMER}")
    config = "/etc/plainstack/second-copy.json"
    operator.on("bak1", f'cp -a {config} /root/ && sed -i \'s/"bandwidth": 0/"bandwidth": 100/\' {config}')
    backup = operator.json("backup-now")["id"]
    # The backup starts a copy.
    until(
        lambda: bool(operator.on("mon1", f"find {FOLDER}/base/{backup} -type f 2>/dev/null || :")), "nothing is copied"
    )
    operator.on("bak1", f"systemctl kill --signal=KILL {UNIT}; cp -a /root/second-copy.json {config}")
    assert backup not in copy.kept()
    assert operator.json("restore-test", "--from-copy")["backup"] != backup
    assert copy.run()["problem"] == ""
    assert backup in copy.kept()
    operator.on("bak1", f"systemctl start {TIMER}")


def test_what_retention_removes_leaves_the_copy_and_what_a_lost_host_had_does_not(copy: Copy) -> None:
    operator = copy.operator
    oldest, *kept = copy.kept()
    operator.on("bak1", f"cd / && runuser -u barman -- barman delete {operator.stack} {oldest}")
    assert copy.run()["problem"] == ""
    assert copy.kept() == kept
    assert not operator.on("mon1", f"ls -d {FOLDER}/base/{oldest} 2>/dev/null || :")
    # The backup host is lost. The new one has none of its backups, and takes one of its own.
    folder = f"/var/lib/barman/{operator.stack}"
    operator.on("bak1", f"systemctl stop 'plainstack-ba*' 'plainstack-second*' && rm -rf {folder}")
    operator.inv("deploy", "--role=backup", timeout=1200)
    seen = copy.run()
    assert (seen["problem"], seen["unknown"]) == ("", kept)
    assert set(kept) < set(copy.kept())
    assert "bring them back: inv backups --fetch-copy" in operator.inv("status", code=None).text
    assert operator.json("backups", "--fetch-copy")["fetched"] == kept
    assert set(kept) < {one["id"] for one in operator.json("backups", code=None)["backups"]}
    assert copy.run()["unknown"] == []
    operator.inv("verify", "--role=backup")
    # Everything is back except the WAL between the last copy and the first backup of the new host.
    result = operator.json("restore-test", f"--backup={kept[-1]}", code=None)
    assert result["rows"] >= 2000
    assert all("is missing from Barman's archive" in problem for problem in result["problems"])


def test_files_of_services_are_in_the_copy_and_come_back_from_it(copy: Copy) -> None:
    operator = copy.operator
    text = operator.inventory.read_text(encoding="utf-8")
    operator.inventory.write_text(text.replace("    kind: django\n", f"    kind: django\n{KEPT}", 1), encoding="utf-8")
    copy.deploy()
    was = operator.on("bak1", SNAPSHOT).strip()
    assert copy.run()["problem"] == ""
    assert len(operator.on("mon1", f"ls {FOLDER}/files/contents/*/*").split()) == 2
    # A run that the timer has just started would record the snapshot again.
    lost = f"{FILES}/web /var/lib/barman/{operator.stack}/second-copy.json"
    operator.on("bak1", f"systemctl stop {TIMER} {UNIT} && rm -rf {lost}")
    assert copy.run()["unknown_files"] == ["web/app1/media/20261101T020000"]
    assert operator.json("backups", "--fetch-copy")["files"] == ["web/media of app1, snapshot 20261101T020000"]
    assert operator.on("bak1", LOOK).strip() == was


def test_a_bucket_takes_the_place_of_the_machine(copy: Copy, tmp_path: Path) -> None:
    operator = copy.operator
    # One backup has more than a thousand files, which a server for tests takes its time for.
    old = "for info in $(ls | head -n -1); do rm -rf $info ../base/${info%-backup.info}; done"
    operator.on("bak1", f"cd /var/lib/barman/{operator.stack}/meta && {old}")
    with bucket.serving(operator, tmp_path, bucket.NAME, bucket.documented_policy()) as server:
        copy.write(f"to: s3://{bucket.NAME}/shop, endpoint: '{server.endpoint}', ca: {server.authority}")
        assert "inv secrets.set backup/s3_access_key_id" in operator.inv("plan", "--role=backup", code=1).err
        copy.operator.secret("backup/s3_access_key_id", server.key)
        copy.operator.secret("backup/s3_secret_access_key", server.secret[::-1])
        assert "Set the right one, and deploy: inv secrets.set backup/s3_secret_access_key" in copy.deploy()
        copy.operator.secret("backup/s3_secret_access_key", server.secret)
        assert "there is no second copy" not in copy.deploy()
        # A copy that began by itself while files are deleted below would take that for the work of retention.
        operator.on("bak1", f"systemctl stop {TIMER}")
        assert copy.run()["problem"] == ""
        kept = copy.listed()
        was = operator.on("bak1", LOOK)
        # The backup host loses all that the copy has.
        lost = f"{FILES}/web base/* meta/* wals/* second-copy.json"
        operator.on("bak1", f"cd /var/lib/barman/{operator.stack} && rm -rf {lost}")
        assert copy.listed() == []
        assert copy.run()["unknown"] == kept
        # As the timer does it.
        operator.on("bak1", "systemctl start plainstack-restore-test-copy.service")
        assert operator.json("backups", "--fetch-copy")["fetched"] == kept
        assert copy.listed() == kept
        assert operator.on("bak1", LOOK) == was
        assert copy.run()["unknown"] == []
        listed = operator.inv("backups", code=None).text
        assert f"second copy at s3://{bucket.NAME}/shop: copied until" in listed
        assert listed.count("restored as a test") == 1
        seen = operator.on("bak1", "journalctl --no-pager; ps -eo args; cat /var/lib/barman/*/second-copy.json")
        assert server.secret not in seen
