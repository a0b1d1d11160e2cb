"""The files of services in the second copy: sent once, brought back as they were, tested, repaired, and pruned."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fetch_files
import kept_files
import pytest
import snapshots
from destination import Destination, Failed
from in_s3 import Bucket
from outcome import Outcome
from push_files import PushFiles, removable

from tests.unit.postgresql.kept_service import Near, Service, look, remove
from tests.unit.postgresql.s3_in_memory import in_memory
from tests.unit.postgresql.test_folder_snapshots import MEDIA


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Destination]:
    """Yield an empty destination of each kind."""
    for name in ("shop", "copy", "kept"):
        (tmp_path / name).mkdir()
    known: Any = {name: tmp_path / name for name in ("records", "scratch")}
    known |= {"here": "bak1", "server": "shop", "folder": tmp_path / "shop", "bandwidth": 0, "files": tmp_path / "kept"}
    if request.param == "folder":
        yield Near(path=tmp_path / "copy", **known)
        return
    (tmp_path / "credentials").write_text('{"access_key_id": "id", "secret_access_key": "secret"}')
    known |= {"endpoint": "", "region": "us-east-1", "credentials": tmp_path / "credentials", "ca": "/none"}
    with in_memory():
        known["ca"] = "/etc/ssl/certs/ca-certificates.crt"
        bucket = Bucket(bucket="backups", prefix="shop", **known)
        bucket._client.create_bucket(Bucket="backups")
        yield bucket


@pytest.fixture
def service(place: Destination, tmp_path: Path) -> Service:
    made = Service(place, tmp_path)
    made.write("2026/cat.jpg", "cat")
    made.write("2026/copy of cat.jpg", "cat", at=1_000_000_007)
    made.write("empty", "")
    (made.files / "naïve\n").write_text("odd name")
    (made.files / "void").mkdir(mode=0o750)
    (made.files / "link").symlink_to("2026/cat.jpg")
    made.files.chmod(0o751)
    return made


def keys(one: Service) -> list[str]:
    return kept_files.theirs(one.place)


def test_what_a_lost_host_had_comes_back_as_it_was(service: Service) -> None:
    first = service.snapshot(1e9)
    service.write("2026/dog.jpg", "dog")
    (service.files / "empty").unlink()
    second = service.snapshot(1e9 + 86400)
    was = {one.id: look(one.path / snapshots.TREE) for one in (first, second)}
    outcome = service.copy()
    assert len(outcome.files) == 2
    assert outcome.known["files_until"]
    # Equal contents are there once: the cat, the dog, nothing, and the odd name.
    assert len(kept_files.contents(service.place)) == 4
    service.lose()
    assert service.copy().known["unknown_files"] == keys(service)
    assert len(service.bring_back()) == 2
    found = snapshots.of(MEDIA, service.root)
    assert {one.id: look(one.path / snapshots.TREE) for one in found} == was
    assert [one.as_data() for one in found] == [first.as_data(), second.as_data()]
    assert all(list(snapshots.differences(one)) == [] for one in found)
    # The next snapshot links to it, and what did not change is stored once here too.
    cats = [(one.path / snapshots.TREE / "2026/cat.jpg").stat().st_ino for one in (*found, service.snapshot(1e9 + 2e5))]
    assert len(set(cats)) == 1
    assert service.copy().known["unknown_files"] == []
    assert service.bring_back() == []


def test_an_interrupted_run_lists_no_incomplete_snapshot_and_the_next_one_continues(service: Service) -> None:
    service.snapshot(1e9)
    outcome = Outcome(service.place)
    assert not PushFiles(service.place, outcome, service.root, service.stage).run(time.monotonic() - 1)
    assert (keys(service), outcome.files, outcome.known.get("files_until")) == ([], [], None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PushFiles, "_publish", lambda *_: (_ for _ in ()).throw(Failed("interrupted", "it broke")))
        with pytest.raises(Failed, match="it broke"):
            service.copy()
    assert keys(service) == []
    service.copy()
    assert service.tested() == {"read": 3, "problems": [], "notes": []}


def test_a_file_that_is_damaged_here_is_not_copied_and_its_snapshot_counts_as_damaged(service: Service) -> None:
    one = service.snapshot(1e9)
    (one.path / snapshots.TREE / "2026/cat.jpg").write_text("cut")
    (one.path / snapshots.TREE / "2026/copy of cat.jpg").write_text("cut")
    with pytest.raises(Failed, match=r"cat.jpg has changed in the snapshot .*, so it was not copied. Take a new one"):
        service.copy()
    assert keys(service) == []
    assert snapshots.of(MEDIA, service.root)[-1].damaged
    again = service.snapshot(1e9 + 86400)
    # A snapshot that takes nothing from the damaged one.
    (again.path / snapshots.TREE / "2026/cat.jpg").unlink()
    (again.path / snapshots.TREE / "2026/cat.jpg").write_text("cat")
    (again.path / snapshots.TREE / "2026/copy of cat.jpg").unlink()
    (again.path / snapshots.TREE / "2026/copy of cat.jpg").write_text("cat")
    snapshots.write(again.path, snapshots.manifest(again.path / snapshots.TREE))
    service.copy()
    assert [key.rpartition("/")[2] for key in keys(service)] == [again.id]


def test_damage_in_the_copy_is_found_named_and_repaired_by_the_next_run(service: Service, tmp_path: Path) -> None:
    one = service.snapshot(1e9)
    service.copy()
    (digest,) = [entry[3] for path, entry in snapshots.read(one.path).items() if path == "2026/cat.jpg"]
    (tmp_path / "wrong" / kept_files.content(digest)).parent.mkdir(parents=True)
    (tmp_path / "wrong" / kept_files.content(digest)).write_text("CAT")
    service.place.send(tmp_path / "wrong")
    said = service.tested()["problems"]
    assert said == [
        f"web/var/media of app1, snapshot {one.id}: 2026/{name}cat.jpg is damaged or missing"
        for name in ("", "copy of ")
    ]
    service.copy()
    assert service.tested()["problems"] == []
    # A missing one is found without reading, and repaired too.
    service.place.remove([kept_files.content(digest)], service.stage)
    assert len(service.tested()["problems"]) == 2
    service.copy()
    assert service.tested()["problems"] == []
    # If this host does not have it, the snapshot does not come back.
    service.place.remove([kept_files.content(digest)], service.stage)
    service.lose()
    with pytest.raises(Failed, match=r"in the copy, web/var/media of app1, .*cat.jpg is damaged or missing"):
        service.bring_back()
    assert snapshots.of(MEDIA, service.root) == []


def test_a_damaged_list_of_files_is_a_problem_of_the_copy(service: Service, tmp_path: Path) -> None:
    service.snapshot(1e9)
    service.copy()
    (key,) = keys(service)
    path = tmp_path / "wrong" / kept_files.SNAPSHOTS / key / snapshots.MANIFEST
    path.parent.mkdir(parents=True)
    path.write_text('["2026/cat.jpg", "file", 416, 3, "00"]\n')
    service.place.send(tmp_path / "wrong")
    assert service.tested()["problems"] == [f"{kept_files.says(key)}: its list of files is damaged"]


def test_what_retention_removed_is_removed_from_the_copy_too_with_contents_that_nothing_else_needs(
    service: Service, place: Destination, tmp_path: Path
) -> None:
    other = Service(place, tmp_path, replace(MEDIA, host="app2"))
    other.write("dog.jpg", "dog")
    elsewhere = other.snapshot(1e9)
    service.write("dog.jpg", "dog")
    old = service.snapshot(1e9)
    (service.files / "2026/cat.jpg").unlink()
    (service.files / "2026/copy of cat.jpg").unlink()
    (service.files / "dog.jpg").unlink()
    new = service.snapshot(1e9 + 86400)
    service.copy()
    assert len(kept_files.contents(place)) == 4
    remove(old.path)
    service.copy()
    assert [key.rpartition("/")[2] for key in keys(service)] == [new.id, elsewhere.id]
    # The cat is gone; the dog belongs to another host too.
    assert len(kept_files.contents(place)) == 3
    # A host that has lost its snapshots removes none.
    remove(new.path, elsewhere.path)
    service.copy()
    assert len(keys(service)) == 2
    assert service.tested()["problems"] == []


def test_only_snapshots_older_than_all_kept_ones_of_their_folder_are_removable() -> None:
    a, b, c, other = "web/app1/media/1", "web/app1/media/2", "web/app1/media/3", "web/app2/media/1"
    assert removable([a, b, c, other], [b, c], [a, b, c, other]) == [a]
    assert removable([a, b, c], [a, c], [a, b, c]) == []
    assert removable([a, b], [], [a, b]) == []
    # Unknown ones may be all that is left of a lost host.
    assert removable([a, b, other], [b], [a, b]) == []


def test_a_test_of_many_files_reads_a_sample(service: Service) -> None:
    service.snapshot(1e9)
    service.copy()
    found = service.tested(most=0)
    assert (found["read"], found["problems"]) == (1, [])
    assert "a sample" in found["notes"][0]
    assert fetch_files.sample({"a": 3, "b": 3, "c": 3}, 6).keys() < {"a", "b", "c"}
    assert fetch_files.sample({"a": 9}, 6) == {"a": 9}
