"""Drift: differences from the state that Plainstack left, as the host's manifest records it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.registry import kind_named, place_left, place_of
from plainstack.engine.observed import Entry, Observed
from plainstack.engine.resources import Resource


@dataclass(frozen=True)
class Drift:
    """A difference that Plainstack did not make.

    `at` is the time of the change and `login` the last login before it; both are "" if unknown. `since` is a shell
    script that prints, on the host, the time of the change in seconds since the epoch.
    """

    host: str
    role: str
    kind: str
    name: str
    what: str
    at: str = ""
    login: str = ""
    since: str = ""

    def described(self) -> str:
        """Return the difference as a line of text."""
        by = f" at {self.at}" if self.at else ""
        by += f"; the last log-in before that: {self.login}" if self.login else ""
        return f"{self.kind} {self.name}: {self.what}{by}"

    def as_data(self) -> dict[str, str]:
        """Return the difference for machine-readable output."""
        return {name: value for name, value in asdict(self).items() if name != "since"}


def find(host: str, desired: Mapping[str, Sequence[Resource]], observed: Observed) -> list[Drift]:
    """Compare the observed state with the manifest, entry by entry; a resource in its desired state is never drift."""
    found = []
    # Group the entries of all roles and kinds by place: a path that moves to another role or becomes a link may have
    # two entries.
    left: dict[str, list[Entry]] = {}
    owner: dict[str, str] = {}
    for role, entries in observed.manifest.items():
        for entry in entries:
            left.setdefault(place_left(entry), []).append(entry)
            owner.setdefault(place_left(entry), role)
    wanted = {place_of(item): item for resources in desired.values() for item in resources}
    for where, same in left.items():
        kind = kind_named(same[-1].kind)
        if kind is None or kind.remembered is None:
            continue
        difference = kind.remembered.drift(same, wanted.get(where), observed)
        if difference:
            first = same[0]
            found.append(Drift(host, owner[where], first.kind, first.name, difference.what, since=difference.since))
    return found


def circumstances_script(found: Iterable[Drift]) -> str:
    """Return a script that prints the time of each drift and the last login before it, as `n<TAB>at<TAB>login` lines.

    The login is the last one that sshd logged to the journal before that time.
    """
    lines = [
        "export LC_ALL=C",
        "login() { journalctl --quiet -o cat -t sshd -t sshd-session --until \"@$1\" -g '^Accepted' -n 1 2>/dev/null |"
        " sed -n 's/^Accepted [^ ]* for \\([^ ]*\\) from \\([^ ]*\\) .*/\\1 from \\2/p'; }",
        "emit() { [ -z \"$2\" ] || printf '%s\\t%s\\t%s\\n'"
        ' "$1" "$(date -u -d "@$2" +%Y-%m-%dT%H:%M:%SZ)" "$(login "$2")"; }',
    ]
    for number, drift in enumerate(found):
        if drift.since:
            lines.append(f'emit {number} "$({drift.since})"')
    return "\n".join(lines) + "\n"


def with_circumstances(found: Sequence[Drift], text: str) -> list[Drift]:
    """Return the drift with `at` and `login` from the output of `circumstances_script`."""
    known = {}
    for line in text.splitlines():
        number, at, login = (*line.split("\t"), "", "")[:3]
        known[int(number)] = (at, login)
    answers = (known.get(number, ("", "")) for number in range(len(found)))
    return [replace(one, at=at, login=login) for one, (at, login) in zip(found, answers, strict=True)]
