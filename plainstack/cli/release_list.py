"""The output of `inv releases`: a table of the releases that the hosts keep, and the same as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from plainstack.services import holds, rollback

if TYPE_CHECKING:
    from plainstack.cli.console import Console
    from plainstack.services.kept import OnHost

_HEADER = ("service", "release", "state", "hosts", "since", "by")


def data(seen: Mapping[str, OnHost]) -> dict[str, Any]:
    """Return what the hosts keep of a service, as JSON data."""
    pinned = rollback.newest(seen)
    return {
        "hosts": {
            name: {
                "runs": one.current or None,
                "previous": one.previous or None,
                "releases": [
                    {
                        "id": kept.id,
                        "since": kept.since,
                        "by": kept.who or None,
                        "lacks": kept.lacks or None,
                        "migrations": kept.migrations,
                    }
                    for kept in one.releases.values()
                ],
            }
            for name, one in seen.items()
        },
        "can_roll_back_to": rollback.candidates(seen),
        "rolled_back": pinned.model_dump(mode="json") if pinned else None,
    }


def show(console: Console, seen: Mapping[str, Mapping[str, OnHost]]) -> None:
    """Print the releases of services, and to which of them each can be rolled back."""
    if rows := [row for service, hosts in seen.items() for row in _rows(service, hosts)]:
        console.table(_HEADER, rows)
        console.line()
    for service, hosts in seen.items():
        if not any(one.releases for one in hosts.values()):
            console.line(f"{service}: no release yet" if hosts else f"{service}: no host could be reached")
            continue
        if text := rollback.differing(service, hosts):
            console.line(text)
        if pinned := rollback.newest(hosts):
            console.line(holds.stays(service, pinned))
        if rollback.candidates(hosts):
            console.line(rollback.choice(service, hosts))
        else:
            console.line(f"{service}: there is no other release that it can be rolled back to")


def _rows(service: str, seen: Mapping[str, OnHost]) -> Iterable[tuple[str, ...]]:
    """Yield a row for each release and state, with the hosts on which it is in this state; newest first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, one in seen.items():
        for kept in one.releases.values():
            groups.setdefault((kept.id, _state(one, kept.id)), []).append(name)
    rows = []
    for (release, state), names in groups.items():
        first = [seen[name].releases[release] for name in names]
        since = min(kept.since for kept in first)
        rows.append((service, release, state, ", ".join(names), since, next((k.who for k in first if k.who), "-")))
    return sorted(rows, key=lambda row: (row[2] != "runs", row[2] != "previous", _descending(row[4])))


def _descending(text: str) -> tuple[int, ...]:
    return tuple(-ord(character) for character in text)


def _state(one: OnHost, release: str) -> str:
    if release == one.current:
        return "runs"
    return one.releases[release].state or ("previous" if release == one.previous else "kept")
