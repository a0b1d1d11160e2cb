"""The lab commands: up, down, status, shell."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from plainstack.lab import (
    access,
    cgroup,
    container,
    disk,
    former,
    image,
    layers,
    limits,
    links,
    machine,
    mirror,
    model,
    network,
    owner,
    proxy,
    trees,
)
from plainstack.lab.model import Lab, LabHost
from plainstack.ssh import netns
from plainstack.ssh.netns import LabDown, LabError
from plainstack.wording import counted

Report = Callable[[str, str], None]

# The states of hosts that are no longer in the inventory.
FORMER_UP = "not in the inventory, but running: inv lab.up powers it off"
FORMER_OFF = "not in the inventory, powered off: inv lab.down removes its disk"


def up(lab: Lab, report: Report, only: Collection[str] = ()) -> None:
    """Start the hosts of the lab, and repair broken ones; leave healthy hosts alone.

    `only` names the hosts to start; by default, all.
    """
    machine.require_root("lab.up")
    report = one_at_a_time(report)
    with machine.locked(lab.name, report):
        owner.check(lab)
        if netns.is_up(lab.namespace):
            # Before the start: a former host may have the address of a new one.
            former.power_off(lab, report)
        start(lab, [host for host in lab.hosts if not only or host.name in only], report)


def start(lab: Lab, hosts: Sequence[LabHost], report: Report) -> None:
    """Start hosts of the lab; the caller holds the lab's lock."""
    owner.check(lab)
    _remove_gone(lab.name)
    limits.refuse_impossible(hosts)
    mirrors = mirror.find()
    with machine.shared(report):
        images = _prepare_machine(lab, mirrors, {host.release for host in hosts}, report)
    if not netns.is_up(lab.namespace):
        # Containers that outlived their namespace can never be connected again.
        cgroup.remove(cgroup.tree() / lab.name)
        report("lab", f"network {' and '.join(str(one.network) for one in (lab.private, *lab.public))}")
    network.ensure(lab)
    owner.write(lab, lab.disks)
    with machine.shared(report):
        proxy.ensure(lab, mirrors)
    key = access.operator_key(lab)
    try:
        all_hosts(hosts, lambda host: _ensure_host(lab, host, images[host.release], disk.files(lab, host, key), report))
    finally:
        # Write the SSH settings even after a failure, so that the operator can log in to the hosts that work.
        access.write(lab)


def down(lab: Lab, report: Report) -> None:
    """Remove everything that the lab created, whatever the lab's state."""
    machine.require_root("lab.down")
    with machine.locked(lab.name, report):
        owner.check(lab)
        remove(lab.name, report)


def down_all(report: Report, agreed: Callable[[int], bool]) -> None:
    """List all labs of this machine, of any inventory, and remove them if `agreed` returns True for their number."""
    machine.require_root("lab.down")
    names = model.labs(cgroup.tree())
    for name in names:
        running = [path.name for path in (cgroup.tree() / name).glob("[!.]*") if cgroup.alive(path)]
        report(name, f"of {owner.of(name) or 'an unknown user'}, {counted(len(running), 'host')} running")
    if not names:
        report("lab", "there is none on this machine")
    elif agreed(len(names)):
        for name in names:
            with machine.locked(name, report):
                remove(name, report)


def remove(name: str, report: Report) -> None:
    """Remove a lab by name; the caller holds its lock."""
    group, disks, run = cgroup.tree() / name, model.disks(name), model.run(name)
    namespace = model.namespace(name)
    existed = any(place.exists() for place in (group, disks, run, model.gone(name), Path("/run/netns", namespace)))
    cgroup.remove(group)
    network.remove(namespace)
    _remove_gone(name)
    if disks.exists():
        # In one step: lab.up could not start hosts of which a killed lab.down has left half a disk.
        disks.rename(model.gone(name))
        _remove_gone(name)
    trees.remove(folder for folder in (run,) if folder.exists())
    with machine.shared(report):
        layers.sweep()
        proxy.stop_unused()
    report(name, "down" if existed else "was not up")


def _remove_gone(name: str) -> None:
    """Remove what a killed lab.down has left of the disks."""
    if model.gone(name).exists():
        trees.remove([model.gone(name)])


