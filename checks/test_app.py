"""The services on application servers: each runs the wanted release, is ready, and is open to balancers only."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles import app
from plainstack.services import release, site
from plainstack.services.release_steps import account, home, settings

ROLE = "app"

# The highest allowed exposure level of systemd-analyze security, from 0 (sandboxed) to 100 (unprotected).
_EXPOSURE = 30


def test_every_service_is_ready_and_runs_the_wanted_release(host: Any, here: Host, stack: Stack) -> None:
    for name, service in stack.services.items():
        wanted = release.read(stack, name).id
        request = shlex.join(site.of_service(stack, here, service, service.health).curl())
        answer = host.run(f"readlink {home(name)}/current && curl -sS --max-time 5 --include {request}")
        current, _, head = answer.stdout.replace("\r", "").partition("\n")
        assert current == f"releases/{wanted}", f"{name} is at {current}, and the source is {wanted}: inv deploy"
        assert head.startswith("HTTP/1.1 2"), f"{name}: {head[-500:] or answer.stderr}"
        # The header is optional, but if it is sent, it must name the wanted release.
        sent = [line for line in head.lower().splitlines() if line.startswith("x-release:")]
        assert sent in ([], [f"x-release: {wanted}"]), f"{name} was not restarted: it still sends {sent}"


def test_every_service_reports_that_it_is_alive_without_using_the_database(host: Any, here: Host, stack: Stack) -> None:
    """Check the services that have a liveness page (services.NAME.live)."""
    for name, service in stack.services.items():
        if service.live is None:
            continue
        request = shlex.join(site.of_service(stack, here, service, service.live).curl())
        answer = host.run(f"curl -sS --max-time 5 -o /dev/null -w '%{{http_code}}' {request}")
        assert answer.stdout.startswith("2"), f"{name}: {service.live} answers {answer.stdout} {answer.stderr}"


def test_every_service_runs_and_does_not_restart(host: Any, stack: Stack) -> None:
    units = " ".join(app.unit(name) for name in stack.services)
    show = f"systemctl show -p Id -p ActiveState -p SubState -p MainPID -p NRestarts {units}"
    before, after = host.check_output(f"{show}; sleep 2; echo =; {show}").split("\n=\n")
    assert before.count("SubState=running") == len(stack.services), before
    assert after == before, f"restarted within two seconds: {after}"


@pytest.mark.once
def test_the_database_has_every_migration_of_the_release(host: Any, stack: Stack) -> None:
    for name in stack.services:
        done = host.run(
            f"set -a; . {settings(name)}; . {home(name)}/current/release.env; set +a;"
            f" cd {home(name)}/current/source;"
            f" runuser -u {account(name)} -- ../venv/bin/python -B manage.py migrate --check"
        )
        assert done.succeeded, f"{name}: {(done.stdout + done.stderr)[-500:]}"


def test_a_host_that_is_not_a_balancer_cannot_reach_any_service(
    here: Host, stack: Stack, peer: Callable[[str], Any]
) -> None:
    others = [other for other in stack.hosts.values() if other != here and "balancer" not in other.roles]
    if not others:
        return
    knock = "".join(
        f"timeout 2 bash -c '</dev/tcp/{here.address}/{service.port}' 2>/dev/null && echo {name} &\n"
        for name, service in stack.services.items()
    )
    assert peer(others[0].name).check_output(f"{knock}wait") == "", f"{others[0].name} reaches them"


@pytest.mark.once
def test_every_service_is_sandboxed_by_systemd(host: Any, stack: Stack) -> None:
    for name in stack.services:
        rated = host.run(f"systemd-analyze security --no-pager --threshold={_EXPOSURE} %s", app.unit(name))
        assert rated.succeeded, rated.stdout[-300:]
