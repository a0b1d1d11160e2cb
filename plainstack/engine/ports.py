"""Conflicts between the ports that a host's units bind and the processes that already hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from plainstack.engine.observed import Listener, Observed, UnitState
from plainstack.engine.resources import Listen, Resource, Unit


def taken(desired: Mapping[str, Sequence[Resource]], observed: Observed) -> Iterator[str]:
    """Yield a sentence for each port that a unit of this host binds and another process holds.

    Ports held by units in the host's manifest are no conflict, even if their settings have changed since. These units
    include those of an interrupted run, because the manifest names a unit before apt installs it. If the probe did not
    see which process holds a port and the unit runs, the port is most likely the unit's own and no conflict.
    """
    units = [item for wanted in desired.values() for item in wanted if isinstance(item, Unit)]
    ours = {entry.name for entries in observed.manifest.values() for entry in entries if entry.kind == "unit"}
    seen: set[tuple[str, str, int]] = set()
    for unit in units:
        for listen in unit.listens:
            for holder in observed.listeners:
                where = (holder.protocol, holder.process, holder.port)
                if where in seen or not _collides(listen, holder) or holder.unit in ours:
                    continue
                if listen.adopted and (holder.unit == unit.name or holder.pid == "1"):
                    continue
                runs = observed.units.get(unit.name, UnitState()).active == "active"
                if not holder.pid and runs and (listen.adopted or unit.name in ours):
                    continue
                seen.add(where)
                yield _sentence(unit, listen, holder)


def _collides(listen: Listen, holder: Listener) -> bool:
    if (listen.protocol, listen.port) != (holder.protocol, holder.port):
        return False
    return "" in (listen.address, holder.address) or listen.address == holder.address


def _sentence(unit: Unit, listen: Listen, holder: Listener) -> str:
    where = f"{holder.address or '*'}:{holder.port}"
    if not holder.pid:
        who, cure = "a socket without a process", "find out what uses it, and stop it"
    else:
        who = f"{holder.process} (process {holder.pid}{f', {holder.unit}' if holder.unit else ''})"
        cure = f"stop it for good (kill {holder.pid}, and disable what starts it at boot)"
        if holder.unit.endswith(".service"):
            cure = f"stop it for good (systemctl disable --now {holder.unit})"
        elif holder.pid == "1":
            cure = "stop its socket unit for good (systemctl list-sockets names it)"
    if holder.unit == unit.name:
        return (
            f"{listen.protocol} port {listen.port} is taken: {holder.process} (process {holder.pid}) listens on"
            f" {where} as {holder.unit}, which Plainstack did not set up and would reconfigure. If its present"
            f" work is not needed, stop it (systemctl disable --now {holder.unit}), and deploy again"
        )
    return (
        f"{listen.protocol} port {listen.port} is taken: {who} listens on {where}, and {unit.name} needs the"
        f" port. {cure[0].upper()}{cure[1:]}, or move it to another port"
    )
