"""Snapshots of folders on the backup host: what is taken, kept, found damaged, and removed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import channel
import folder_verbs
import gathering
import pytest
import snapshots
from gathering import Failed
from snapshots import Config, Folder, Snapshot

DAY = 86400.0
MEDIA = Folder("web", "var/media", "app1")


def at(end: float, *, damaged: bool = False) -> Snapshot:
    test = {"passed": False} if damaged else {}
    return Snapshot(Path(snapshots.name(end)), MEDIA, end, end, 0, 0, test)


def kept(ends: list[float], retention: str, now: float) -> list[float]:
    every = [at(end) for end in ends]
    gone = snapshots.obsolete(every, retention, now)
    return [one.end for one in every if one not in gone]


def test_a_window_keeps_what_the_folder_was_at_any_moment_in_it() -> None:
    ends = [day * DAY for day in range(1, 21)]
    # The window begins 7 days before day 20.5, at day 13.5; the folder was then as the snapshot of day 13 says.
    assert kept(ends, "RECOVERY WINDOW OF 7 DAYS", 20.5 * DAY) == [day * DAY for day in range(13, 21)]
    assert kept(ends, "RECOVERY WINDOW OF 2 WEEKS", 20.5 * DAY) == [day * DAY for day in range(6, 21)]
    assert kept(ends[:1], "RECOVERY WINDOW OF 7 DAYS", 500 * DAY) == ends[:1]
    assert kept([], "REDUNDANCY 3", 0) == []


def test_redundancy_counts_whole_snapshots_and_a_damaged_one_replaces_none() -> None:
    ends = [day * DAY for day in range(1, 6)]
    assert kept(ends, "REDUNDANCY 2", 0) == ends[-2:]
    mixed = [at(1), at(2), at(3, damaged=True), at(4, damaged=True)]
    assert snapshots.obsolete(mixed, "REDUNDANCY 1", 0) == mixed[:1]
    assert snapshots.obsolete(mixed[2:], "REDUNDANCY 1", 0) == []


class Host:
    """A host of the service whose folder is `files`; rsync is a copy that links what has not changed."""

    def __init__(self, root: Path) -> None:
        self.files = root / "files"
        self.files.mkdir()
        self.config = Config("bak1", 1, "REDUNDANCY 2", root / "kept", (MEDIA,))
        self.linked: list[str] = []

    def rsync(self, _config: Config, _verb: str, _folder: Folder, *words: str, accepted: object = ()) -> None:  # noqa: ARG002 - named by callers
        self.linked = [word.partition("=")[2] for word in words if word.startswith("--link-dest=")]
        to = Path(words[-1])
        shutil.rmtree(to)
        shutil.copytree(self.files, to, symlinks=True)
        for path in to.rglob("*"):
            inside = path.relative_to(to)
            before = Path(self.linked[0]) / inside if self.linked else path
            if before != path and path.is_file() and not path.is_symlink() and before.is_file():
                old, new = before.stat(), path.stat()
                if (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns):
                    path.unlink()
                    os.link(before, path)

    def take(self) -> Snapshot:
        assert gathering.take(self.config) == []
        return snapshots.of(MEDIA, self.config.root)[-1]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(gathering, "_rsync", made.rsync)
    (made.files / "a").mkdir()
    (made.files / "a/one").write_text("one")
    (made.files / "two").write_text("two")
    (made.files / "link").symlink_to("a/one")
    os.close(os.open(os.fsencode(made.files) + b"/not\xffutf-8\n", os.O_CREAT))
    return made


def test_each_snapshot_is_a_whole_tree_and_shares_what_has_not_changed(host: Host) -> None:
    first = host.take()
    assert (first.files, first.size) == (3, 6)
    assert list(snapshots.differences(first)) == []
    (host.files / "two").write_text("changed")
    (host.files / "a/one").unlink()
    second = host.take()
    assert second.id > first.id
    assert list(snapshots.differences(first)) == list(snapshots.differences(second)) == []
    assert (first.path / "tree/a/one").read_text() == "one"
    (odd,) = (path.name for path in (second.path / "tree").glob("not*"))
    assert all((one.path / "tree" / odd).stat().st_nlink == 2 for one in (first, second))
    third = host.take()
    assert [one.id for one in snapshots.of(MEDIA, host.config.root)] == [second.id, third.id]
    assert not first.path.exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda tree: (tree / "two").write_text("twO"), "two has changed"),
        (lambda tree: (tree / "a/one").unlink(), "a/one is missing"),
        (lambda tree: (tree / "a/three").write_text(""), "a/three was added"),
        (lambda tree: (tree / "link").unlink() or (tree / "link").symlink_to("two"), "link has changed"),
        (lambda tree: (tree / "two").chmod(0o600), "two has changed"),
        (lambda tree: (tree.parent / "manifest").write_text(""), "the manifest of the snapshot"),
        (lambda tree: (tree.parent / "manifest").unlink(), "cannot be read"),
    ],
)
def test_damage_is_found_and_named_and_spreads_to_no_later_snapshot(host: Host, damage: object, says: str) -> None:
    before = host.take()
    assert gathering.test(host.config) == []
    damage(before.path / "tree")  # type: ignore[operator]
    problems = gathering.test(host.config)
    assert any(says in text and "web/var/media of app1" in text for text in problems), problems
    assert snapshots.of(MEDIA, host.config.root)[-1].damaged
    with pytest.raises(Failed, match="web/var/media of app1"):
        gathering.send(host.config, snapshots.of(MEDIA, host.config.root)[-1], "app1")
    after = host.take()
    assert host.linked == []
    assert list(snapshots.differences(after)) == []
    assert gathering.test(host.config) == []
    assert 'plainstack_files_test_passed{files="web/var/media",of="app1"} 1.0' in gathering.metrics(host.config)


def test_a_host_that_does_not_answer_costs_no_snapshot_and_is_reported(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_words: object, accepted: object = ()) -> None:  # noqa: ARG001 - named by callers
        said = "app1 cannot be reached: refused\nrsync: connection unexpectedly closed"
        raise Failed(gathering.meaning(12, said, "bak1", "app1"))

    taken = host.take()
    monkeypatch.setattr(gathering, "_rsync", fails)
    assert gathering.take(host.config) == ["web/var/media of app1: app1 cannot be reached: refused"]
    assert [one.id for one in snapshots.of(MEDIA, host.config.root)] == [taken.id]
    assert snapshots.state(host.config.root)["problems"]


def test_a_folder_that_a_deploy_adds_during_a_run_is_in_a_snapshot_when_that_run_ends(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = host.config.root.parent / "config.json"
    other = Folder("web", "var/other", "app1")

    def deploy(*folders: Folder) -> None:
        settings = {"root": str(host.config.root), "folders": [asdict(one) for one in folders]}
        file.write_text(json.dumps(asdict(host.config) | settings))

    def rsync(config: Config, verb: str, folder: Folder, *words: str, accepted: object = ()) -> None:
        deploy(MEDIA, other)
        host.rsync(config, verb, folder, *words, accepted=accepted)

    monkeypatch.setattr(snapshots, "CONFIG", file)
    monkeypatch.setattr(gathering, "_rsync", rsync)
    deploy(MEDIA)
    assert folder_verbs.main(["take"]) == 0
    assert snapshots.of(other, host.config.root)


def test_a_host_lets_the_backup_host_read_folders_and_write_only_what_was_prepared(tmp_path: Path) -> None:
    media, new = tmp_path / "media", tmp_path / "new"
    media.mkdir()
    folders = {"read": {"web/media": str(media)}, "write": {"web/media": str(new)}}

    def asked(names: set[str], request: str) -> str:
        return channel.refusal(names, ["bak1"], request, folders)[0]

    command = "rsync --server --sender -r . ."
    assert asked({"bak1"}, f"read web/media {command}") == ""
    assert "does not admit app2" in asked({"app2"}, f"read web/media {command}")
    assert "does not admit" in asked(set(), f"read web/media {command}")
    assert "web/etc is not backed up" in asked({"bak1"}, f"read web/etc {command}")
    assert "no restore has prepared" in asked({"bak1"}, "write web/media rsync --server -r . .")
    assert "does not understand" in asked({"bak1"}, "read web/media sh")
    assert "does not understand" in asked({"bak1"}, "")
    new.mkdir()
    words = channel.refusal({"bak1"}, ["bak1"], "write web/media rsync --server -r . .", folders)[1]
    assert words[1:] == ["-wo", "-no-lock", str(new)]
