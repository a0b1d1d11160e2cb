"""The program that keeps the second copy: what errors mean, what is removed, and in which order things appear."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import entries
import fetching
import pytest
from destination import Destination, Failed
from outcome import Outcome
from over_ssh import Machine
from pushing import Push

OLD, MIDDLE, NEW = "20261101T020000", "20261108T020000", "20261115T020000"


def entry(begin: str = "000000010000000000000010", parent: str = "None", status: str = "DONE") -> dict[str, str]:
    return {"status": status, "begin_wal": begin, "parent_backup_id": parent, "size": "10"}


@dataclass(frozen=True)
class Recorded(Machine):
    """A destination with these backups, which records the folders that rsync is called for."""

    there: tuple[str, ...] = ()
    calls: list[list[str]] = field(default_factory=list)
    sent: list[list[str]] = field(default_factory=list)

    def check(self) -> None:
        pass

    def _rsync(self, words: Iterable[str], _accepted: Iterable[int] = ()) -> tuple[int, str]:
        line = list(words)
        self.calls.append(line)
        if line[-2] == ":":
            meta = Path(line[-1]) / "meta"
            meta.mkdir(parents=True, exist_ok=True)
            for backup in self.there:
                write(meta, backup, entry())
        elif Path(line[-2]).is_dir():
            folder = Path(line[-2])
            self.sent.append(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
        return 0, ""


def write(meta: Path, backup: str, known: dict[str, str]) -> None:
    (meta / entries.info(backup)).write_text("".join(f"{key}={value}\n" for key, value in known.items()))


def make(tmp_path: Path, *there: str) -> Recorded:
    """Return a backup host with an empty catalogue, and a destination."""
    folder = tmp_path / "shop"
    for name in ("meta", "base", "wals", "streaming"):
        (folder / name).mkdir(parents=True)
    known: Any = {name: tmp_path / name for name in ("records", "scratch", "key", "known_hosts")}
    return Recorded(
        here="bak1",
        server="shop",
        folder=folder,
        user="backups",
        host="nas",
        path="/srv/shop",
        port=22,
        bandwidth=0,
        there=there,
        **known,
    )


def back_up(place: Destination, backup: str, *, whole: bool = True, parent: str = "None") -> None:
    data = place.folder / "base" / backup / "data"
    data.mkdir(parents=True)
    (data / "backup_manifest").write_text(json.dumps({"Files": [{"Path": "PG_VERSION", "Size": 3}]}))
    (data / "PG_VERSION").write_text("17\n" if whole else "1")
    write(place.folder / "meta", backup, entry(parent=parent))


@pytest.mark.parametrize(
    ("code", "text", "kind", "part"),
    [
        (255, "Host key verification failed.", "host key", "another machine answers"),
        (255, "backups@nas: Permission denied (publickey).", "key", "inv backups --copy-key"),
        (255, "ssh: connect to host nas port 22: Connection refused", "unreachable", "Connection refused"),
        (255, "ssh: Could not resolve hostname nas: unknown", "unreachable", "Could not resolve"),
        (255, "kex_exchange_identification: banner line", "unreachable", "banner line"),
        (1, "/usr/bin/rrsync error: Restricted directory does not exist!", "folder", "Create it there, as backups"),
        (127, "sh: 1: rrsync: not found", "rrsync", "Install rsync there"),
        (11, "", "full", "the disk of nas is full, or fails"),
        (11, 'rsync: write failed on "x": No space left on device (28)', "full", "the disk of nas is full"),
        (23, 'rsync: mkdir "x" failed: Permission denied (13)', "folder", "backups cannot write"),
        (12, "rsync: connection unexpectedly closed (9 bytes)", "interrupted", "The next run continues"),
        (5, "something else", "rsync", "failed with code 5: something else"),
    ],
)
def test_each_failure_is_a_sentence_that_names_the_host(
    tmp_path: Path, code: int, text: str, kind: str, part: str
) -> None:
    found = make(tmp_path).failure(code, text)
    assert found.kind == kind
    assert part in str(found)
    assert "nas" in str(found)


def test_only_what_is_older_than_all_that_is_left_here_leaves_the_copy() -> None:
    theirs = {OLD: entry(), MIDDLE: entry(), NEW: entry()}
    assert entries.removable(theirs, {MIDDLE: entry(), NEW: entry()}, [OLD, MIDDLE, NEW]) == [OLD]
    # Somebody deleted one in between.
    assert entries.removable(theirs, {OLD: entry(), NEW: entry()}, [OLD, MIDDLE, NEW]) == []
    # A backup host with nothing at all removes nothing; nor does one that was rebuilt.
    assert entries.removable(theirs, {}, [OLD, MIDDLE, NEW]) == []
    assert entries.removable(theirs, {NEW: entry()}, [NEW]) == []
    # What a kept backup is based on stays.
    based = {OLD: entry(), MIDDLE: entry(parent=OLD), NEW: entry(parent=MIDDLE)}
    assert entries.removable(based, {NEW: entry()}, [OLD, MIDDLE, NEW]) == []


def test_wal_is_old_if_it_is_before_all_kept_backups_on_any_timeline() -> None:
    kept = {MIDDLE: entry("000000010000000000000020"), NEW: entry("000000020000000000000030")}
    names = ["x/00000001000000000000001F", "x/000000010000000000000020", "x/00000002000000000000001F.partial"]
    assert entries.old_wal([*names, "00000002.history"], kept) == [names[0], names[2]]
    assert entries.old_wal(names, {}) == []
    assert entries.needed_wal([*names, "00000002.history"], kept[MIDDLE]) == [names[1], "00000002.history"]


def test_what_makes_a_backup_visible_is_sent_after_its_files(tmp_path: Path) -> None:
    place = make(tmp_path)
    back_up(place, NEW)
    (place.folder / "streaming/000000010000000000000010.partial").write_text("x")
    outcome = Outcome(place)
    Push(place, outcome, tmp_path / "stage").run()
    _, wal, stream, base, late = place.calls
    # WAL in its order, so that an interruption leaves no gap.
    assert "--include=/wals/***" in wal
    assert stream[-2].endswith("/early/")
    assert any(f"/base/{NEW}/" in word for word in base)
    assert all("--ignore-existing" in call for call in (wal, base))
    assert late[-2].endswith("/late/")
    assert f"meta/{entries.info(NEW)}" in place.sent[-1]
    assert place.sent[1] == ["streaming/000000010000000000000010.partial"]
    assert outcome.known["ok"]
    assert outcome.copied == [NEW]


def test_a_backup_with_missing_files_and_those_based_on_it_are_not_listed(tmp_path: Path) -> None:
    place = make(tmp_path)
    back_up(place, OLD)
    back_up(place, MIDDLE, whole=False)
    back_up(place, NEW, parent=MIDDLE)
    outcome = Outcome(place)
    with pytest.raises(Failed, match=f"files of backup {MIDDLE} are missing on bak1"):
        Push(place, outcome, tmp_path / "stage").run()
    assert [name for name in place.sent[-1] if name.startswith("meta/")] == [f"meta/{entries.info(OLD)}"]
    assert outcome.copied == [OLD]


def test_the_copy_of_a_lost_host_is_kept_and_reported(tmp_path: Path) -> None:
    place = make(tmp_path, OLD, MIDDLE)
    back_up(place, NEW)
    outcome = Outcome(place)
    Push(place, outcome, tmp_path / "stage").run()
    assert outcome.known["unknown"] == [OLD, MIDDLE]
    assert not any("--delete" in call for call in place.calls)


def test_what_retention_removed_goes_last_and_its_entry_before_its_files(tmp_path: Path) -> None:
    place = make(tmp_path, OLD, NEW)
    back_up(place, NEW)
    outcome = Outcome(place)
    outcome.holds([OLD, NEW], [])
    Push(place, outcome, tmp_path / "stage").run()
    deleting = [number for number, call in enumerate(place.calls) if "--delete" in call]
    assert deleting
    assert min(deleting) > next(number for number, call in enumerate(place.calls) if call[-2].endswith("/late/"))
    rules = (tmp_path / "stage/rules").read_text()
    assert f"R /base/{OLD}/***\n" in rules
    assert rules.endswith("P *\n")
    assert outcome.copied == [NEW]


def test_the_copy_of_another_cluster_is_refused(tmp_path: Path) -> None:
    place = make(tmp_path)
    (place.folder / "identity.json").write_text('{"systemid": "1"}')
    push = Push(place, Outcome(place), tmp_path / "stage")
    original = Recorded._rsync

    def other(self: Recorded, words: Iterable[str], accepted: Iterable[int] = ()) -> tuple[int, str]:
        line = list(words)
        if line[-2] == ":":
            (Path(line[-1]) / "identity.json").write_text('{"systemid": "2"}')
        return original(self, line, accepted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorded, "_rsync", other)
        with pytest.raises(Failed, match="another database cluster"):
            push.run()


def test_the_state_and_the_metrics_keep_what_earlier_runs_achieved(tmp_path: Path) -> None:
    place = make(tmp_path)
    outcome = Outcome(place)
    outcome.done(until=100.0)
    later = Outcome(place)
    later.failed(Failed("full", "the disk of nas is full"))
    assert (later.known["ok"], later.known["until"]) == (False, 100.0)
    later.done()
    assert later.known["first"] == outcome.known["first"]
    later.failed(Failed("full", "the disk of nas is full"))
    assert 'plainstack_second_copy_ok{server="shop"} 0\n' in later.metrics()
    assert 'plainstack_second_copy_until_timestamp_seconds{server="shop"} 100.0\n' in later.metrics()
    later.checked()
    assert Outcome(place).known["problem"] == ""


def test_a_backup_that_the_copy_does_not_have_is_named(tmp_path: Path) -> None:
    place = make(tmp_path, OLD)
    push = Push(place, Outcome(place), tmp_path / "stage")
    with pytest.raises(Failed, match=f"no usable backup {NEW}; the newest ones are: {OLD}"):
        fetching.fetch_one(place, push, NEW, tmp_path / "into")
