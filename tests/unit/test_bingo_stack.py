"""The example stack with an opaque program: what its inventory makes of it, and that its times fit together."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from plainstack.engine.declared import by_name
from plainstack.engine.resources import Command, File
from plainstack.inventory import references
from plainstack.inventory.stack import Stack
from plainstack.roles import app, registry
from tests import inventories
from tests.unit.conftest import ROOT, fake_vault

FOLDER = ROOT / "stacks/bingo"


@pytest.fixture(scope="module")
def bingo(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """Return the stack, with a copy of the source, because its build writes into it."""
    folder = tmp_path_factory.mktemp("bingo")
    source = ROOT / "apps/bingo"
    subprocess.run(["cp", "-r", str(FOLDER), str(folder / "stack")], check=True)
    subprocess.run(["cp", "-r", str(source), str(folder / "source")], check=True)
    subprocess.run([sys.executable, str(folder / "source/build.py")], check=True)
    text = (FOLDER / "hosts.yaml").read_text(encoding="utf-8").replace("../../apps/bingo", "../source")
    inventory = folder / "stack/hosts.yaml"
    inventory.write_text(text, encoding="utf-8")
    return inventories.load(inventory)


def configuration() -> dict[str, float]:
    text = (FOLDER / "bingo.json").read_text(encoding="utf-8")
    settings: dict[str, float] = json.loads(references.resolve(text, lambda name: name))
    return settings


@pytest.mark.programs
def test_the_watchdog_and_the_deploy_wait_for_longer_than_the_program_needs_to_start(bingo: Stack) -> None:
    web = bingo.services["web"].processes["web"]
    assert web.watchdog
    starts = configuration()["start_seconds"]
    assert starts < web.watchdog.startup
    assert starts < web.start_timeout
    assert configuration()["prepare_seconds"] < bingo.services["web"].before["prepare"].timeout


@pytest.mark.programs
def test_the_database_is_prepared_on_one_node_only_and_the_configuration_is_on_both(bingo: Stack) -> None:
    vault = fake_vault(bingo, by_name(bingo, registry()))
    for host, once in (("app1", ["web: before prepare", "web: before indices"]), ("app2", [])):
        wanted = inventories.wanted(app.ROLE, bingo, host, vault)
        assert [item.name for item in wanted if isinstance(item, Command) and ": before " in item.name] == once
        (file,) = [item for item in wanted if isinstance(item, File) and item.path.endswith("/files/bingo.json")]
        assert json.loads(file.content)["database"]["host"] == "db1"
        assert file.secret
        (sent,) = [item.payload for item in wanted if isinstance(item, Command) and item.payload]
        assert "bingo" in sent.executables


@pytest.mark.programs
def test_only_pages_that_may_be_cached_are_cached(bingo: Stack) -> None:
    routes = {route if isinstance(route, str) else route.path: route for route in bingo.services["web"].routes}
    assert [path for path, route in routes.items() if not isinstance(route, str) and route.cache] == ["/session/"]
