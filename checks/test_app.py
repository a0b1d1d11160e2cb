"""The services on app hosts: each runs the wanted release, is ready, and is open to balancers only."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from plainstack.inventory.sections import Host
from plainstack.inventory.services import DjangoService
from plainstack.inventory.stack import Stack
from plainstack.services import processes, release, running, site, stops, watchdog
from plainstack.services.places import account, home, pin, settings

ROLE = "app"

# The highest allowed exposure level of systemd-analyze security, from 0 (sandboxed) to 100 (unprotected).
_EXPOSURE = 30


def test_every_service_is_ready_and_runs_the_wanted_release(host: Any, here: Host, stack: Stack) -> None:
    for name, started in processes.here(stack, here):
        rolled_back = host.run(f"sed -n 's/^release=//p' {pin(name)} 2>/dev/null").stdout.strip()
        wanted = rolled_back or release.read(stack, name).id
        current = host.run(f"readlink {home(name)}/current").stdout.strip()
        assert current == f"releases/{wanted}", f"{name} is at {current}, and the source is {wanted}: inv deploy"
        for process, one in started.items():
            if one.port is None or one.check is None or process in stops.names(stack, name, here):
                continue
            page = one.check
            known_as = site.health_host(stack, name, process)
            request = shlex.join(site.of_service(stack, here, one.port, page.path, known_as).curl())
            answer = host.run(f"curl -sS --max-time {page.timeout} --include {request}")
            head = answer.stdout.replace("\r", "")
            status = head.partition(" ")[2][:3]
            healthy = any(fnmatch.fnmatchcase(status, pattern) for pattern in page.statuses)
            said = f"answers {head[-500:]}" if head else f"gives no answer: {answer.stderr}"
            assert healthy, f"{name}: the health page {page.path} of the process {process} {said}"
            # The header is optional, but if it is sent, it must name the wanted release.
            sent = [line for line in head.lower().splitlines() if line.startswith("x-release:")]
            assert sent in ([], [f"x-release: {wanted}"]), f"{name} was not restarted: it still sends {sent}"


def test_every_service_reports_that_it_is_alive_without_using_the_database(host: Any, here: Host, stack: Stack) -> None:
    """Check the services that have a liveness page (`live`)."""
    for one in processes.served(stack):
        if one.live is None or here not in stops.served_by(stack, one):
            continue
        request = shlex.join(site.of_service(stack, here, one.port, one.live, one.health.host).curl())
        answer = host.run(f"curl -sS --max-time 20 -o /dev/null -w '%{{http_code}}' {request}")
        assert answer.stdout.startswith("2"), (
            f"{one.name}: {one.live} must answer 2xx, and answers {answer.stdout} {answer.stderr}"
        )


def test_every_process_runs_and_does_not_restart(host: Any, here: Host, stack: Stack) -> None:
    units = stops.units_on(stack, here)
    if not units:
        pytest.skip("every process of this host is stopped")
    before, after = host.check_output(running.twice(units)).split("\n=\n")
    idle = running.idle(before)
    assert not idle, f"not every process runs: {'; '.join(idle)}"
    restarted = running.changed(before, after)
    assert not restarted, f"restarted or ended within two seconds: {', '.join(restarted)}"


def test_the_last_run_of_every_timer_succeeded(host: Any, here: Host, stack: Stack) -> None:
    """A run that is under way has not failed."""
    started = stops.started_by_timers(stack, here)
    if not started:
        pytest.skip("no timer of a service runs on this host")
    states = host.run(f"systemctl is-active {' '.join(started)}").stdout.split()
    failed = [unit for unit, state in zip(started, states, strict=True) if state == "failed"]
    assert not failed, f"the last run of {' and '.join(failed)} failed: journalctl -u {failed[0]}"


@pytest.mark.once
def test_the_database_has_every_migration_of_the_release(host: Any, here: Host, stack: Stack) -> None:
    for name, _ in processes.here(stack, here):
        if not isinstance(stack.services[name], DjangoService):
            continue
        done = host.run(
            f"set -a; . {settings(name)}; . {home(name)}/current/release.env; set +a;"
            f" cd {home(name)}/current/source;"
            f" runuser -u {account(name)} -- ../venv/bin/python -B manage.py migrate --check"
        )
        said = (done.stdout + done.stderr).strip()[-500:]
        assert done.succeeded, f"{name}: `manage.py migrate --check` reports missing migrations: {said}"


def test_only_balancers_and_watchdogs_reach_a_service(here: Host, stack: Stack, peer: Callable[[str], Any]) -> None:
    others = [other for other in stack.hosts.values() if other != here and "balancer" not in other.roles]
    knocks: dict[str, str] = {}
    for one in processes.served(stack):
        process = processes.processes(stack, one.service)[one.process]
        outside = [other.name for other in others if other not in watchdog.peers(stack, here, one.service, process)]
        if here in one.hosts and outside:
            knock = f"timeout 2 bash -c '</dev/tcp/{here.address}/{one.port}' 2>/dev/null && echo {one.name} &\n"
            knocks[outside[0]] = knocks.get(outside[0], "") + knock
    for name, script in knocks.items():
        reached = peer(name).check_output(f"{script}wait").split()
        assert not reached, f"{name} reaches {', '.join(reached)} on {here.name}, and only balancers should"


@pytest.mark.once
def test_every_process_is_sandboxed_by_systemd(host: Any, here: Host, stack: Stack) -> None:
    for unit in stops.units_on(stack, here):
        rated = host.run(f"systemd-analyze security --no-pager --threshold={_EXPOSURE} %s", unit)
        assert rated.succeeded, (
            f"`systemd-analyze security {unit}` rates it worse than {_EXPOSURE} of 100: {rated.stdout.strip()[-300:]}"
        )
