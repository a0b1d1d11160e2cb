"""Which deploys that leave out hosts are refused because of static files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.inventory.stack import Stack
from plainstack.services import asset_hosts, release
from tests import inventories

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  lb2: {address: 10.0.0.2, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
  app2: {address: 10.0.0.4, roles: [app]}
services:
  web:
    kind: binary
    source: source
    static: {path: /static/, folder: out}
    processes: {web: {command: run, port: 8001, health: /up}}
"""
LB, APP = ("base", "assets", "balancer"), ("base", "app")
NEW, OLD = "new", "old"


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "source/out").mkdir(parents=True)
    (tmp_path / "source/out/app.js").write_text("x")
    return inventories.parse(TEXT, "hosts.yaml", tmp_path)


def refusals(stack: Stack, apps: str, balancers: str, **deployed: tuple[str, ...]) -> list[str]:
    """Return the refusals if all application hosts run a release, and all balancers have the files of releases."""
    new = release.wanted(stack, "web").id
    facts: dict[str, Mapping[str, str] | None] = {
        **{host: {"runs.web": apps.replace(NEW, new)} for host in ("app1", "app2")},
        **{host: {"assets.web": balancers.replace(NEW, new)} if balancers else None for host in ("lb1", "lb2")},
    }
    return [text.replace(new, NEW) for text in asset_hosts.refusals(stack, facts, deployed)]


def test_a_deploy_of_all_hosts_is_not_refused(stack: Stack) -> None:
    assert refusals(stack, OLD, OLD, lb1=LB, lb2=LB, app1=APP, app2=APP) == []
    assert refusals(stack, "", "*", lb1=LB, lb2=LB, app1=APP, app2=APP) == []


def test_an_application_host_gets_no_release_whose_files_a_balancer_lacks(stack: Stack) -> None:
    (said,) = refusals(stack, OLD, OLD, app1=APP)
    assert said == (
        "web: pages of release new need its static files, which lb1 and lb2 lack. Include lb1 and lb2:"
        " --host=app1,lb1,lb2"
    )
    (said,) = refusals(stack, OLD, OLD, app1=APP, app2=APP, lb1=LB)
    assert "which lb2 lacks" in said
    assert refusals(stack, OLD, f"{NEW} {OLD}", app1=APP) == []


def test_a_rollback_of_another_service_is_not_refused(stack: Stack) -> None:
    aside = stack.model_copy(update={"held": stack.held.model_copy(update={"aside": ("web",)})})
    facts = {
        "app1": {"runs.web": OLD},
        "app2": {"runs.web": OLD},
        "lb1": {"assets.web": OLD},
        "lb2": {"assets.web": OLD},
    }
    assert [*asset_hosts.refusals(aside, facts, {"app1": APP, "app2": APP})] == []


def test_what_does_not_change_the_release_is_not_refused(stack: Stack) -> None:
    assert refusals(stack, NEW, OLD, app1=APP) == []
    assert refusals(stack, OLD, OLD, app1=("base",), lb1=("base", "balancer")) == []


def test_a_balancer_that_cannot_be_reached_stops_no_deploy(stack: Stack) -> None:
    assert refusals(stack, OLD, "", app1=APP, app2=APP) == []


def test_a_balancer_alone_gets_the_files_of_the_release_that_runs_but_not_of_another(stack: Stack) -> None:
    assert refusals(stack, NEW, OLD, lb1=LB) == []
    assert refusals(stack, OLD, NEW, lb1=LB) == []
    (said,) = refusals(stack, OLD, OLD, lb1=LB)
    assert said == (
        "web: lb1 would serve the static files of release new, but app1 runs old. Include the hosts of web:"
        " --host=lb1,app1,app2. To leave the files as they are: --role=balancer"
    )
