"""The program that decides which application hosts a balancer uses, in a real sh with stand-ins for other programs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.roles.upstreams_program import (
    ADDRESSES,
    SERVICES,
    SYSTEMCTL,
    TARGETS,
    Balancer,
    everything,
    without,
)

pytestmark = pytest.mark.programs


@pytest.fixture
def balancer(tmp_path: Path) -> Balancer:
    return Balancer.new(tmp_path / "balancer")


def test_the_first_configuration_uses_every_host_before_any_health_check(balancer: Balancer) -> None:
    assert balancer.run("prepare").returncode == 0
    assert balancer.used() == everything()
    assert (balancer.state / "serial.conf").read_text() == 'return 200 "0\\n";\n'
    assert balancer.reloads() == 0


def test_preparing_again_does_not_bring_a_host_back(balancer: Balancer) -> None:
    balancer.run("prepare")
    assert balancer.run("drain", "app1").returncode == 0
    balancer.run("prepare")
    assert balancer.used() == without("app1")


@pytest.mark.parametrize("has_ipv6", [True, False])
def test_nginx_listens_on_ipv6_if_the_kernel_has_it(balancer: Balancer, has_ipv6: bool) -> None:
    link = balancer.root / "run/plainstack/ipv6"
    link.parent.mkdir(parents=True)
    link.symlink_to("/somewhere")
    if has_ipv6:
        (balancer.root / "proc/net/if_inet6").touch()
    assert balancer.run("prepare").returncode == 0
    assert (str(link.readlink()) if link.is_symlink() else None) == ("/etc/nginx/ipv6" if has_ipv6 else None)


@given(
    out=st.sets(st.sampled_from([target[2] for target in TARGETS])),
    drained=st.sets(st.sampled_from(sorted(ADDRESSES))),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_a_service_keeps_at_least_one_host_whatever_is_out(
    tmp_path_factory: pytest.TempPathFactory, out: set[str], drained: set[str]
) -> None:
    """Healthy hosts that are not drained are used; if there are none, all that are not drained; if none, all."""
    balancer = Balancer.new(tmp_path_factory.mktemp("balancer") / "root")
    balancer.run("prepare")
    for address in out:
        (balancer.state / "out" / address).touch()
    for host in drained:
        (balancer.state / "drain" / host).write_text(f"{int(time.time()) + 600}\n")
    # A command for a host that is not drained changes no state, but corrects the files.
    (balancer.state / "pending").touch()
    bystander = next((host for host in ADDRESSES if host not in drained), "app1")
    assert balancer.run("restore", bystander).returncode == 0
    left = drained - {bystander}
    for service, used in balancer.used().items():
        hosts = set(SERVICES[service])
        well = {host for kind, host, address in TARGETS if kind == service and address not in out} - left
        assert used == (well or hosts - left or hosts)


def test_a_drained_host_is_out_when_drain_returns_and_back_in_after_restore(balancer: Balancer) -> None:
    (balancer.root / "connections").write_text("ESTAB 0 0 192.0.2.9:40000 192.0.2.1:8000\n")
    balancer.run("prepare")
    assert balancer.run("drain", "app1").returncode == 0
    assert balancer.used() == without("app1")
    assert (balancer.root / "connections").read_text() == "", "its connections were awaited"
    assert balancer.run("status").stdout.splitlines() == [
        f"{service} {host} {address} {'down' if host == 'app1' else 'up'}" for service, host, address in TARGETS
    ]
    assert balancer.run("restore", "app1").returncode == 0
    assert balancer.used() == everything()
    assert balancer.reloads() == 2


def test_the_last_host_of_a_service_is_not_drained(balancer: Balancer) -> None:
    balancer.run("prepare")
    assert balancer.run("drain", "app1").returncode == 0
    refused = balancer.run("drain", "app2")
    assert refused.returncode == 3
    assert "app2 stays in use" in refused.stderr
    assert balancer.used() == without("app1")
    assert balancer.reloads() == 1


def test_an_unknown_host_or_command_is_refused(balancer: Balancer) -> None:
    balancer.run("prepare")
    assert balancer.run("drain", "app9").returncode == 2
    assert balancer.run("restore", "app").returncode == 2
    assert balancer.run("dance").returncode == 2


def test_nobody_waits_for_a_host_that_is_drained_or_unknown(balancer: Balancer) -> None:
    balancer.run("prepare")
    assert balancer.run("drain", "app1").returncode == 0
    assert balancer.run("taken", "app1", "0").returncode == 0
    assert balancer.run("taken", "app9", "0").returncode == 0


def test_a_change_that_the_engine_does_not_load_is_reported_and_retried(balancer: Balancer) -> None:
    (balancer.root / "broken").touch()
    balancer.run("prepare")
    assert balancer.run("drain", "app1").returncode == 0
    assert balancer.reloads() == 2
    (balancer.root / "bin/systemctl").write_text("#!/bin/sh\n")
    failed = balancer.run("restore", "app1")
    assert failed.returncode != 0
    assert "nginx did not apply the change" in failed.stderr
    (balancer.root / "bin/systemctl").write_text(SYSTEMCTL)
    # The files are right already, but the engine has not loaded them yet.
    assert balancer.run("restore", "app1").returncode == 0
    assert balancer.reloads() == 3


def test_a_stopped_engine_reads_the_files_when_it_starts(balancer: Balancer) -> None:
    (balancer.root / "stopped").touch()
    balancer.run("prepare")
    assert balancer.run("drain", "app1").returncode == 0
    assert balancer.used() == without("app1")
    assert balancer.reloads() == 0