def status(lab: Lab) -> dict[str, str]:
    """Return the state of every host, in a few words, also of the hosts that are no longer in the inventory."""
    machine.require_root("lab.status")
    if not netns.is_up(lab.namespace):
        return {host.name: "down" for host in lab.hosts}
    owner.check(lab)
    links = network.observe(lab)
    with ThreadPoolExecutor(max_workers=len(lab.hosts)) as pool:
        states = pool.map(lambda host: _state(lab, host, links), lab.hosts)
    found = {host.name: state for host, state in zip(lab.hosts, states, strict=True)}
    return found | {name: FORMER_UP if up else FORMER_OFF for name, up in former.states(lab).items()}


def shell(lab: Lab, host: str) -> NoReturn:
    """Replace this process with an SSH session on the host."""
    running(lab, host, "lab.shell")
    os.execvp("ssh", ["ssh", "-F", str(lab.state / "ssh_config"), host])  # noqa: S606 - there is nothing to quote


def running(lab: Lab, name: str, task: str) -> LabHost:
    """Return a host of a lab that is up; `task` names the command in messages. Raises LabError without such a host, or
    if the lab belongs to another inventory.
    """
    machine.require_root(task)
    host = lab.host(name)
    if not netns.is_up(lab.namespace):
        raise LabDown
    owner.check(lab)
    return host


def _prepare_machine(lab: Lab, mirrors: mirror.Mirrors, releases: set[int], report: Report) -> dict[int, Path]:
    if missing := machine.missing_packages():
        report("lab", f"installing {', '.join(missing)} on this machine")
        machine.install(missing)
    links.check(lab)
    machine.make_room()
    images = {release: image.path(mirrors, release, lab.packages) for release in sorted(releases)}
    for release, path in images.items():
        if not path.exists():
            report("lab", f"building the root file system of Debian {release}, once, in about half a minute")
            image.build(mirrors, release, lab.packages)
    return images


def _ensure_host(lab: Lab, host: LabHost, base: Path, files: disk.Files, report: Report) -> None:
    here = disk.of(lab, host)
    layers.recover(here)
    limits.check(here, host)
    if here.exists and image.release_of(here.image) != host.release:
        raise LabError(
            f"{host.name}: its disk was made with Debian {image.release_of(here.image)}, but lab.debian says"
            f" {host.release}. A disk's release cannot change: inv lab.down, then inv lab.up"
        )
    same = disk.current(here, files) and not limits.missing(here, host)
    if container.alive(lab, host) and same:
        if container.frozen(lab, host):
            container.set_frozen(lab, host, freeze=False)
        network.change(lab, network.plan_cables(host, network.observe(lab)))
        if container.await_ssh(lab, host):
            return
        report(host.name, "does not answer: power cycle")
    elif container.alive(lab, host):
        report(host.name, "its settings have changed: power cycle")
    container.power_off(lab, host)
    if not here.exists:
        disk.make(here, base)
    if not disk.current(here, files):
        limits.refuse_rewrite(here, host)
        disk.write(here, files)
    if limits.missing(here, host):
        limits.make(here, host)
    report(host.name, "booting")
    container.boot(lab, host)
    if not container.await_ssh(lab, host):
        raise LabError(
            f"{host.name}: booted, but its sshd does not answer. To rebuild it: inv lab.down, then inv lab.up"
        )
    report(host.name, "up")


def _state(lab: Lab, host: LabHost, links: dict[str, network.Link]) -> str:
    if not container.alive(lab, host):
        return "powered off" if disk.of(lab, host).exists else "down"
    faults = {"cut": network.cut(host, links), "frozen": container.frozen(lab, host)}
    if any(faults.values()):
        return " and ".join(fault for fault, present in faults.items() if present)
    if container.booting(lab, host):
        return "booting"
    return "up" if container.answers(lab, host, 2) else "sshd does not answer"


def all_hosts(hosts: Sequence[LabHost], task: Callable[[LabHost], None]) -> None:
    """Run a task for all hosts at once, and report all errors together."""
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        futures = [pool.submit(task, host) for host in hosts]
    errors = [error for future in futures if (error := future.exception())]
    for error in errors:
        if not isinstance(error, LabError):
            raise error
    if errors:
        raise LabError("\n".join(str(error) for error in errors))


def one_at_a_time(report: Report) -> Report:
    """Return a `report` that threads can call at the same time without mixing their lines."""
    lock = threading.Lock()

    def locked(host: str, what: str) -> None:
        with lock:
            report(host, what)

    return locked
