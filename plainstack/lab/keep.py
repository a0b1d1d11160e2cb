"""Save a lab as a snapshot, and start a lab from a snapshot."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from plainstack.lab import container, disk, image, layers, limits, machine, mirror, model, network, owner, snapshot, up
from plainstack.lab.model import Lab, LabHost, check_name
from plainstack.lab.snapshot import Origin, Snapshot
from plainstack.ssh import netns
from plainstack.ssh.netns import LabDown, LabError

_STOPPED = "To start the stopped hosts again: inv lab.up"


def save(
    lab: Lab,
    name: str,
    origin: Origin,
    files: Mapping[str, Path],
    order: Sequence[Collection[str]],
    report: up.Report,
    *,
    remove: bool = False,
) -> Snapshot:
    """Stop the hosts group by group, save their disks as a snapshot, and start the hosts again.

    The snapshot also contains `files` of the operator's machine. With `remove`, the lab is removed instead of started.
    """
    machine.require_root("lab.save")
    check_name(name, "a snapshot")
    report = up.one_at_a_time(report)
    # Nothing else saves under this name until the end, as the hosts are stopped for it.
    with machine.locked(lab.name, report), machine.locked(f".snapshot-{name}", report):
        if (model.SNAPSHOTS / name).exists():
            raise LabError(
                f"there is already a snapshot {name}. Choose another name, or remove it: inv lab.forget {name}"
            )
        if not netns.is_up(lab.namespace):
            raise LabDown
        owner.check(lab)
        _refuse_hosts(lab)
        with machine.shared(report):
            _refuse_layers(lab)
        with _told_after(f"No snapshot was saved. {_STOPPED}"):
            for names in order:
                report("lab", f"stopping {', '.join(names)}")
                up.all_hosts([lab.host(one) for one in names], lambda host: container.shut_down(lab, host))
            with machine.shared(report):
                for host in lab.hosts:
                    layers.recover(disk.of(lab, host))
                    layers.merge_unused(disk.of(lab, host))
                made = snapshot.write(lab, name, origin, files)
        with _told_after(f"The snapshot {name} was saved. {'To remove the lab: inv lab.down' if remove else _STOPPED}"):
            if remove:
                up.remove(lab.name, report)
            else:
                up.start(lab, lab.hosts, report)
    return made


def _refuse_hosts(lab: Lab) -> None:
    """Raise LabError if a host is in a state that a snapshot cannot keep."""
    if dead := [host.name for host in lab.hosts if not container.alive(lab, host)]:
        raise LabError(f"not running: {', '.join(dead)}. Start them first: inv lab.up")
    links = network.observe(lab)
    frozen = [host.name for host in lab.hosts if container.frozen(lab, host)]
    cut = [host.name for host in lab.hosts if network.cut(host, links)]
    for fault, broken in (("frozen", frozen), ("cut", cut)):
        if broken:
            cure = "; ".join(f"inv lab.mend {one}" for one in broken)
            raise LabError(f"{fault}: {', '.join(broken)}. A snapshot cannot keep that; mend them first: {cure}")
    if limited := [host.name for host in lab.hosts if limits.limited(disk.of(lab, host))]:
        raise LabError(f"a snapshot cannot keep disks of limited size (lab.disks): {', '.join(limited)}")
    _refuse_releases(lab)


def _refuse_layers(lab: Lab) -> None:
    """Raise LabError if a host could not be mounted with one more layer."""
    layers.sweep()
    if deep := [host.name for host in lab.hosts if layers.depth(disk.of(lab, host)) >= layers.MOST]:
        raise LabError(
            f"{', '.join(deep)}: the disk already lies on {layers.MOST} layers of snapshots, and cannot lie on more."
            " Remove snapshots that you do not need (inv lab.snapshots, inv lab.forget NAME) and other labs that were"
            " started from them (inv lab.down), or begin anew: inv lab.down, inv lab.up, inv deploy"
        )


@contextlib.contextmanager
def _told_after(what: str) -> Iterator[None]:
    """Add `what` has been done, and what to do, to the message of whatever fails."""
    try:
        yield
    except LabError as error:
        raise LabError(f"{error}\n{what}") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise LabError(f"{where}{error.strerror or error}\n{what}") from None
    except subprocess.CalledProcessError as error:
        raise LabError(f"{error}\n{what}") from None


def start_from(
    lab: Lab, name: str, stack: str, files: Mapping[str, Path], only: Collection[str], report: up.Report
) -> Snapshot:
    """Make a lab from a snapshot, and start its hosts, or those in `only`. Raises LabError if the snapshot is stale."""
    machine.require_root("lab.up")
    report = up.one_at_a_time(report)
    with machine.locked(lab.name, report):
        owner.check(lab)
        _refuse_releases(lab)
        with machine.shared(report):
            found = snapshot.read(name)
            if lab.disks.exists():
                raise LabError(
                    f"the lab {lab.name} already exists. Start it as it is with inv lab.up, or remove it with"
                    " inv lab.down"
                )
            if problems := snapshot.stale(found, lab, stack, image.path(mirror.find(), packages=lab.packages)):
                raise LabError(
                    f"the snapshot {name} cannot be used: {'; '.join(problems)}."
                    f" Make a new one: inv lab.up, inv deploy, inv lab.forget {name}, inv lab.save {name}"
                )
            for path in snapshot.place(found, lab, files):
                report("lab", f"the secrets that were here are kept as {path}")
        up.start(lab, [host for host in lab.hosts if not only or host.name in only], report)
    return found


def _refuse_releases(lab: Lab) -> None:
    if others := [host.name for host in lab.hosts if host.release != LabHost.release]:
        raise LabError(
            f"a snapshot can only hold hosts of Debian {LabHost.release} (see lab.debian): {', '.join(others)}"
        )


def forget(name: str, report: up.Report) -> None:
    """Remove a snapshot."""
    machine.require_root("lab.forget")
    with machine.shared(report):
        snapshot.forget(name)
