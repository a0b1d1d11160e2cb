"""The releases of a service that a host keeps: which one runs, since when, and whether the others could run again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.inventory.held import Pinned
from plainstack.inventory.stack import Stack
from plainstack.paths import AUDIT
from plainstack.services import holds, kinds
from plainstack.services.places import home

# Prints for each release its virtual environment and whether that is complete, when the database was migrated for it,
# when the host last switched to it, and which release ran before it.
_SCRIPT = """\
when() {{ date -u -r "$1" +%Y-%m-%dT%H:%M:%SZ; }}
name={name} home=${{ROOT:-}}{home} audit=${{ROOT:-}}{audit}
current=$(readlink "$home/current" || :)
echo "current=${{current##*/}}"
previous=$(readlink "$home/previous" || :)
echo "previous=${{previous##*/}}"
for release in "$home"/releases/*; do
    [ -d "$release" ] || continue
    venv=$(readlink "$release/venv" || :)
    echo "venv.${{release##*/}}=${{venv##*/}}"
    [ -z "$venv" ] || [ ! -e "$home/venvs/${{venv##*/}}/complete" ] ||
        [ ! -x "$home/venvs/${{venv##*/}}/bin/python" ] || echo "complete.${{release##*/}}=yes"
    echo "switched.${{release##*/}}=$(when "$release")"
    [ ! -e "$release/unproven" ] || echo "unproven.${{release##*/}}=yes"
    [ ! -e "$release/before" ] || echo "before.${{release##*/}}=$(cat "$release/before")"
    [ ! -e "$release/migrated" ] || echo "migrated.${{release##*/}}=$(when "$release/migrated")"
    [ ! -s "$release/migrations" ] ||
        echo "migrations.${{release##*/}}=$(when "$release/migrations") $(tr '\\n' ' ' <"$release/migrations")"
done
[ ! -e "$audit" ] || grep -F "run $name: switch: " "$audit" | tail -n 50 | sed = | sed 'N; s/\\n/=/; s/^/audit./' || :
"""


NEVER = "never ran"
FAILED = "failed"

# Why a release in one of these states cannot be rolled back to.
_WHY = {NEVER: "it never ran there", FAILED: "its deploy did not succeed there"}


@dataclass(frozen=True)
class Kept:
    """A release that a host keeps. `lacks` says why it cannot be rolled back to; it is empty if nothing is missing.

    `state` is a word for that: NEVER if the host has never switched to the release, FAILED if no deploy with it has
    succeeded there, which a release can also be while it runs.
    `before` is the release that ran before this one was first deployed. Times are in UTC, as text; `migrations` are
    those that were applied for this release on this host, at `applied`.
    """

    id: str
    venv: str = ""
    lacks: str = ""
    state: str = ""
    since: str = ""
    who: str = ""
    before: str = ""
    migrated: str = ""
    applied: str = ""
    migrations: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnHost:
    """The releases of a service on one host; `current` is empty if none runs there."""

    current: str = ""
    releases: Mapping[str, Kept] = field(default_factory=dict)
    pinned: Pinned | None = None

    @property
    def previous(self) -> str:
        """The release that ran before the current one was deployed; empty if it is not known or no longer kept.

        Releases that never ran well are skipped: a deploy that was killed may have left one as the current release.
        """
        passed = {self.current}
        here = self.releases.get(self.current)
        while here and (here := self.releases.get(here.before)) and here.id not in passed:
            if here.state not in (NEVER, FAILED):
                return here.id
            passed.add(here.id)
        return ""

    @property
    def ready(self) -> list[str]:
        """The releases other than the current one that the host could run without building anything, newest first."""
        found = [kept for kept in self.releases.values() if not kept.lacks and kept.id != self.current]
        return [kept.id for kept in sorted(found, key=lambda kept: kept.since, reverse=True)]


def script(service: str) -> str:
    """Return the script that prints the releases of a service as key=value lines."""
    return _SCRIPT.format(name=service, home=home(service), audit=AUDIT) + holds.facts()


def parse(stack: Stack, service: str, facts: Mapping[str, str]) -> OnHost:
    """Return what the script has printed on a host."""
    kind = kinds.of(stack.services[service])
    switches = dict(_switches(service, facts))
    current, previous = facts.get("current", ""), facts.get("previous", "")
    found = {}
    for name, venv in facts.items():
        what, _, release = name.partition(".")
        if what != "venv":
            continue
        at, who = switches.get(release, ("", ""))
        applied, *migrations = facts.get(f"migrations.{release}", "").split() or [""]
        # Hosts that an earlier version of Plainstack deployed have only the link.
        before = facts.get(f"before.{release}") or (previous if release == current != previous else "")
        switched = bool(at) or f"before.{release}" in facts or release in (current, previous)
        state = _state(release, facts, migrates=bool(kind.migrate), switched=switched)
        gone = kind.requirements and f"complete.{release}" not in facts
        found[release] = Kept(
            id=release,
            venv=venv,
            lacks=_WHY.get(state, "its virtual environment is gone or incomplete" if gone else ""),
            state=state or ("lacks its virtual environment" if gone else ""),
            since=at or facts.get(f"switched.{release}", ""),
            who=who,
            before=before,
            migrated=facts.get(f"migrated.{release}", ""),
            applied=applied,
            migrations=tuple(migrations),
        )
    pinned = holds.of_host(service, facts).get("pinned")
    return OnHost(current, found, pinned if isinstance(pinned, Pinned) else None)


def _state(release: str, facts: Mapping[str, str], *, migrates: bool, switched: bool) -> str:
    # A release that an earlier version of Plainstack built has no file `unproven`, whether it was healthy or not.
    if not switched or (migrates and f"migrated.{release}" not in facts):
        return NEVER
    return FAILED if f"unproven.{release}" in facts else ""


def _switches(service: str, facts: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each release that the audit log says was switched to, with the time and the operator; oldest first."""
    for name in sorted((name for name in facts if name.startswith("audit.")), key=lambda name: int(name[6:])):
        try:
            event = json.loads(facts[name])
        except json.JSONDecodeError:
            continue
        if not isinstance(event, dict) or event.get("result") != "done":
            continue
        for action in event.get("actions", ()):
            words = str(action).removeprefix(f"run {service}: switch: make release ").split()
            if len(words) > 2 and words[1:3] == ["of", service]:
                yield words[0], (str(event.get("at", "")), str(event.get("who", "")))
