"""The rows of `inv status`: whether a host is reachable, its units, and what its roles report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.deploy.observe import View
from plainstack.engine.kinds.unit import Kept
from plainstack.engine.observed import Entry, Observed
from plainstack.engine.role import Role, hosts_of
from plainstack.inventory.stack import Stack
from plainstack.services import holds, stops

_COMMON = ("host", "address", "roles", "units")


@dataclass
class Row:
    """The row of one host: `cells` by column title; `problems`, and `notes` that are not problems, as sentences."""

    host: str
    address: str
    roles: str
    reachable: bool
    units: str = "-"
    cells: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, object]:
        """Return the row as a JSON object; its keys are the column titles with underscores for spaces."""
        cells = {title.replace(" ", "_"): cell for title, cell in self.cells.items()}
        common = {name: getattr(self, name) for name in ("host", "address", "roles", "reachable", "units")}
        return {**common, **cells, "problems": self.problems, "notes": self.notes}


def rows(stack: Stack, roles: Mapping[str, Role], view: View, now: float) -> list[Row]:
    """Return a row for every host that was probed or could not be reached; `now` is in seconds since the epoch."""
    found = {name: _row(stack, view, name) for name in stack.hosts if name in view.observed or name in view.failed}
    facts = {name: view.observed[name].facts if name in view.observed else None for name in found}
    columns = [(role.status, hosts) for role in roles.values() if role.status and (hosts := hosts_of(stack, role))]
    for column, hosts in sorted(columns, key=lambda one: one[0].place):
        said = column.says(stack, {host.name: facts[host.name] for host in hosts if host.name in facts}, now)
        for name, row in found.items():
            row.cells[column.title] = said.cells.get(name, "")
        # A role may report a problem of a host that was not probed.
        for name, problem in said.problems:
            if name in found:
                found[name].problems.append(problem)
        for name, note in said.notes:
            if name in found:
                found[name].notes.append(note)
    known = {name: seen.facts for name, seen in view.observed.items()}
    for name, note in (*holds.notes(stack, known), *stops.sentences(stack)):
        if name in found:
            found[name].notes.append(note)
    return list(found.values())


def notes(found: Sequence[Row]) -> list[str]:
    """Return the notes of all rows, each once."""
    return list(dict.fromkeys(note for row in found for note in row.notes))


def _row(stack: Stack, view: View, name: str) -> Row:
    host = stack.hosts[name]
    row = Row(name, str(host.address), ",".join(host.roles) or "-", name in view.observed)
    if name in view.failed:
        row.problems.append(view.failed[name].reason)
        return row
    wanted, down = units_down(view.observed[name])
    failed = _failed_runs(view.observed[name])
    row.units = f"{len(wanted) - len({*down, *failed})}/{len(wanted)} up" if wanted else "not deployed"
    row.problems += [f"{unit} is {state}" for unit, state in down.items()]
    row.problems += [f"the last run of {timer} failed: inv logs {_known_as(timer)} --host={name}" for timer in failed]
    if view.observed[name].lock:
        row.problems.append(f"a run is at work: {view.observed[name].lock}")
    return row


def units_down(seen: Observed) -> tuple[list[str], dict[str, str]]:
    """Return the names of Plainstack's units and timers that should run on a host, and the state of those that do not.

    A timer that waits for its next time runs, however its last run ended.
    """
    wanted = [entry.name for entry in _units(seen, "unit") if Kept.of(entry).running]
    wanted += [entry.name for entry in _units(seen, "timer")]
    states = {name: seen.units[name].active if name in seen.units else "missing" for name in wanted}
    return [*states], {name: state for name, state in states.items() if state != "active"}


def _failed_runs(seen: Observed) -> list[str]:
    """Return the timers of a host whose last run failed; one that is under way has not."""
    return [
        entry.name
        for entry in _units(seen, "timer")
        if (started := seen.units.get(f"{entry.name.removesuffix('.timer')}.service")) and started.active == "failed"
    ]


def _units(seen: Observed, kind: str) -> list[Entry]:
    ours = {entry.name: entry for entries in seen.manifest.values() for entry in entries if entry.kind == kind}
    return [*ours.values()]


def _known_as(timer: str) -> str:
    return timer.removeprefix("plainstack-").removesuffix(".timer")


def table(found: Sequence[Row]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    """Return the header and the cells of a table of these rows."""
    titles = list(found[0].cells) if found else []
    return (*_COMMON, *titles), [
        (
            row.host,
            row.address,
            row.roles,
            row.units if row.reachable else "UNREACHABLE",
            *(cell or "-" for cell in row.cells.values()),
        )
        for row in found
    ]
