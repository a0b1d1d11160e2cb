"""Releases that no host could install or start are reported by plan and deploy before they connect to any host."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from plainstack.cli import deploy_commands
from plainstack.deploy.observe import View
from plainstack.engine import desired
from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import HostPlan, Run, Transaction
from plainstack.engine.resources import Command, Payload
from plainstack.errors import InventoryError, PlainstackError
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.services import release_check, wheels
from plainstack.ssh import connections
from tests import inventories

INVENTORY = """
stack: small
ssh: {connect_timeout: 1}
hosts: {h: {address: 10.0.0.1, roles: [app, db]}, b: {address: 10.0.0.2, roles: [balancer]}}
services:
  web: {source: web, project: shop}
  api: {source: api, project: shop, port: 8001, path: /api/}
database: {name: shop}
"""


@pytest.fixture
def hosts_yaml(tmp_path: Path) -> Path:
    for name in ("web", "api"):
        (tmp_path / name / "shop").mkdir(parents=True)
        (tmp_path / name / "shop" / "wsgi.py").write_text("application = None\n")
        (tmp_path / name / "manage.py").write_text("import shop.wsgi\n")
        (tmp_path / name / "requirements.txt").write_text("django==5.2\n")
    (tmp_path / "api" / "shop" / "wsgi.py").write_text("app = None\n")
    path = tmp_path / "hosts.yaml"
    path.write_text(INVENTORY)
    return path


@pytest.mark.parametrize("command", [deploy_commands.plan, deploy_commands.deploy])
def test_all_problems_of_all_services_are_reported_before_any_connection(
    hosts_yaml: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[..., None],
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(connections.Sessions, "to", lambda _, name: asked.append(name))
    with pytest.raises(Exit) as ended:
        command(str(hosts_yaml), "", "", json=False)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    for name in ("web", "api"):
        assert f"{name}/requirements.txt: no requirement in it has a --hash" in said
        assert f"{name}/requirements.txt: has no gunicorn" in said
    assert "api/shop/wsgi.py: does not define 'application'" in said
    assert asked == []
    assert not (hosts_yaml.parent / ".plainstack").exists()


def test_a_missing_lock_hides_no_other_problem(hosts_yaml: Path) -> None:
    (hosts_yaml.parent / "api" / "requirements.txt").unlink()
    said = "\n".join(release_check.problems(inventories.load(hosts_yaml)))
    assert "api has no requirements.txt" in said
    assert "api/shop/wsgi.py: does not define 'application'" in said
    (hosts_yaml.parent / "api" / "manage.py").unlink()
    assert "api has no manage.py" in "\n".join(release_check.problems(inventories.load(hosts_yaml)))


@pytest.mark.parametrize(
    ("roles", "hosts", "reported"),
    [((), ("h", "b"), True), (("app",), ("h",), True), ((), ("b",), False), (("db",), ("h",), False)],
)
def test_only_services_to_be_deployed_are_checked(
    hosts_yaml: Path, roles: tuple[str, ...], hosts: tuple[str, ...], reported: bool
) -> None:
    stack = inventories.load(hosts_yaml)
    try:
        desired.check(stack, registry(), roles, hosts, datetime.now(UTC))
    except InventoryError:
        assert reported
    else:
        assert not reported


def _view(stack: Stack, *hosts: str) -> View:
    payload = Payload(files=(("requirements.txt", "r.txt"),), requirements="requirements.txt")
    run = Run(Command(name="requirements", why="w", run="true", unless="false", payload=payload))
    plans = {name: HostPlan(name, None, (Transaction("app", (run,)),)) for name in hosts}
    return View(stack, plans=plans, observed={name: Observed(facts={"arch": f"arch-of-{name}"}) for name in hosts})


def test_a_lock_is_fetched_once_per_architecture_of_its_hosts(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def resolve(_payload: Payload, _cache: Path, _report: object, arch: str) -> list[tuple[str, bytes]]:
        fetched.append(arch)
        raise PlainstackError("no wheel")

    monkeypatch.setattr(wheels, "resolve", resolve)
    view = _view(stack, "a", "b")
    view.observed["c"], view.plans["c"] = view.observed["a"], view.plans["a"]
    assert wheels.unfetched(view.pending, view.observed, tmp_path, lambda _: None) == ["no wheel"]
    assert fetched == ["arch-of-a", "arch-of-b"]
