"""What is not as Plainstack left it: told from what Plainstack has not done yet by the host's manifest."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from plainstack.engine.observed import Entry, Observed, UnitState
from plainstack.engine.plan.compare import FOUND, seen_state, state_of
from plainstack.engine.resources import Absent, Directory, File, Link, Resource, Unit


@dataclass(frozen=True)
class Drift:
    """One difference that somebody else made; `at` is when, `login` the last log-in before that, where known."""

    host: str
    role: str
    kind: str
    name: str
    what: str
    at: str = ""
    login: str = ""

    def told(self) -> str:
        """The difference as a line of text."""
        by = f" at {self.at}" if self.at else ""
        by += f"; the last log-in before that: {self.login}" if self.login else ""
        return f"{self.kind} {self.name}: {self.what}{by}"


def find(host: str, desired: Mapping[str, Sequence[Resource]], observed: Observed) -> list[Drift]:
    """Compare what is with what was left, entry by entry; what is just as wanted now is never drift."""
    found = []
    # Over all roles and kinds: what moves from a role to another, or becomes a link, has two entries for a while.
    left: dict[str, list[Entry]] = {}
    owner: dict[str, str] = {}
    declared = {item.key for resources in desired.values() for item in resources}
    for role, entries in observed.manifest.items():
        for entry in entries:
            if entry.kind == "package" and entry.key not in declared:
                continue  # it may stay or go
            key = entry.name if entry.kind in ("file", "directory", "link") else entry.key
            left.setdefault(key, []).append(entry)
            owner.setdefault(key, role)
    wanted = {
        item.path: "absent" if isinstance(item, Absent) else state_of(item)
        for resources in desired.values()
        for item in resources
        if isinstance(item, File | Directory | Link | Absent)
    }
    for key, same in left.items():
        # A file that goes before the packages is written before it is noted down.
        as_wanted = seen_state(observed.paths.get(key)) == wanted.get(key)
        what = "" if as_wanted else _difference(same, observed)
        if what:
            found.append(Drift(host, owner[key], same[0].kind, same[0].name, what))
    for role, resources in desired.items():
        for item in resources:
            if isinstance(item, Unit) and item.intact and item.name in observed.stamps:
                running = observed.units.get(item.name, UnitState()).active == "active"
                if running and not observed.guards.get(item.name, False):
                    found.append(Drift(host, role, "unit", item.name, "its live state is not what it loaded"))
    return found


def _difference(left: Sequence[Entry], observed: Observed) -> str:
    entry = left[-1]
    states = {one.path_state for one in left}
    if entry.kind in ("file", "directory", "link"):
        seen = seen_state(observed.paths.get(entry.name))
        return "" if seen in states else _path_difference(entry.path_state, seen)
    if entry.kind in ("unit", "user", "package") and len(states) > 1:
        return ""  # a run was interrupted here, and either may be so
    if entry.kind == "unit":
        return _unit_difference(entry.state, observed.units.get(entry.name, UnitState()))
    if entry.kind == "user":
        return "" if entry.name in observed.users else "was removed"
    if entry.kind == "sysctl":
        wanted = {state.partition(" was ")[0] for state in states}
        value = observed.sysctls.get(entry.name, "")
        return "" if value in wanted else f"is {value}, not {entry.state.partition(' was ')[0]}"
    if entry.kind == "package" and entry.who != FOUND:
        return "" if entry.name in observed.packages else "was removed"
    return ""


def _path_difference(left: str, seen: str) -> str:
    if seen == "absent":
        return "was removed"
    if left.startswith("->") or seen.startswith("->"):
        return f"was {left}, is {seen}"
    content, mode, owner = left.rsplit(" ", 2)
    now_content, now_mode, now_owner = seen.rsplit(" ", 2)
    changes = []
    if _kind(content) != _kind(now_content):
        changes.append(f"is a {_kind(now_content)} now")
    elif content != now_content:
        changes.append("content changed")
    if mode != now_mode:
        changes.append(f"mode {mode} became {now_mode}")
    if owner != now_owner:
        changes.append(f"owner {owner} became {now_owner}")
    return ", ".join(changes)


def _kind(content: str) -> str:
    return content if content in ("directory", "special file") else "file"


def _unit_difference(left: str, seen: UnitState) -> str:
    enabled, _, running = left.partition(",")
    changes = []
    if enabled == "enabled" and seen.file in ("disabled", "masked", ""):
        changes.append(f"was enabled, is {seen.file or 'gone'}")
    if enabled == "disabled" and seen.file == "enabled":
        changes.append("was disabled, is enabled")
    if running == "running" and seen.active != "active":
        changes.append(f"was running, is {seen.active}")
    if running == "stopped" and seen.active == "active":
        changes.append("was stopped, is running")
    return ", ".join(changes)


def circumstances_script(found: Iterable[Drift]) -> str:
    """A script that prints when every drift happened and who had logged in last, one `n<TAB>at<TAB>login` a line.

    A missing path is dated by its folder; the log-in is what sshd wrote into the journal last before that moment.
    """
    lines = [
        "export LC_ALL=C",
        "login() { journalctl --quiet -o cat -t sshd -t sshd-session --until \"@$1\" -g '^Accepted' -n 1 2>/dev/null |"
        " sed -n 's/^Accepted [^ ]* for \\([^ ]*\\) from \\([^ ]*\\) .*/\\1 from \\2/p'; }",
        "tell() { [ -z \"$2\" ] || printf '%s\\t%s\\t%s\\n'"
        ' "$1" "$(date -u -d "@$2" +%Y-%m-%dT%H:%M:%SZ)" "$(login "$2")"; }',
    ]
    for number, drift in enumerate(found):
        if drift.kind in ("file", "directory", "link"):
            path, folder = shlex.quote(drift.name), shlex.quote(drift.name.rpartition("/")[0] or "/")
            lines.append(f'tell {number} "$(stat -c %Z {path} 2>/dev/null || stat -c %Z {folder} 2>/dev/null)"')
        elif drift.kind == "unit" and "is inactive" in drift.what:
            unit = shlex.quote(drift.name)
            lines.append(
                f"t=$(systemctl show -p InactiveEnterTimestamp --value {unit});"
                f' [ -z "$t" ] || tell {number} "$(date -d "$t" +%s)"'
            )
    return "\n".join(lines) + "\n"


def with_circumstances(found: Sequence[Drift], text: str) -> list[Drift]:
    """The same drift, completed by the answer to `circumstances_script`."""
    known = {}
    for line in text.splitlines():
        number, at, login = (*line.split("\t"), "", "")[:3]
        known[int(number)] = (at, login)
    return [
        Drift(one.host, one.role, one.kind, one.name, one.what, *known.get(number, ("", "")))
        for number, one in enumerate(found)
    ]
