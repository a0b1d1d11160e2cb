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

# Those without the snapshot while it is made, then long ones first, so that all workers end at about the same time. A
# worker has the module after its own already when its own has one or two tests only: a short one, then.
ORDER = (
    "test_interrupted",
    "test_one_host",
    "test_one",
    "test_ordinary",
    "test_neighbours",
    "test_ways_in",
    "test_failover",
    "test_drill",
    "test_services",
    "test_faults",
    "test_secrets_changed",
    "test_site",
    "test_own_role",
    "test_secrets",
    "test_three_databases",
    "test_lab",
    "test_release",
)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Account())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what was spent travel with the report, from whichever process, for the account."""
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
    """A copy of the project that tests may change: a broken template, a package that does not exist."""
    assert os.geteuid() == 0, "the lab tests need root: run them with sudo"
    copy = tmp_path_factory.mktemp("project") / "plainstack"
    left_out = (".git", ".venv", ".plainstack", ".*_cache", ".hypothesis", "reports", "tests")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
    return copy


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest, project: Path) -> Iterator[Operator]:
    """Eight bare hosts, and a visitor."""
    with labs.lab(f"{_module(request)}-bare", labs.default_inventory(), project) as operator:
        operator.inv("lab.up", timeout=900)
        yield operator


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, project: Path) -> Iterator[Operator]:
    """The hosts with the stack on them, as the code of today deploys it."""
    hosts: tuple[str, ...] = getattr(request.module, "HOSTS", ())
    text = labs.default_inventory()
    if disks := getattr(request.module, "DISKS", ""):
        text = text.replace("\nlab:\n", f"\nlab:\n  disks: {{{disks}}}\n")
    with labs.from_snapshot(_module(request), text, project, hosts) as operator:
        if not labs.of_this_run():
            operator.inv("deploy", timeout=1200)
        if not hosts or "bak1" in hosts:
            # A timer writes them every five minutes: until then they are as old as the snapshot.
            operator.on("bak1", "systemctl start plainstack-backup-metrics.service")
        yield operator


@pytest.fixture
def whole(deployed: Operator) -> Iterator[Operator]:
    """A deployed stack that the test may break: it is deployed again afterwards, which fails if anything is left."""
    yield deployed
    deployed.inv("deploy")


def _module(request: pytest.FixtureRequest) -> str:
    return str(request.path.stem).removeprefix("test_").replace("_", "-")
