"""A balancer tells whether it uses another host of a service, before one goes down."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.roles.upstreams_program import ADDRESSES, PORTS, SERVICES, TARGETS, Balancer

pytestmark = pytest.mark.programs

NO_OTHER = 4


@pytest.fixture
def balancer(tmp_path: Path) -> Balancer:
    made = Balancer.new(tmp_path / "balancer")
    made.run("prepare")
    return made


@given(
    out=st.sets(st.sampled_from([target[2] for target in TARGETS])),
    drained=st.sampled_from(["", *ADDRESSES]),
    leaving=st.sets(st.sampled_from(sorted(ADDRESSES)), min_size=1, max_size=2),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_a_used_host_may_go_only_if_another_one_is_used(
    tmp_path_factory: pytest.TempPathFactory, out: set[str], drained: str, leaving: set[str]
) -> None:
    balancer = Balancer.new(tmp_path_factory.mktemp("balancer") / "root")
    balancer.run("prepare")
    for address in out:
        (balancer.state / "out" / address).write_text("answers 500 at /healthz\n")
    if drained:
        (balancer.state / "drain" / drained).write_text(f"{int(time.time()) + 600}\n")
    (balancer.state / "pending").touch()
    # Corrects the files, and changes nothing else.
    balancer.run("restore", next(host for host in ADDRESSES if host != drained))
    used = balancer.used()
    for service, hosts in SERVICES.items():
        well = {host for host in used[service] if f"{ADDRESSES[host]}:{PORTS[service]}" not in out}
        others = set(hosts) - leaving
        said = balancer.run("spare", ",".join(sorted(leaving)), service)
        refused = bool(well & leaving and others and not well & others)
        assert said.returncode == (NO_OTHER if refused else 0), (said, used)
        reasons = [f"{service}: {host} {why}" for host, why in _reasons(service, out, drained) if host in others]
        assert said.stdout.splitlines() == (reasons if refused else [])


def _reasons(service: str, out: set[str], drained: str) -> list[tuple[str, str]]:
    addresses = {host: address for kind, host, address in TARGETS if kind == service}
    found = {host: "answers 500 at /healthz" for host, address in addresses.items() if address in out}
    return [(host, found.get(host, "is drained" if host == drained else "")) for host in addresses]


def test_a_host_whose_last_check_failed_takes_no_other_hosts_place(balancer: Balancer) -> None:
    (balancer.state / "failing/192.0.2.1:8001").write_text("does not answer\n")
    said = balancer.run("spare", "app2", "web", "api")
    assert (said.returncode, said.stdout) == (NO_OTHER, "api: app1 does not answer\n")


def test_a_host_that_the_web_server_may_not_use_yet_takes_no_other_hosts_place(balancer: Balancer) -> None:
    (balancer.state / "pending").touch()
    said = balancer.run("spare", "app2", "api")
    assert (said.returncode, said.stdout) == (NO_OTHER, "api: nginx has not loaded the last change\n")


def test_a_service_that_the_balancer_does_not_know_yet_stops_nobody(balancer: Balancer) -> None:
    assert balancer.run("spare", "app1", "shop").returncode == 0
    assert balancer.run("spare", "app1,app2,app3", "web").returncode == 0
