"""The example stack with Celery: what its inventory makes of the application."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.engine.declared import by_name
from plainstack.engine.resources import File, Timer, Unit
from plainstack.inventory.stack import Stack
from plainstack.roles import app, registry
from plainstack.services import release, release_check
from tests import inventories
from tests.unit.conftest import ROOT, fake_vault

INVENTORY = ROOT / "stacks/incidents/hosts.yaml"


@pytest.fixture(scope="module")
def monitor() -> Stack:
    return inventories.load(INVENTORY)


def test_nothing_in_its_source_keeps_hosts_from_running_it(monitor: Stack) -> None:
    assert list(release_check.problems(monitor)) == []


def test_only_this_stack_installs_celery(monitor: Stack, stack: Stack) -> None:
    locks = [Path(dict(release.read(each, "web").wheels.files)["requirements.txt"]) for each in (monitor, stack)]
    assert ["\ncelery==" in lock.read_text(encoding="utf-8") for lock in locks] == [True, False]


def test_the_lock_with_celery_pins_what_both_need_to_the_same_versions(monitor: Stack) -> None:
    folder = monitor.file(monitor.services["web"].source)
    usual, workers = (
        {
            line.split(";")[0].strip(" \\")
            for line in (folder / name).read_text().splitlines()
            if "==" in line.split("#")[0]
        }
        for name in ("requirements.txt", "requirements-workers.txt")
    )
    assert usual <= workers


def test_every_app_host_has_a_worker_and_the_supervisor_of_the_one_beat(monitor: Stack) -> None:
    vault = fake_vault(monitor, by_name(monitor, registry()))
    for host in ("app1", "app2"):
        wanted = inventories.wanted(app.ROLE, monitor, host, vault)
        units = {item.name: item for item in wanted if isinstance(item, Unit)}
        assert {"plainstack-web-worker.service", "plainstack-web-beat.service"} <= set(units)
        files = {item.path: item.content.decode() for item in wanted if isinstance(item, File)}
        assert "plainstack-web-prune.timer" in {item.name for item in wanted if isinstance(item, Timer)}
        beat = files["/etc/systemd/system/plainstack-web-beat.service"]
        assert "/usr/local/lib/plainstack/one --lease web-beat " in beat
        assert "redis://:password-of-cache%2Fpassword@127.0.0.1:6379/0" in files["/etc/plainstack/app/web.env"]
