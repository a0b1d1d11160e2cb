"""The list of secrets: names, ages, and the roles and places that use them; never a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from plainstack.dataclass import dataclass
from plainstack.secrets import pki, rotation
from plainstack.secrets.declaration import DeclaredSecret, FromCommand, Generated, Given
from plainstack.secrets.format import Store
from plainstack.wording import counted, duration

CERTIFICATE = "certificate/"
_KINDS = {Generated: "generated", Given: "given", FromCommand: "command"}


@dataclass(frozen=True)
class Row:
    """One secret in the list."""

    name: str
    kind: str
    made: str
    age: str
    state: str
    uses: Mapping[str, list[str]]

    def uses_text(self) -> str:
        users = [f"{role} ({' '.join(hosts)})" for role, hosts in self.uses.items()]
        return "; ".join(users) or ("all hosts" if self.name.removeprefix(CERTIFICATE) in pki.AUTHORITIES else "unused")


def rows(
    store: Store, used: Mapping[str, Mapping[str, list[str]]], declared: Mapping[str, DeclaredSecret], now: datetime
) -> Iterator[Row]:
    """Yield a row for each stored secret and each declared one that is not generated, and then for each certificate.

    The rows are sorted by name and contain no values.
    """
    elsewhere = {name for name, secret in declared.items() if not isinstance(secret.origin, Generated)}
    for name in sorted(elsewhere | store.entries.keys()):
        secret, entry = declared.get(name), store.entries.get(name)
        kind = _KINDS[type(secret.origin)] if secret else ""
        uses = used.get(name, {})
        if secret and isinstance(secret.origin, FromCommand):
            yield Row(name, kind, "", "", secret.origin.line, uses)
        elif entry is None:
            yield Row(name, kind, "", "", f"not set: inv secrets.set {name}", uses)
        else:
            state = "set" if secret and isinstance(secret.origin, Given) else ""
            if rotation.unfinished(entry, secret.rotation if secret else "at once"):
                state = f"rotation not finished: inv secrets.rotate {name}"
            elif entry.previous:
                state = "the previous value is still accepted"
            yield Row(name, kind, entry.made, _age(entry.made, now), state, uses)
    for name, pair in sorted(store.pki.items()):
        days = (datetime.fromisoformat(pair["expires"]) - now).days
        state = f"expires in {counted(days, 'day')}"
        yield Row(CERTIFICATE + name, "generated", "", "", state, used.get(CERTIFICATE + name, {}))


def _age(made: str, now: datetime) -> str:
    return f"{duration((now - datetime.fromisoformat(made)).total_seconds())} ago" if made else "unknown"
