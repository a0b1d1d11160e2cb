"""Secrets deployed from another store are not overwritten by newly generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from plainstack.engine import ownership
from plainstack.engine.kinds.paths import state_of
from plainstack.engine.observed import Entry, Observed
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import File
from plainstack.inventory.stack import Stack
from plainstack.secrets import pki
from tests.unit.hosts import NOW
from tests.unit.simulate import Machine

OURS = File(path=ownership.AUTHORITY, content=b"ours")
THEIRS = File(path=ownership.AUTHORITY, content=b"theirs")


def host_with(authority: File) -> Observed:
    return Observed(manifest={"base": (Entry("file", ownership.AUTHORITY, state_of(authority)),)})


def test_a_host_with_another_authority_is_refused_by_name() -> None:
    found = ownership.refusals({"db1": {"base": [OURS]}}, {"db1": host_with(THEIRS)})
    assert len(found) == 1
    assert found[0].startswith("db1: was deployed with other secrets")
    assert "--new-secrets" in found[0]


def test_our_own_hosts_and_bare_hosts_are_accepted() -> None:
    desired = {"db1": {"base": [OURS]}, "db2": {"base": [OURS]}}
    assert ownership.refusals(desired, {"db1": host_with(OURS), "db2": Observed()}) == []


def test_a_successor_of_our_authority_is_accepted_however_outdated_the_hosts_are(stack: Stack) -> None:
    """Around the expiry of an authority, no deploy is refused, however many earlier deploys a host missed."""
    bundles: list[File] = []
    pairs: dict[str, pki.Pair] = {}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for days in (0, 3600, 3630, 3700):
        pairs = pki.ensure(stack.stack, {}, pairs, start + timedelta(days=days))
        bundles.append(File(path=ownership.AUTHORITY, content=pki.trusted(pairs).encode()))
        for before in bundles:
            assert ownership.refusals({"db1": {"base": [bundles[-1]]}}, {"db1": host_with(before)}) == []
    assert ownership.refusals({"db1": {"base": [bundles[-1]]}}, {"db1": host_with(THEIRS)})


CONF = File(path="/etc/app.conf", content=b"port = 1\n")
OLD = File(path="/etc/app.env", content=b"TOKEN=old\n", mode=0o600, secret=True)
NEW = replace(OLD, content=b"TOKEN=new\n")
BASE = ("v1",)
"""The versions of the store that Alice and Bob both have."""


def deploy(machine: Machine, versions: Sequence[str], *wanted: File, stop_after: int | None = None) -> None:
    """Deploy as Alice."""
    stamp = replace(NOW, who="alice@laptop", store=versions[-1])
    machine.apply(plan("app1", {"app": wanted}, machine.observed(wanted), stamp), wanted, stop_after)


def refused(machine: Machine, versions: Sequence[str], *wanted: File) -> list[str]:
    """Return the reasons why Bob's deploy is refused."""
    return ownership.refusals({"app1": {"app": wanted}}, {"app1": machine.observed(wanted)}, versions)


@pytest.fixture
def machine() -> Machine:
    """Return a host that was deployed with the version of the store that both have."""
    made = Machine()
    deploy(made, BASE, CONF, OLD)
    return made


def test_an_older_store_does_not_restore_replaced_secrets(machine: Machine) -> None:
    deploy(machine, [*BASE, "alices"], CONF, NEW)
    for bobs in ((), BASE, (*BASE, "bobs")):
        (reported,) = refused(machine, bobs, CONF, OLD)
        assert reported.startswith("app1: was deployed with newer secrets: ")
        assert "git pull, or ask alice@laptop." in reported
        assert "--new-secrets" in reported
    assert refused(machine, [*BASE, "alices"], CONF, OLD) == []
    assert refused(machine, [*BASE, "alices", "bobs"], CONF, replace(NEW, content=b"TOKEN=newer\n")) == []


def test_a_deploy_that_overwrites_no_newer_secret_is_accepted(machine: Machine) -> None:
    """An operator who has not pulled yet can still deploy another fix."""
    deploy(machine, [*BASE, "alices"], replace(CONF, content=b"port = 2\n"), OLD)
    assert refused(machine, BASE, CONF, OLD) == []
    deploy(machine, [*BASE, "alices"], CONF, NEW)
    assert refused(machine, BASE, CONF) == []


def test_a_rotation_that_was_killed_halfway_is_not_undone_either(machine: Machine) -> None:
    deploy(machine, [*BASE, "alices"], CONF, NEW, stop_after=1)
    assert refused(machine, BASE, CONF, OLD) != []
    assert refused(machine, [*BASE, "alices"], CONF, NEW) == []


def test_a_host_from_before_secret_versions_existed_is_accepted() -> None:
    machine = Machine()
    deploy(machine, [""], CONF, OLD)
    assert refused(machine, BASE, CONF, NEW) == []
