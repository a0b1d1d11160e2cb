"""Converts the YAML text of a secret store to a Store and back. Errors never quote the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import yaml

from plainstack.dataclass import dataclass
from plainstack.secrets.rotation import Entry
from plainstack.secrets.values import Secret

_HEAD = "# The secrets of this stack. Keep a copy in a safe place; never commit it unencrypted.\n"
# In the file, the number of handovers is called "turn".
_HISTORY = {"made": str, "turn": int, "previous": str, "next": str}


class NotAStore(Exception):
    """The text is not a secret store; the message says why, without quoting it."""


@dataclass(frozen=True)
class Store:
    """All secrets of a stack; `recipients` are the keys that the file was encrypted to.

    `versions` has one name for every change of a secret, the last one at the end. The names are random rather than
    numbers: two copies of a store that were changed independently must not have the same version.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    pki: Mapping[str, dict[str, str]] = field(default_factory=dict, repr=False)
    recipients: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


def render(store: Store) -> bytes:
    """Return the text of a store."""
    history = {name: _past(entry) for name, entry in store.entries.items()}
    data: dict[str, object] = {
        "passwords": {name: entry.value.reveal() for name, entry in store.entries.items()},
        "history": {name: past for name, past in history.items() if past},
        "pki": dict(store.pki),
    }
    if store.recipients:
        data["recipients"] = list(store.recipients)
    if store.versions:
        data["versions"] = list(store.versions)
    text: str = yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), default_flow_style=False)
    return (_HEAD + text).encode()


def parse(text: bytes) -> Store:
    """Return the store that a text describes. Raises NotAStore."""
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, ValueError):
        # The parser's message would quote the damaged line, which may be a secret.
        raise NotAStore("not YAML") from None
    if not _is_store(data):
        raise NotAStore("not a store of passwords and keys")
    history = data.get("history", {})
    entries = {name: _entry(name, value, history.get(name, {})) for name, value in data["passwords"].items()}
    return Store(entries, data["pki"], tuple(data.get("recipients", ())), tuple(data.get("versions", ())))


def _past(entry: Entry) -> dict[str, object]:
    hidden = {"previous": entry.previous, "next": entry.next}
    past: dict[str, object] = {name: value.reveal() for name, value in hidden.items() if value is not None}
    if entry.made:
        past["made"] = entry.made
    if entry.handovers:
        past["turn"] = entry.handovers
    return past


def _entry(name: str, value: str, past: Mapping[str, Any]) -> Entry:
    hidden = {key: Secret(name, past[key]) for key in ("previous", "next") if key in past}
    return Entry(Secret(name, value), past.get("made", ""), past.get("turn", 0), **hidden)


def _is_store(data: Any) -> bool:
    def texts(pairs: Any) -> bool:
        return isinstance(pairs, dict) and all(isinstance(part, str) for pair in pairs.items() for part in pair)

    def pasts(history: Any, names: Any) -> bool:
        return isinstance(history, dict) and all(
            name in names
            and isinstance(past, dict)
            and all(key in _HISTORY and isinstance(value, _HISTORY[key]) for key, value in past.items())
            for name, past in history.items()
        )

    def lines(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(line, str) for line in value)

    return (
        isinstance(data, dict)
        and texts(data.get("passwords"))
        and pasts(data.get("history", {}), data["passwords"])
        and lines(data.get("recipients", []))
        and lines(data.get("versions", []))
        and isinstance(data.get("pki"), dict)
        and all(texts(pair) and pair.keys() >= {"chain", "key", "names", "expires"} for pair in data["pki"].values())
    )
