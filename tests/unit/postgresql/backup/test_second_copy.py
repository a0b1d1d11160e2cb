"""The second copy of the backups: its key in the inventory, its resources and key line, and what status says of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plainstack.engine.resources import Command, File, Resource
from plainstack.engine.sayings import Status
from plainstack.errors import PlainstackError, Refused
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import second_copy, second_copy_s3, second_copy_state
from plainstack.secrets.values import Secret, Vault
from tests import inventories

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
TEXT = """\
stack: shop
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  bak1: {address: 10.0.0.3, public: 192.0.2.3, roles: [backup]}
database: {name: shop}
backup:
  second_copy:
    to: TO
    host_key: KEY
"""
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def parse(to: str = "backups@nas.example.com:/srv/shop", key: str = f"{KEY} root@nas", more: str = "") -> Stack:
    text = TEXT.replace("TO", to).replace("KEY", key)
    return inventories.parse(text + (f"    {more}\n" if more else ""), "hosts.yaml", Path())


def resources(stack: Stack) -> list[Resource]:
    secrets = {one.name: Secret(one.name, f"value of {one.name}") for one in second_copy_s3.declared(stack)}
    vault = Vault(secrets, {}, "authority")
    return [*second_copy.copying(stack, stack.hosts["bak1"], vault), *second_copy.first_copy(stack)]


def content(stack: Stack, path: str) -> str:
    (found,) = [one.content for one in resources(stack) if isinstance(one, File) and one.path == path]
    return found.decode()


@pytest.mark.parametrize(
    ("to", "key", "error"),
    [
        ("nas.example.com:/srv/shop", KEY, "hosts.yaml:8: backup.second_copy.to: must be user@host:path"),
        ("backups@nas", KEY, "hosts.yaml:8: backup.second_copy.to: must be user@host:path"),
        ("backups@nas:../shop", KEY, "hosts.yaml:8: backup.second_copy.to: must be user@host:path"),
        ("backups@nas:/", KEY, "hosts.yaml:8: backup.second_copy.to: must be user@host:path with a folder"),
        ("backups@bak1:/srv/shop", KEY, "hosts.yaml:8: backup.second_copy.to: bak1 is the backup host itself"),
        ("b@nas:shop", "SHA256:abcdef", "hosts.yaml:9: backup.second_copy.host_key: must be the public host key"),
        ("b@nas:shop", KEY[:40], "hosts.yaml:9: backup.second_copy.host_key: must be a whole public key"),
        ("b@nas:shop", KEY.replace("ed25519", "rsa", 1), "hosts.yaml:9: backup.second_copy.host_key: must be a whole"),
    ],
)
def test_a_destination_that_cannot_be_meant_is_an_error_with_its_line(to: str, key: str, error: str) -> None:
    with pytest.raises(PlainstackError) as raised:
        parse(to, key)
    assert error in str(raised.value)


def test_without_a_destination_the_backup_host_gets_nothing_for_a_second_copy() -> None:
    stack = inventories.parse(TEXT.partition("backup:\n  second")[0], "hosts.yaml", Path())
    assert resources(stack) == []
    assert second_copy_state.facts(stack) == ""
    assert second_copy_state.sentence(stack, None, NOW) == ""
    assert list(second_copy_state.problems(stack, None, NOW)) == []
    with pytest.raises(Refused, match=r"backup\.second_copy in the inventory"):
        second_copy.required(stack)


def test_the_host_key_is_pinned_as_ssh_looks_it_up() -> None:
    path = "/etc/plainstack/second-copy.known_hosts"
    assert content(parse(), path) == f"nas.example.com {KEY}\n"
    assert content(parse(more="port: 2222"), path) == f"[nas.example.com]:2222 {KEY}\n"


def test_the_bandwidth_reaches_rsync_in_its_unit() -> None:
    def bandwidth(more: str) -> int:
        return int(json.loads(content(parse(more=more), "/etc/plainstack/second-copy.json"))["bandwidth"])

    assert (bandwidth(""), bandwidth("bandwidth: 50M"), bandwidth("bandwidth: 1k")) == (0, 6103, 1)


def test_the_key_is_generated_once_by_barman_and_may_only_use_rsync_in_the_folder() -> None:
    stack = parse()
    (command,) = [one for one in resources(stack) if isinstance(one, Command) and "ssh-keygen" in one.run]
    assert command.run.startswith("runuser -u barman -- ssh-keygen -q -t ed25519 -N ''")
    line = second_copy.authorized_key(stack, stack.hosts["bak1"], "ssh-ed25519 AAAA shop backups\n")
    assert line == (
        'restrict,from="10.0.0.3,192.0.2.3",command="rrsync -munge /srv/shop" ssh-ed25519 AAAA shop backups'
    )


def said(stack: Stack, **state: object) -> list[str]:
    printed = f"second_copy={json.dumps({'to': 'x', 'at': NOW.timestamp(), **state})}"
    return list(second_copy_state.problems(stack, second_copy_state.read(printed), NOW))


def test_a_copy_that_fails_is_old_or_has_unknown_backups_is_a_problem() -> None:
    stack, until = parse(), NOW.timestamp() - 600
    assert said(stack, ok=True, until=until, problem="") == []
    assert said(stack, ok=True, until=until - 4 * 3600, problem="") == ["the second copy of the backups is 4 h old"]
    assert said(stack, ok=False, until=until, problem="nas refuses the key") == [
        "the second copy of the backups fails: nas refuses the key"
    ]
    assert "inv backups --fetch-copy" in said(stack, ok=True, until=until, unknown=["20261101T020000"])[0]
    assert said(stack, ok=True) == ["the first run of the second copy has not ended yet"]
    assert "was never tried" in next(second_copy_state.problems(stack, second_copy_state.read(""), NOW))


def test_the_last_restore_test_from_the_copy_is_shown_and_a_failed_one_is_a_problem() -> None:
    stack, until = parse(), NOW.timestamp() - 600

    def seen(*, passed: bool, days: int = 2) -> second_copy_state.Copied | None:
        state = {"at": NOW.timestamp(), "ok": True, "until": until, "first": until - 5 * 86400}
        test = {"backup": "20261124T020000", "at": (NOW - timedelta(days=days)).isoformat(), "passed": passed}
        return second_copy_state.parse({"second_copy": json.dumps(state), "second_copy_test": json.dumps(test)})

    assert second_copy_state.sentence(stack, seen(passed=True), NOW).endswith(
        ", 10 min ago; restored as a test 2 d ago"
    )
    assert list(second_copy_state.problems(stack, seen(passed=True), NOW)) == []
    assert list(second_copy_state.problems(stack, seen(passed=False), NOW)) == [
        "backup 20261124T020000 could not be restored from the second copy. See why: inv restore-test --from-copy"
        " --backup=20261124T020000"
    ]
    # It is older than this copy, so it belongs to another one.
    assert list(second_copy_state.problems(stack, seen(passed=False, days=9), NOW)) == []


def test_status_and_the_list_of_backups_say_until_when_they_are_copied() -> None:
    stack = parse()
    state = json.dumps({"to": "x", "at": NOW.timestamp(), "ok": True, "until": NOW.timestamp() - 600})
    before = Status({"bak1": "full 2 h ago"})
    after = second_copy_state.with_copy(stack, before, {"bak1": {"second_copy": state}}, NOW.timestamp())
    assert (after.cells, after.problems) == ({"bak1": "full 2 h ago; copied 10 min ago"}, [])
    assert second_copy_state.sentence(stack, second_copy_state.parse({"second_copy": state}), NOW) == (
        "second copy at backups@nas.example.com:/srv/shop: copied until 2026-11-26 11:50:00 UTC, 10 min ago;"
        " not restored as a test yet"
    )


@pytest.mark.programs
def test_a_changed_destination_is_tried_although_a_copy_to_the_old_one_is_under_way_and_records_its_result(
    tmp_path: Path,
) -> None:
    stack = parse()
    folder, config, called = (tmp_path / path for path in ("var/lib/barman/shop", "etc/plainstack", "called"))
    for one in (folder, config, tmp_path / "etc/ssh", tmp_path / "bin"):
        one.mkdir(parents=True)
    for name in ("systemctl", "runuser"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $1" >>{called}\n')
        (tmp_path / "bin" / name).chmod(0o755)
    (command,) = [one for one in second_copy.first_copy(stack) if isinstance(one, Command)]
    variables = {**os.environ, "ROOT": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}

    def sh(script: str) -> int:
        return subprocess.run(["sh", "-c", script], env=variables, check=False).returncode

    def written(path: Path, at: int) -> None:
        path.write_text("{}")
        os.utime(path, (at, at))

    for path in re.findall(r"-nt \$\{ROOT:-\}(\S+)", str(command.unless)):
        (tmp_path / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        written(tmp_path / path.lstrip("/"), at=1000)
    assert sh(str(command.unless)) != 0
    written(folder / "second-copy.json", at=2000)
    assert sh(str(command.unless)) != 0
    assert sh(command.run) == 0
    assert called.read_text().splitlines() == ["systemctl stop", "runuser -u", "systemctl start"]
    assert sh(str(command.unless)) == 0
