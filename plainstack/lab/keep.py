"""Save a lab as a snapshot, and start a lab from a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from plainstack.lab import container, disk, image, layers, limits, machine, mirror, model, owner, snapshot, up
from plainstack.lab.model import Lab, LabHost, check_name
from plainstack.lab.snapshot import Origin, Snapshot
from plainstack.ssh import netns
from plainstack.ssh.netns import LabDown, LabError


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
    with machine.locked(lab.name, report):
        if (model.SNAPSHOTS / name).exists():
            raise LabError(
                f"there is already a snapshot {name}. Choose another name, or remove it: inv lab.forget {name}"
            )
        if not netns.is_up(lab.namespace):
            raise LabDown
        owner.check(lab)
        if dead := [host.name for host in lab.hosts if not container.alive(lab, host)]:
            raise LabError(f"not running: {', '.join(dead)}. Start them first: inv lab.up")
        if frozen := [host.name for host in lab.hosts if container.frozen(lab, host)]:
            raise LabError(f"frozen: {', '.join(frozen)}. Thaw them first: inv lab.mend {frozen[0]}")
        if limited := [host.name for host in lab.hosts if limits.limited(disk.of(lab, host))]:
            raise LabError(f"a snapshot cannot keep disks of limited size (lab.disks): {', '.join(limited)}")
        _refuse_releases(lab)
        for names in order:
            report("lab", f"stopping {', '.join(names)}")
            try:
                up.all_hosts([lab.host(one) for one in names], lambda host: container.shut_down(lab, host))
            except LabError as error:
                raise LabError(
                    f"{error}\nNo snapshot was saved. To start the stopped hosts again: inv lab.up"
                ) from None
        with machine.shared(report):
            for host in lab.hosts:
                layers.recover(disk.of(lab, host))
            made = snapshot.write(lab, name, origin, files)
        if remove:
            up.remove(lab.name, report)
        else:
            up.start(lab, lab.hosts, report)
    return made


def start_from(
    lab: Lab, name: str, stack: str, files: Mapping[str, Path], only: Collection[str], report: up.Report
) -> Snapshot:
    """Make a lab from a snapshot, and start its hosts, or those in `only`. Raises LabError if the snapshot is stale."""
    machine.require_root("lab.up")
    report = up.one_at_a_time(report)
    with machine.locked(lab.name, report):
        owner.check(lab)
        _refuse_releases(lab)
        if lab.disks.exists():
            raise LabError(
                f"the lab {lab.name} already exists. Start it as it is with inv lab.up, or remove it with inv lab.down"
            )
        with machine.shared(report):
            found = snapshot.read(name)
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
