"""The list of secrets: names, ages, and the roles and places that use them; never a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from plainstack.secrets import pki, rotation
from plainstack.secrets.format import Store
from plainstack.secrets.rotation import RotationStrategy
from plainstack.wording import duration

CERTIFICATE = "certificate/"


@dataclass(frozen=True)
class Row:
    """One secret in the list."""

    name: str
    made: str
    age: str
    state: str
    uses: Mapping[str, list[str]]

    def told_uses(self) -> str:
        told = [f"{role} ({' '.join(hosts)})" for role, hosts in self.uses.items()]
        return "; ".join(told) or (
            "all hosts" if self.name.removeprefix(CERTIFICATE) in pki.AUTHORITIES else "nobody now"
        )


def rows(
    store: Store, used: Mapping[str, Mapping[str, list[str]]], strategies: Mapping[str, RotationStrategy], now: datetime
) -> Iterator[Row]:
    """Every secret of the store, sorted by name; never a value."""
    for name, entry in sorted(store.entries.items()):
        state = ""
        if rotation.unfinished(entry, strategies.get(name, "at once")):
            state = f"rotation not finished: inv secrets.rotate {name}"
        elif entry.previous:
            state = "the previous value is still accepted"
        made = (
            f"{duration((now - datetime.fromisoformat(entry.made)).total_seconds())} ago" if entry.made else "unknown"
        )
        yield Row(name, entry.made, made, state, used.get(name, {}))
    for name, pair in sorted(store.pki.items()):
        days = (datetime.fromisoformat(pair["expires"]) - now).days
        state = f"expires in {days} days"
        yield Row(CERTIFICATE + name, "", "", state, used.get(CERTIFICATE + name, {}))
