"""Package sources and proxies: their order relative to packages, their removal, and foreign ones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import File, Package, Resource, Validation
from tests.unit.engine.test_packages import SOURCE, WANTED
from tests.unit.sandbox import STAMP, Sandbox, build

pytestmark = [pytest.mark.programs, pytest.mark.skipif(os.geteuid() != 0, reason="changes owners: needs root")]

PROXY = File(path="/etc/apt/apt.conf.d/10plainstack-proxy", content=b"Acquire::http::Proxy x;\n", early=True)


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "host")


def test_a_foreign_package_source_that_cannot_be_reached_does_not_stop_a_deploy(host: Sandbox) -> None:
    host.write("unreachable", "https://packages.example.com/debian")
    assert all(done.ok for done in host.deploy(WANTED))


def test_a_source_is_validated_before_anything_is_installed_from_it(host: Sandbox) -> None:
    verify = Validation(name="source", run="echo 'the key is wrong'; exit 1", reads=(SOURCE.path,))
    before = host.tree("var/lib/plainstack", "systemd", "packages")
    (done,) = host.deploy({"balancer": (*WANTED["balancer"], verify)})
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", "validate source")
    assert done.answer.tail == ["the key is wrong"]
    assert host.calls() == []
    assert host.tree("var/lib/plainstack", "systemd", "packages") == before


def test_a_changed_source_is_validated_even_if_nothing_is_to_be_installed(host: Sandbox) -> None:
    verify = Validation(name="source", run="! grep -q bad /etc/apt/sources.list.d/*", reads=(SOURCE.path,))
    assert all(done.ok for done in host.deploy({"balancer": (*WANTED["balancer"], verify)}))
    changed = {"balancer": (*WANTED["balancer"][:2], replace(SOURCE, content=b"URIs: bad\n"), verify)}
    (done,) = host.deploy(changed)
    assert (done.answer.outcome, done.answer.failed) == ("untouched", "validate source")
    assert host.read(SOURCE.path) == "URIs: x\n"


def test_the_packages_that_apt_needs_for_an_https_source_come_before_the_source(host: Sandbox) -> None:
    wanted = {"balancer": (*WANTED["balancer"], Package(name="ca-certificates"), PROXY)}
    steps = build(host.plan(wanted).packages).steps
    order = [
        f"write {PROXY.path}",
        "install ca-certificates",
        f"write {SOURCE.path}",
        "refresh package lists",
        "install 3 packages",
    ]
    assert sorted(order, key=steps.index) == order
    assert all(done.ok for done in host.deploy(wanted))
    assert host.plan(wanted).empty


def test_an_undeclared_proxy_or_source_is_removed_before_apt_runs(host: Sandbox) -> None:
    """The proxy may be removed because it is dead: nothing could be installed through it."""
    assert all(done.ok for done in host.deploy({**WANTED, "base": (PROXY,)}))
    host.calls()
    dead = f'#!/bin/sh\n[ ! -e "$ROOT{PROXY.path}" ] || exit 100\n[ ! -e "$ROOT{SOURCE.path}" ] || exit 100\n'
    host.write("bin/apt-get", dead + host.read("bin/apt-get"), 0o755)
    wanted: Mapping[str, Sequence[Resource]] = {"base": (Package(name="tzdata"),)}
    ended = host.deploy(wanted)
    assert all(done.ok for done in ended), ended[-1].text
    assert not (host.root / PROXY.path.lstrip("/")).exists()
    assert host.plan(wanted).empty


def test_a_removed_proxy_is_restored_if_the_packages_cannot_be_installed(host: Sandbox) -> None:
    assert all(done.ok for done in host.deploy({"base": (PROXY,)}))
    before = host.tree("var/lib/plainstack/generation", "systemd", "packages")
    (done,) = host.deploy({"base": (Package(name="missing-tool"),)})
    assert done.answer.outcome == "rolled-back"
    assert host.tree("var/lib/plainstack/generation", "systemd", "packages") == before


def test_a_foreign_proxy_stays(host: Sandbox) -> None:
    assert all(done.ok for done in host.deploy({"base": (PROXY,)}))
    host.write(PROXY.path, "by hand\n")
    assert all(done.ok for done in host.deploy({"base": (Package(name="tzdata"),)}))
    assert host.read(PROXY.path) == "by hand\n"


def test_sources_of_roles_that_are_not_selected_stay(host: Sandbox) -> None:
    assert all(done.ok for done in host.deploy({**WANTED, "base": ()}))
    tool = (Package(name="tzdata"),)
    limited = plan("sandbox", {"base": tool, "balancer": ()}, host.observe(tool), STAMP, scope=["base"])
    assert limited.packages
    assert host.run(build(limited.packages)).ok
    assert host.read(SOURCE.path) == "URIs: x\n"
