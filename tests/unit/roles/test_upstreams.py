"""The program that decides which application hosts a balancer uses, in a real sh with stand-ins for other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.roles.upstreams_program import (
    ADDRESSES,
    METRICS,
    PROGRAM,
    SERVICES,
    SYSTEMCTL,
    TARGETS,
    Balancer,
    everything,
    without,
)
from tests.waiting import until

pytestmark = pytest.mark.programs


@pytest.fixture
def balancer(tmp_path: Path) -> Balancer:
    return Balancer.new(tmp_path / "balancer")


@pytest.fixture
def watching(balancer: Balancer) -> Iterator[Balancer]:
    """Yield a balancer on which the program runs."""
    with subprocess.Popen(
        ["sh", str(PROGRAM), "watch"], env=balancer.environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as running:
        try:
            until(lambda: (balancer.state / "serial.conf").exists() and len(list(balancer.state.glob("*:*.conf"))) == 5)
            yield balancer
        finally:
            os.killpg(running.pid, signal.SIGKILL)


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


def test_a_drain_expires(watching: Balancer) -> None:
    """A deploy that is killed between drain and restore does not leave a host out."""
    assert watching.run("drain", "app1", "60").returncode == 0
    assert watching.used() == without("app1")
    # The drain expired long ago.
    over = watching.root / "over"
    over.write_text("1\n", encoding="utf-8")
    over.rename(watching.state / "drain/app1")
    until(lambda: watching.used() == everything())


def test_a_host_is_taken_when_it_answers_and_no_failures_are_counted(watching: Balancer) -> None:
    assert watching.run("taken", "app2", "60").returncode == 0
    watching.health("app2", "-7")
    until(lambda: len(list((watching.state / "failing").iterdir())) == 2)
    assert watching.run("taken", "app2", "0").returncode == 1
    # The follower counts failures of a host that answers again, until it has asked once more.
    watching.health("app2", "200")
    assert watching.run("taken", "app2", "60").returncode == 0
    assert list((watching.state / "failing").iterdir()) == []


def test_a_host_that_is_out_is_taken_when_the_engine_has_loaded_the_change(watching: Balancer) -> None:
    watching.health("app2", "500")
    until(lambda: watching.used() == without("app2"))
    watching.health("app2", "200")
    assert watching.run("taken", "app2", "60").returncode == 0
    assert watching.used() == everything()
    assert not (watching.state / "pending").exists()


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


@pytest.mark.parametrize("answer", ["500", "503", "-7", "-28", "-52", "-56"])
def test_an_unhealthy_or_unreachable_host_is_taken_out_and_put_back(watching: Balancer, answer: str) -> None:
    watching.health("app2", answer)
    until(lambda: watching.used() == without("app2"))
    watching.health("app2", "200")
    until(lambda: watching.used() == everything())


@pytest.mark.parametrize("answer", ["204", "301", "400", "404", "507"])
def test_a_host_is_taken_out_only_for_a_server_error(watching: Balancer, answer: str) -> None:
    """The running release may not know a new name or path of the health page yet. 507 is a status of this service."""
    for host in ("app1", "app3"):
        watching.health(host, answer)
    watching.health("app2", "500")
    until(lambda: watching.used() == without("app2"))


def test_if_all_hosts_are_unhealthy_all_are_used(watching: Balancer) -> None:
    watching.health("app1", "503")
    until(lambda: watching.used() == without("app1"))
    for host in ("app2", "app3"):
        watching.health(host, "503")
    until(lambda: len(list((watching.state / "out").iterdir())) == len(TARGETS) and watching.used() == everything())


def test_metrics_are_exported_from_the_start(watching: Balancer) -> None:
    reported = watching.root / METRICS

    def values() -> dict[str, str]:
        lines = reported.read_text().splitlines() if reported.exists() else []
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def wanted(down: str) -> dict[str, str]:
        return {
            f'plainstack_upstream_up{{service="{service}",target="{host}"}}': "0" if host == down else "1"
            for service, host, _ in TARGETS
        }

    until(lambda: values() == wanted(""))
    watching.health("app2", "500")
    until(lambda: values() == wanted("app2"))


def test_the_health_request_looks_like_a_request_to_the_site(watching: Balancer) -> None:
    asked = watching.root / "asked"
    lines = until(lambda: asked.read_text().splitlines() if asked.exists() else [])
    assert "-H Host: www.example.com -H X-Forwarded-Host: www.example.com -H X-Forwarded-Proto: https" in lines[0]
    assert "/healthz" in lines[0]
