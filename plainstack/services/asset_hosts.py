"""Which deploys that leave out hosts are refused because of static files: pages and their files must match."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from plainstack.engine.role import Answers
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import asset_files, hook_hosts, release
from plainstack.services.hook_hosts import Deployed
from plainstack.services.places import home
from plainstack.services.processes import hosts, runner


def running(stack: Stack) -> Iterator[str]:
    """Yield a line of shell for each service with static files on balancers; it prints the release that a host runs."""
    for name in asset_files.names(stack):
        link = f"${{ROOT:-}}{shlex.quote(home(name))}/current"
        yield f"echo \"runs.{name}=$(readlink {link} | sed 's|.*/||')\""


def kept(stack: Stack) -> Iterator[str]:
    """Yield a line of shell for each of these services, which prints the releases whose files a balancer has."""
    for name in asset_files.names(stack):
        folder = f"${{ROOT:-}}{shlex.quote(asset_files.folder(name))}/releases"
        yield f'echo "assets.{name}=$(cd {folder} 2>/dev/null && echo *)"'


def refusals(stack: Stack, answers: Answers, deployed: Deployed) -> Iterator[str]:
    """Yield why a deploy must not leave out some hosts of a service now, because of its hooks or its static files."""
    yield from hook_hosts.refusals(stack, answers, deployed)
    for name in asset_files.names(stack):
        if name not in stack.held.aside:
            yield from _of(stack, name, answers, deployed)


def _of(stack: Stack, name: str, answers: Answers, deployed: Deployed) -> Iterator[str]:
    balancers, apps = asset_files.hosts(stack, name), hosts(stack, name)
    served = [host for host in balancers if asset_files.ROLE in deployed.get(host.name, ())]
    run = [host for host in apps if runner(host) in deployed.get(host.name, ())]
    # Facts of hosts that the deploy leaves out cost a connection to each of them.
    if bool(served) == bool(run) and len(served) == len(balancers):
        return
    wanted = release.wanted(stack, name).id
    if run and any(_runs(answers, name, host) != wanted for host in run):
        left = [host for host in balancers if host not in served and answers.get(host.name) is not None]
        lacking = [host.name for host in left if wanted not in _words(answers, f"assets.{name}", host)]
        if lacking:
            yield (
                f"{name}: pages of release {wanted} need its static files, which {' and '.join(lacking)}"
                f" {'lacks' if len(lacking) == 1 else 'lack'}. Include {' and '.join(lacking)}:"
                f" --host={','.join([*(host.name for host in run), *lacking])}"
            )
    if served and not run:
        seen = {host.name: found for host in apps if (found := _runs(answers, name, host))}
        behind = [host for host in served if wanted not in _words(answers, f"assets.{name}", host)]
        if behind and seen and wanted not in seen.values():
            runs = next(iter(seen))
            yield (
                f"{name}: {' and '.join(host.name for host in behind)} would serve the static files of release"
                f" {wanted}, but {runs} runs {seen[runs]}. Include the hosts of {name}:"
                f" --host={','.join([*(host.name for host in served), *seen])}. To leave the files as they are:"
                f" --role={asset_files.ON}"
            )


def _words(answers: Answers, fact: str, host: Host) -> list[str]:
    return ((answers.get(host.name) or {}).get(fact) or "").split(" ")


def _runs(answers: Answers, service: str, host: Host) -> str:
    return _words(answers, f"runs.{service}", host)[0]
