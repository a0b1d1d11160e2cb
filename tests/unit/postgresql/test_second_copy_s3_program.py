"""The program that keeps the second copy, with a bucket: sent, fetched, resumed, pruned, and what errors mean."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fetching
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, SSLError
from destination import Failed
from in_s3 import Bucket
from outcome import Outcome
from pushing import Push
from s3_failures import Refusals
from s3transfer.manager import TransferManager

from tests.unit.postgresql.s3_in_memory import in_memory
from tests.unit.postgresql.test_second_copy_program import MIDDLE, NEW, OLD, back_up

SEGMENTS = [f"00000001000000000000001{n}" for n in range(4)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Bucket]:
    """Yield a backup host with three WAL files, and an empty bucket."""
    (tmp_path / "credentials").write_text('{"access_key_id": "id", "secret_access_key": "secret"}')
    folder = tmp_path / "shop"
    for name in ("meta", "base", "wals/0000000100000000", "streaming"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(SEGMENTS[:3]):
        path = folder / "wals/0000000100000000" / name
        path.write_text(name)
        os.utime(path, (1_000_000 + number, 1_000_000 + number))
    (folder / "wals/shop-xlog.db").write_text("list")
    (folder / f"streaming/{SEGMENTS[3]}.partial").write_text("x")
    (folder / "identity.json").write_text('{"systemid": "1"}')
    with in_memory():
        known: Any = {name: tmp_path / name for name in ("records", "scratch", "credentials")}
        bucket = Bucket(
            here="bak1",
            server="shop",
            folder=folder,
            bandwidth=0,
            bucket="backups",
            prefix="shop",
            endpoint="",
            region="us-east-1",
            ca="/etc/ssl/certs/ca-certificates.crt",
            **known,
        )
        bucket._client.create_bucket(Bucket="backups")
        # Another stack's, which must stay.
        bucket._client.put_object(Bucket="backups", Key="shop2/meta/x-backup.info", Body=b"status=DONE\n")
        yield bucket


def run(place: Bucket) -> Outcome:
    outcome = Outcome(place)
    place.wait()
    Push(place, outcome, place.folder.parent / "stage").run()
    return outcome


def kept(place: Bucket) -> list[str]:
    return sorted(one.removesuffix("-backup.info") for one in place.names("meta"))


def test_a_backup_that_was_sent_is_fetched_as_it_was(place: Bucket, tmp_path: Path) -> None:
    back_up(place, NEW)
    data = place.folder / "base" / NEW / "data"
    (data / "pg_notify").mkdir()
    (data / "pg_tblspc").mkdir()
    (data / "pg_tblspc/16400").symlink_to(place.folder / "base" / NEW / "16400")
    (place.folder / "base" / NEW / "16400").mkdir()
    (data / "empty").write_text("")
    run(place)
    assert place.names("wals") == [*(f"0000000100000000/{name}" for name in SEGMENTS[:3]), "shop-xlog.db"]
    push = Push(place, Outcome(place), tmp_path / "stage")
    config = tmp_path / "main.conf"
    config.write_text("[shop]\n")
    assert fetching.fetch_one(place, push, "latest", tmp_path / "into", config) == NEW
    there = tmp_path / "into/shop"
    fetched = there / "base" / NEW / "data"
    assert (fetched / "PG_VERSION").read_text() == "17\n"
    assert (fetched / "empty").read_bytes() == b""
    assert (fetched / "pg_notify").is_dir()
    # Links point to what was fetched.
    assert (fetched / "pg_tblspc/16400").readlink() == there / "base" / NEW / "16400"
    assert (fetched / "pg_tblspc/16400").is_dir()
    wal = there / "wals/0000000100000000" / SEGMENTS[2]
    assert (wal.read_text(), wal.stat().st_mtime) == (SEGMENTS[2], 1_000_002)
    assert (there / f"streaming/{SEGMENTS[3]}.partial").read_text() == "x"
    assert not list(tmp_path.glob("into/**/.*.new"))


def test_an_incremental_backup_is_fetched_with_those_that_it_is_based_on(place: Bucket, tmp_path: Path) -> None:
    back_up(place, OLD)
    back_up(place, MIDDLE, parent=OLD)
    back_up(place, NEW)
    run(place)
    push = Push(place, Outcome(place), tmp_path / "stage")
    (tmp_path / "main.conf").write_text("[shop]\n")
    assert fetching.fetch_one(place, push, MIDDLE, tmp_path / "into", tmp_path / "main.conf") == MIDDLE
    for folder, end in (("base", ""), ("meta", "-backup.info")):
        fetched = {path.name for path in (tmp_path / "into/shop" / folder).iterdir()}
        assert fetched == {f"{OLD}{end}", f"{MIDDLE}{end}"}


def test_what_is_there_is_not_sent_again_and_damage_does_not_spread(place: Bucket) -> None:
    back_up(place, NEW)
    run(place)
    (place.folder / "base" / NEW / "data/PG_VERSION").write_text("xx\n")
    (place.folder / "wals/0000000100000000" / SEGMENTS[0]).write_text("damaged")
    (place.folder / f"streaming/{SEGMENTS[3]}.partial").write_text("more")
    before = times(place)
    run(place)
    after = times(place)
    changed = {name for name, at in after.items() if before.get(name) != at}
    assert changed <= {f"streaming/{SEGMENTS[3]}.partial", "copied-until"}
    got = place._client.get_object(Bucket="backups", Key=f"shop/streaming/{SEGMENTS[3]}.partial")
    assert got["Body"].read() == b"more"


def times(place: Bucket) -> dict[str, object]:
    listed = place._client.list_objects_v2(Bucket="backups", Prefix="shop/")["Contents"]
    return {one["Key"].removeprefix("shop/"): (one["LastModified"], one["ETag"]) for one in listed}


def test_an_interrupted_run_lists_no_half_backup_and_leaves_no_gap(
    place: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(place, NEW)
    upload = TransferManager.upload
    stop_at = [SEGMENTS[2], "PG_VERSION"]

    def broken(self: Any, path: str, bucket: str, key: str, *more: Any) -> Any:
        if key.endswith(stop_at[0]):
            raise EndpointConnectionError(endpoint_url="https://s3")
        return upload(self, path, bucket, key, *more)

    monkeypatch.setattr(TransferManager, "upload", broken)
    with pytest.raises(Failed, match="Amazon S3 cannot be reached"):
        run(place)
    assert place.names("wals") == [f"0000000100000000/{name}" for name in SEGMENTS[:2]]
    stop_at.pop(0)
    with pytest.raises(Failed, match="Amazon S3 cannot be reached"):
        run(place)
    assert kept(place) == []
    # A large file that was being sent.
    place._client.create_multipart_upload(Bucket="backups", Key="shop/base/x")
    monkeypatch.undo()
    run(place)
    assert kept(place) == [NEW]
    assert "Uploads" not in place._client.list_multipart_uploads(Bucket="backups")


def test_what_retention_removed_leaves_the_bucket_with_its_wal(place: Bucket) -> None:
    for backup in (OLD, MIDDLE):
        back_up(place, backup)
    info = place.folder / "meta" / f"{MIDDLE}-backup.info"
    info.write_text(info.read_text().replace("000000010000000000000010", SEGMENTS[2]))
    run(place)
    (place.folder / "meta" / f"{OLD}-backup.info").unlink()
    outcome = run(place)
    assert kept(place) == outcome.copied == [MIDDLE]
    assert place.names(f"base/{OLD}") == []
    assert place.names("wals") == [f"0000000100000000/{SEGMENTS[2]}", "shop-xlog.db"]
    assert place._client.list_objects_v2(Bucket="backups", Prefix="shop2/")["KeyCount"] == 1


def test_a_rebuilt_host_removes_nothing_and_fetches_all(place: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(place, OLD)
    run(place)
    for path in (*place.folder.rglob(f"{OLD}-backup.info"), *place.folder.rglob("PG_VERSION")):
        path.unlink()
    (place.folder / "second-copy.json").unlink()
    (place.folder / "wals/0000000100000000" / SEGMENTS[1]).unlink()
    back_up(place, NEW)
    outcome = run(place)
    assert outcome.known["unknown"] == [OLD]
    monkeypatch.setattr(subprocess, "run", lambda *_words, **_more: type("Ran", (), {"returncode": 0}))
    push = Push(place, outcome, place.folder.parent / "stage")
    assert fetching.fetch_all(place, push, outcome) == [OLD]
    assert (place.folder / "base" / OLD / "data/PG_VERSION").read_text() == "17\n"
    assert (place.folder / "wals/0000000100000000" / SEGMENTS[1]).read_text() == SEGMENTS[1]
    assert (place.folder / "meta" / f"{OLD}-backup.info").exists()


def test_a_bucket_with_another_cluster_is_refused(place: Bucket) -> None:
    place._client.put_object(Bucket="backups", Key="shop/identity.json", Body=json.dumps({"systemid": "2"}).encode())
    with pytest.raises(Failed, match=r"s3://backups/shop holds the backups of another database cluster"):
        run(place)


def test_the_bandwidth_is_kept_by_small_files_too(
    place: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    slow = replace(place, bandwidth=1)
    for name in ("a", "b", "c"):
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "files" / name / "file").write_bytes(b"x" * 1024)
    slow.send(tmp_path / "files", ["a/"], once=True)
    slow.send(tmp_path / "files", ["b/", "c/"])
    assert slept == [1, 1, 2]
    slept.clear()
    slow.fetch(["a/", "b/", "c/"], tmp_path / "into")
    assert max(slept) == 3


@pytest.mark.parametrize("name", ["base/../../../evil", "base/x/link/evil"])
def test_a_bucket_cannot_make_the_host_write_elsewhere(place: Bucket, tmp_path: Path, name: str) -> None:
    (tmp_path / "into/base/x").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "into/base/x/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failed, match="a file that is not a backup's"):
        place.fetch_listed([name], tmp_path / "into")


@pytest.mark.parametrize(
    ("error", "kind", "part"),
    [
        (("NoSuchBucket", "ListObjectsV2"), "bucket", "s3.example.com has no bucket backups"),
        (("InvalidAccessKeyId", "ListObjectsV2"), "key", "inv secrets.set backup/s3_access_key_id"),
        (("SignatureDoesNotMatch", "ListObjectsV2"), "key", "inv secrets.set backup/s3_secret_access_key"),
        (("AccessDenied", "PutObject"), "key", "does not permit the access key of bak1 to put objects"),
        (("PermanentRedirect", "PutObject"), "region", "Correct backup.second_copy.region"),
        (("Strange", "PutObject"), "s3", "refuses to put objects in the bucket backups"),
        (SSLError(endpoint_url="https://x", error="self-signed"), "certificate", "backup.second_copy.ca"),
        (EndpointConnectionError(endpoint_url="https://x"), "unreachable", "s3.example.com cannot be reached"),
        (OSError(28, "No space left on device"), "disk", "the copy failed on bak1: [Errno 28] No space left"),
    ],
)
def test_each_failure_is_a_sentence_with_what_to_do(error: Any, kind: str, part: str) -> None:
    if isinstance(error, tuple):
        error = ClientError({"Error": {"Code": error[0], "Message": "x"}}, error[1])
    found = Refusals("s3.example.com", "bak1", "backups").failure(error)
    assert found
    assert found.kind == kind
    assert part in str(found)
