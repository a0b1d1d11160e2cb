"""Detect hosts deployed with secrets other than ours: from another store, or from a newer version of this one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from plainstack.engine.kinds.paths import state_of
from plainstack.engine.observed import FOUND, Entry, Observed
from plainstack.engine.resources import File, Resource
from plainstack.paths import TLS

AUTHORITY = f"{TLS}/ca.crt"
_END = b"-----END CERTIFICATE-----\n"
_STORE = "the store (.plainstack/STACK/secrets.yaml or secrets.STACK.age)"


def refusals(
    desired: Mapping[str, Mapping[str, Sequence[Resource]]],
    observed: Mapping[str, Observed],
    versions: Collection[str] = (),
) -> list[str]:
    """Return the reasons why our secrets must not replace those on the hosts, each with the names of its hosts.

    `versions` are the versions that our store has had. We cannot know which secrets any other version changed.
    """
    files = {name: _files(wanted) for name, wanted in desired.items()}
    foreign = [name for name, seen in observed.items() if _is_foreign(files[name], seen)]
    newer = [name for name, seen in observed.items() if name not in foreign and _is_newer(files[name], seen, versions)]
    refusals = []
    if foreign:
        refusals.append(
            f"{', '.join(foreign)}: was deployed with other secrets: its certificates are signed by another"
            f" authority. Get {_STORE} from the person who deployed the stack. To replace every password and"
            " certificate on purpose: inv deploy --new-secrets"
        )
    if newer:
        refusals.append(
            f"{', '.join(newer)}: was deployed with newer secrets: a colleague replaced some, and this deploy"
            f" would bring back the old values. Get the newest version of {_STORE}: git pull, or ask"
            f" {_authors(newer, observed, versions)}. To bring the old values back on purpose:"
            " inv deploy --new-secrets"
        )
    return refusals


def _files(wanted: Mapping[str, Sequence[Resource]]) -> dict[str, File]:
    return {item.path: item for resources in wanted.values() for item in resources if isinstance(item, File)}


def _is_foreign(files: Mapping[str, File], seen: Observed) -> bool:
    left = {entry.state for entries in seen.manifest.values() for entry in entries if entry.name == AUTHORITY}
    return bool(AUTHORITY in files and left and not left & _states_of(files[AUTHORITY]))


def _states_of(authority: File) -> set[str]:
    """Return the states that the file of our authorities may have on a host; an older file may hold only some."""
    blocks = authority.content.split(_END)[:-1]
    parts = [_END.join(blocks[begin : end + 1]) + _END for end in range(len(blocks)) for begin in range(end + 1)]
    return {state_of(replace(authority, content=content)) for content in (authority.content, *parts)}


def _is_newer(files: Mapping[str, File], seen: Observed, versions: Collection[str]) -> bool:
    """Return whether a deploy would overwrite a file whose secrets come from an unknown version of the store."""
    return any(entry.name in files and state_of(files[entry.name]) != entry.state for entry in _unknown(seen, versions))


def _unknown(seen: Observed, versions: Collection[str]) -> list[Entry]:
    entries = [entry for same in seen.manifest.values() for entry in same]
    return [entry for entry in entries if entry.store and entry.store not in versions]


def _authors(hosts: Sequence[str], observed: Mapping[str, Observed], versions: Collection[str]) -> str:
    names = {entry.who for name in hosts for entry in _unknown(observed[name], versions)} - {FOUND}
    return ", ".join(sorted(names)) or "the person who deployed last"
