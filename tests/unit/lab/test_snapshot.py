"""Snapshots copy no data, lose none if interrupted, and are refused if they do not fit the inventory."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.cli import lab_commands
from plainstack.lab import disk, layers, machine, model, owner, snapshot
from plainstack.lab.model import Lab
from plainstack.lab.snapshot import Snapshot
from plainstack.ssh.netns import LabError
from tests.unit.lab.saved_lab import DB, LB, ORIGIN, second, seen, two_disks, use_folder

pytestmark = pytest.mark.programs


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_folder(tmp_path, monkeypatch)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return two_disks(tmp_path)


def test_a_saved_lab_and_a_second_lab_both_continue_from_the_snapshot(lab: Lab, tmp_path: Path) -> None:
    inode = (disk.of(lab, DB).upper / "data").stat().st_ino
    key = disk.of(lab, DB).host_key
    snapshot.write(lab, "deployed", ORIGIN, {})
    here = disk.of(lab, DB)
    assert list(here.upper.iterdir()) == []
    assert seen(here, "data") == "data of db1"
    assert (here.lowers[0] / "data").stat().st_ino == inode, "it was copied"
    assert here.lowers[-1] == tmp_path / "image"
    other = second(tmp_path)
    snapshot.place(snapshot.read("deployed"), other, {})
    assert seen(disk.of(other, LB), "data") == "data of lb1"
    assert disk.of(other, DB).host_key == key
    assert (other.state / "id_ed25519").read_text() == "the operator's key"
    (disk.of(other, DB).upper / "data").write_text("changed")
    assert seen(disk.of(lab, DB), "data") == "data of db1"


WRONG: list[dict[str, object]] = [
    {"created": 5},
    {"created": "yesterday"},
    {"created": "2026-01-01T00:00:00"},
    {"name": "two"},
    {"size": "big"},
    {"size": None},
    {"image": []},
    {"hosts": []},
    {"hosts": {"db1": 5}},
    {"hosts": {"db1": [5]}},
    {"origin": 5},
    {"origin": {"author": "me"}},
    {"origin": {"stack": 5, "inventory": "", "digest": "", "commit": ""}},
    {"more": 1},
]


@pytest.mark.parametrize("about", ["", "[]", "5", "[" * 100_000, "\0", '{"name": "one"}', None, *WRONG])
def test_a_snapshot_that_cannot_be_read_is_reported_and_leaves_the_others_usable(
    lab: Lab, about: str | dict[str, object] | None
) -> None:
    good = snapshot.write(lab, "good", ORIGIN, {})
    snapshot.write(lab, "one", ORIGIN, {})
    place = model.SNAPSHOTS / "one/snapshot.json"
    if about is None:
        place.unlink()
    elif isinstance(about, str):
        place.write_text(about)
    else:
        place.write_text(json.dumps(json.loads(place.read_text()) | about))
    said = r"the snapshot one was saved by another version .*: inv lab\.forget one"
    with pytest.raises(LabError, match=said):
        snapshot.read("one")
    found, (problem,) = snapshot.every()
    assert found == [good]
    assert re.search(said, problem)
    with pytest.raises(LabError, match=r"there is no snapshot nope\. Snapshots: good, one"):
        snapshot.read("nope")
    assert snapshot.read("good") == good
    snapshot.forget("one")
    assert snapshot.every() == ([good], [])


@pytest.mark.parametrize("name", ["foo-", "-foo", "", "a" * 31, "Foo"])
def test_the_message_about_a_wrong_name_has_the_whole_rule(name: str) -> None:
    with pytest.raises(LabError, match="1 to 30 lower case letters, digits and '-', with no '-' at either end"):
        snapshot.read(name)


def test_unusable_snapshots_are_listed_below_the_others(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "require_root", lambda _task: None)
    for name in ("good", "one"):
        snapshot.write(lab, name, ORIGIN, {})
    (model.SNAPSHOTS / "one/snapshot.json").write_text("")
    lab_commands.snapshots(json=False)
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["name", "good"]
    assert "inv lab.forget one" in said.err
    lab_commands.snapshots(json=True)
    said = capsys.readouterr()
    assert [one["name"] for one in json.loads(said.out)] == ["good"]
    assert "inv lab.forget one" in said.err


def test_a_layer_stays_while_a_snapshot_or_a_lab_uses_it(lab: Lab, tmp_path: Path) -> None:
    snapshot.write(lab, "one", ORIGIN, {})
    snapshot.write(lab, "two", ORIGIN, {})
    assert len(list(model.LAYERS.iterdir())) == 4
    snapshot.forget("one")
    assert len(list(model.LAYERS.iterdir())) == 4
    other = second(tmp_path)
    snapshot.place(snapshot.read("two"), other, {})
    snapshot.forget("two")
    assert seen(disk.of(other, DB), "data") == "data of db1"
    for gone in (lab, other):
        for host in gone.hosts:
            disk.of(gone, host).folder.rename(tmp_path / f"{gone.name}-{host.name}")
    layers.sweep()
    assert list(model.LAYERS.iterdir()) == []


def test_a_killed_freeze_is_completed_or_discarded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    here = disk.of(lab, DB)
    rename = Path.rename
    for allowed in (0, 1):
        left = [allowed]

        def until(path: Path, target: Path, left: list[int] = left) -> Path:
            if path.parent == lab.disks:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", until)
        with pytest.raises(KeyboardInterrupt):
            layers.freeze(here)
        monkeypatch.setattr(Path, "rename", rename)
        layers.sweep()
        layers.recover(here)
        assert here.exists
        assert seen(here, "data") == "data of db1"
        assert [path.name for path in lab.disks.iterdir() if path.name.startswith(".")] == []
    layers.sweep()
    assert seen(here, "data") == "data of db1"


def test_secrets_travel_with_a_snapshot_and_replaced_secrets_are_kept(lab: Lab, tmp_path: Path) -> None:
    store = tmp_path / "state/secrets.yaml"
    store.write_text("old")
    store.chmod(0o600)
    snapshot.write(lab, "deployed", ORIGIN, {"secrets": store, "sealed": tmp_path / "no-such-file"})
    store.write_text("rotated since")
    other = second(tmp_path)
    (kept,) = snapshot.place(snapshot.read("deployed"), other, {"secrets": store, "sealed": tmp_path / "no-such-file"})
    assert store.read_text() == "old"
    assert store.stat().st_mode & 0o777 == 0o600
    assert kept.read_text() == "rotated since"
    assert kept.name.startswith("secrets.yaml.before-")
    (tmp_path / "disks/second").rename(tmp_path / "gone")
    assert snapshot.place(snapshot.read("deployed"), other, {"secrets": store}) == []
    assert model.SNAPSHOTS.joinpath("deployed").stat().st_mode & 0o077 == 0


def test_git_ignores_the_secrets_and_keys_that_come_from_a_snapshot(lab: Lab, tmp_path: Path) -> None:
    snapshot.write(lab, "deployed", ORIGIN, {})
    second = Lab("second", (DB, LB), tmp_path / "project/.plainstack/second/lab")
    snapshot.place(snapshot.read("deployed"), second, {})
    assert (second.state / "id_ed25519").exists()
    assert (tmp_path / "project/.plainstack/.gitignore").read_text(encoding="utf-8") == "*\n"


def test_an_unknown_snapshot_is_reported_with_the_existing_ones(lab: Lab) -> None:
    with pytest.raises(LabError, match=r"there is no snapshot nope\. To make one: inv lab.save NAME"):
        snapshot.read("nope")
    snapshot.write(lab, "deployed", ORIGIN, {})
    with pytest.raises(LabError, match=r"there is no snapshot nope\. Snapshots: deployed"):
        snapshot.forget("nope")
    with pytest.raises(LabError, match=r"'\.\./x' is not a valid name for a snapshot"):
        snapshot.read("../x")
    (listed,), _ = snapshot.every()
    assert listed == snapshot.read("deployed")
    assert listed.size > 0
    assert 0 <= listed.age(datetime.now(UTC)) < 3600


def test_an_incomplete_snapshot_is_ignored(lab: Lab) -> None:
    snapshot.write(lab, "deployed", ORIGIN, {})
    (model.SNAPSHOTS / "deployed").rename(model.SNAPSHOTS / ".deployed.half")
    assert snapshot.every() == ([], [])
    layers.sweep()
    assert list(model.SNAPSHOTS.iterdir()) == []
    assert list(model.LAYERS.iterdir()) != [], "the disks lie on them"


def test_a_lab_that_was_partly_created_from_a_snapshot_is_removed(lab: Lab, tmp_path: Path) -> None:
    snapshot.write(lab, "deployed", ORIGIN, {})
    snapshot.place(snapshot.read("deployed"), second(tmp_path), {})
    (model.DISKS / "second").rename(model.DISKS / ".second.half")
    layers.sweep()
    assert sorted(path.name for path in model.DISKS.iterdir()) == [".layers", ".snapshots", "shop"]


def test_two_inventories_do_not_share_a_lab_by_mistake(lab: Lab, tmp_path: Path) -> None:
    clone = Lab("shop", (DB,), tmp_path / "clone/lab")
    owner.check(clone)
    owner.write(lab, lab.disks)
    owner.check(lab)
    with pytest.raises(LabError, match=r"(?s)a lab shop of \S+/state/lab on this machine.*lab: \{name: shop-2\}"):
        owner.check(clone)
    lab.state.rename(tmp_path / "removed")
    owner.check(clone)


def test_every_lab_of_the_machine_is_listed_however_little_is_left_of_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "RUN", tmp_path / "run")
    for folder in ("run/one", "run/.apt", "groups/two", "groups/.relay", "netns"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("plainstack-three", "another"):
        (tmp_path / "netns" / name).touch()
    snapshot.write(lab, "deployed", ORIGIN, {})
    assert model.labs(tmp_path / "groups", tmp_path / "netns") == ["one", "shop", "three", "two"]


HOSTS: dict[str, list[str | None]] = {"db1": [DB.address, None], "lb1": [LB.address, LB.public]}
KEPT = Snapshot("deployed", "2026-01-01T00:00:00+00:00", "trixie-1", "ops", HOSTS, 1, ORIGIN)


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (KEPT, []),
        (
            replace(KEPT, image="trixie-0"),
            ["its hosts use the image trixie-0, but the current recipe makes trixie-1"],
        ),
        (replace(KEPT, user="root"), ["its hosts accept logins as root, but the inventory says ssh.user: ops"]),
        (replace(KEPT, origin=replace(ORIGIN, stack="blog")), ["it belongs to the stack blog, not shop"]),
        (replace(KEPT, hosts={"lb1": HOSTS["lb1"]}), ["it has no host db1"]),
        (replace(KEPT, hosts={**HOSTS, "db2": ["192.168.57.12", None]}), ["its host db2 is not in the inventory"]),
        (
            replace(KEPT, hosts={**HOSTS, "lb1": [LB.address, None]}),
            ["its lb1 has 192.168.57.16, but the inventory says 192.168.57.16 and 192.168.3.231"],
        ),
    ],
)
def test_a_snapshot_of_a_different_inventory_is_refused(kept: Snapshot, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "trixie-1").mkdir()
    lab = Lab("shop", (DB, LB), tmp_path, user="ops")
    assert snapshot.stale(kept, lab, "shop", tmp_path / "trixie-1") == said


def test_a_snapshot_whose_image_was_removed_is_refused(tmp_path: Path) -> None:
    (said,) = snapshot.stale(KEPT, Lab("shop", (DB, LB), tmp_path, user="ops"), "shop", tmp_path / "trixie-1")
    assert "is missing" in said
