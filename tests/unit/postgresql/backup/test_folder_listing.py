"""The snapshots of folders: which one a restore takes, what is reported, and who may fetch them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plainstack.errors import InventoryError, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import folder_listing
from plainstack.postgresql.backup.folder_listing import Files
from plainstack.roles import app, worker
from plainstack.services import folders, validation
from plainstack.shipped import ROOT
from tests import inventories

TEXT = """\
stack: shop
hosts:
  app1: {address: 10.0.0.1, roles: [app]}
  app2: {address: 10.0.0.2, roles: [worker]}
  db1: {address: 10.0.0.3, roles: [db]}
  bak1: {address: 10.0.0.4, roles: [backup]}
  lb1: {address: 10.0.0.5, roles: [balancer]}
services:
  web:
    source: apps/incidents
    project: incidents_site
    writable: [{path: media, backup: true}, cache]
    processes: {mail: {command: work, hosts: worker}}
database: {name: shop}
balancer: {tls: self-signed}
"""
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def stack() -> Stack:
    return inventories.parse(TEXT, "hosts.yaml", ROOT)


def files(*hours: float, host: str = "app1", failed: tuple[str, ...] = (), damaged: str = "") -> Files:
    """Return snapshots that were complete so many hours ago."""
    ends = [(NOW - timedelta(hours=ago)).timestamp() for ago in hours]
    test = {"at": NOW.timestamp(), "passed": False, "problems": [damaged, "more"]} if damaged else None
    found = [
        {
            "id": f"S{number}",
            "service": "web",
            "folder": "media",
            "host": host,
            "begin": end - 60,
            "end": end,
            "files": 2,
            "size": 2048,
            "test": test if number == len(ends) - 1 else None,
        }
        for number, end in enumerate(ends)
    ]
    return folder_listing.parse("progress\n" + json.dumps({"snapshots": found, "problems": list(failed)}) + "\n")


def test_a_restore_takes_the_newest_snapshot_that_was_complete_at_the_moment(stack: Stack) -> None:
    media = folders.kept(stack)[0]
    known = files(50, 26, 2)
    assert known.newest(media).id == "S2"
    assert known.newest(media, NOW - timedelta(hours=2)).id == "S2"
    # It had begun, but was not complete.
    assert known.newest(media, NOW - timedelta(hours=2, seconds=1)).id == "S1"
    with pytest.raises(
        Refused, match=r"the oldest snapshot of web/media of app1 was complete at 2026-11-24 10:00:00 UTC"
    ):
        known.newest(media, NOW - timedelta(hours=60))
    with pytest.raises(Refused, match="there is no snapshot of web/media of app1"):
        Files().newest(media)


def test_every_host_of_a_service_has_snapshots_of_its_own(stack: Stack) -> None:
    assert [one.says for one in folders.kept(stack)] == ["web/media of app1", "web/media of app2"]
    assert folder_listing.chosen(stack, "web/media") == folder_listing.chosen(stack, "web,web/media/")
    with pytest.raises(Refused, match="web/cache is not a folder that is backed up; known: web/media"):
        folder_listing.chosen(stack, "web/cache")


def test_problems_say_what_is_missing_old_or_damaged(stack: Stack) -> None:
    def said(known: Files) -> list[str]:
        return [text for text in folder_listing.problems(stack, known, NOW) if "app1" in text]

    assert said(files(2)) == []
    assert said(files()) == ["there is no snapshot of web/media of app1. Take one: inv backup-now"]
    assert said(files(30, 27)) == ["the newest snapshot of web/media of app1 is 1 d old. Take one: inv backup-now"]
    assert said(files(failed=("web/media of app1: x",))) == ["the last snapshot failed: web/media of app1: x"]
    damaged = "web/media of app1: a.jpg has changed in the snapshot S0"
    assert said(files(1, damaged=damaged)) == [f"{damaged}, and 1 more. Take a new one: inv backup-now"]


def test_only_the_backup_host_may_connect_and_only_where_a_folder_is_backed_up(stack: Stack) -> None:
    def sources(text: str, host: str) -> list[str]:
        parsed = inventories.parse(text, "hosts.yaml", ROOT)
        allowed = inventories.network(parsed).allowed(parsed.hosts[host])
        return [source for one in allowed if one.port == folders.PORT for source in one.sources or ()]

    assert sources(TEXT, "app1") == sources(TEXT, "app2") == ["10.0.0.4"]
    assert sources(TEXT.replace("{path: media, backup: true}", "media"), "app1") == []
    assert sources(TEXT, "db1") == []
    assert list(app.opens(stack, stack.hosts["app2"])) == []
    assert [one.port for one in worker.opens(stack, stack.hosts["app2"])] == [folders.PORT]


def test_a_folder_that_hosts_do_not_share_is_noted_although_it_is_backed_up(stack: Stack) -> None:
    notes = list(validation.one_host_each(stack, stack.hosts["app1"]))
    assert [note.partition(" is a separate folder")[0] for note in notes] == [
        "services.web.writable: media",
        "services.web.writable: cache",
    ]


def test_a_folder_cannot_be_backed_up_without_a_backup_host() -> None:
    text = TEXT.replace("  bak1: {address: 10.0.0.4, roles: [backup]}\n", "")
    with pytest.raises(
        InventoryError, match=r"hosts.yaml:11: .*media cannot be backed up, because no host has the role"
    ):
        inventories.parse(text, "hosts.yaml", Path(ROOT))
