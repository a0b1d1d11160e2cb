"""Every module has a lab of its own, started from a snapshot of the deployed stack and thrown away afterwards.

A module that needs only some of the hosts names them: HOSTS = ("db1", "db2"). One that fills a disk says how much
the host can write: DISKS = "app2: 500M".
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.lab import labs
from tests.lab.account import Account
from tests.lab.operator import ROOT, Done, Operator
from tests.lab.spent import SPENT

__all__ = ["LAB", "ROOT", "Done", "Operator"]

LAB = labs.NAME

# Modules that need no snapshot come first, while it is made; then the longest, so that all workers end at about the
# same time. A worker whose module has only one or two tests already holds its next module, which should be short.
ORDER = (
    "test_programs",
    "test_building",
    "test_three_balancers",
    "test_restore",
    "test_interrupted",
    "test_faults",
    "test_drill",
    "test_failover",
    "test_second_copy",
    "test_one_host",
    "test_backups",
    "test_serving",
    "test_site",
    "test_rollback",
    "test_operate",
    "test_one",
    "test_restore_test",
    "test_ordinary",
    "test_services",
    "test_incidents",
    "test_neighbours",
    "test_secrets_changed",
    "test_secrets",
    "test_own_role",
    "test_bingo",
    "test_lab",
    "test_three_databases",
    "test_deploy",
    "test_daily",
    "test_release",
    "test_ways_in",
    "test_change",
    "test_looking",
)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Account())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach to the report what the test has spent: the summary is made in pytest's main process."""
    item.user_properties += SPENT.taken()
    return (yield)


def pytest_report_header() -> str:
    return f"lab: {labs.summary()}" if os.geteuid() == 0 and labs.FOLDER.exists() else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER)

    items.sort(key=place)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project that tests may change, for example to break a template."""
    assert os.geteuid() == 0, "the lab tests need root: run them with sudo"
    copy = tmp_path_factory.mktemp("project") / "plainstack"
    left_out = (".git", ".venv", ".plainstack", ".*_cache", ".hypothesis", "reports", "tests")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
    return copy


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest, project: Path) -> Iterator[Operator]:
    """Start eight bare hosts and a visitor."""
    with labs.lab(f"{_module(request)}-bare", labs.default_inventory(), project, packages=labs.PACKAGES) as operator:
        operator.inv("lab.up", timeout=900)
        yield operator


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, project: Path) -> Iterator[Operator]:
    """Start the hosts from the snapshot, and deploy today's code to them unless this run made the snapshot."""
    hosts: tuple[str, ...] = getattr(request.module, "HOSTS", ())
    text = labs.default_inventory()
    if disks := getattr(request.module, "DISKS", ""):
        text = text.replace("\nlab:\n", f"\nlab:\n  disks: {{{disks}}}\n")
    with labs.from_snapshot(_module(request), text, project, hosts) as operator:
        if not labs.of_this_run():
            # Of the hosts of a service, perhaps only one was started.
            operator.inv("deploy", "--accept-outage", timeout=1200)
        if not hosts or "bak1" in hosts:
            # A timer writes these metrics every five minutes: until then they are as old as the snapshot.
            operator.on("bak1", "systemctl start plainstack-backup-metrics.service")
        yield operator


@pytest.fixture(scope="module")
def application(deployed: Operator) -> Path:
    """Let the deployed stack use an equal copy of its application, whose release every host has already; return it."""
    source = deployed.inventory.parent / "incidents"
    shutil.copytree(ROOT / "apps/incidents", source, ignore=shutil.ignore_patterns("__pycache__"))
    text = deployed.inventory.read_text(encoding="utf-8")
    deployed.inventory.write_text(text.replace(str(ROOT / "apps/incidents"), str(source)), encoding="utf-8")
    return source


@pytest.fixture
def whole(deployed: Operator) -> Iterator[Operator]:
    """Yield a deployed stack that the test may break, and repair the stack by a deploy, which must succeed."""
    yield deployed
    deployed.inv("deploy")


def _module(request: pytest.FixtureRequest) -> str:
    return str(request.path.stem).removeprefix("test_").replace("_", "-")
