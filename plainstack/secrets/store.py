"""Opens the secrets of a stack, adds those that are missing, and changes values."""

from __future__ import annotations

import secrets as random_source
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import age, pki, rotation, store_files
from plainstack.secrets.declaration import Generated, Needed
from plainstack.secrets.format import Store
from plainstack.secrets.rotation import Entry, RotationStrategies, generate, moment
from plainstack.secrets.values import Certificate, Secret, Vault
from plainstack.wording import counted

Report = Callable[[str], None]


def load(stack: Stack, needed: Needed, now: datetime, report: Report = lambda _: None) -> Vault:
    """Return the stack's secrets; generate missing ones, renew certificates that expire soon, and save both.

    `report` is called with a message if the store was encrypted, or encrypted to other keys. Raises Refused if other
    accounts can read the store, if it is damaged or not encrypted to the operator's key, or if it is encrypted but the
    inventory lists no recipients.
    """
    opened = look(stack, needed, now)
    if not opened.unsaved:
        return opened.vault
    return vault(_save(stack, lambda store: _complete(stack, store, needed, now), report))


def look(stack: Stack, needed: Needed, now: datetime) -> Opened:
    """Open the stack's secrets like `load`, but save nothing until `keep` is called on the result."""
    found = store_files.find(stack, age.Operator(stack))
    return Opened(stack, found, _complete(stack, found.store, needed, now))


def _complete(stack: Stack, store: Store, needed: Needed, now: datetime) -> Store:
    fresh = {
        secret.name: Entry(generate(secret.name, secret.origin.length), made=moment(now))
        for secret in needed.secrets
        if isinstance(secret.origin, Generated) and secret.name not in store.entries
    }
    return replace(
        store,
        entries={**store.entries, **fresh},
        pki=pki.ensure(stack.stack, needed.certificates, dict(store.pki), now),
    )


def read(stack: Stack) -> Store:
    """Return the store as it is saved; empty if there is none yet."""
    return store_files.find(stack, age.Operator(stack)).store


def change(stack: Stack, how: Callable[[Store], Store], report: Report = lambda _: None) -> Store:
    """Replace the store with what `how` makes of it, save it, and return it; every change gets a new version."""

    def versioned(store: Store) -> Store:
        changed = how(store)
        if changed == store:
            return store
        return replace(changed, versions=(*store.versions, random_source.token_hex(4)))

    return _save(stack, versioned, report)


def set_values(
    stack: Stack, changed: Mapping[str, tuple[str | None, str]], strategies: RotationStrategies, now: datetime
) -> None:
    """Replace the values of secrets; `changed` maps names to the old value, None if there is none, and the new value.

    Raises Refused if another run has changed one of them in the meantime, or if one of them is being rotated.
    """

    def merge(store: Store) -> Store:
        entries = dict(store.entries)
        for name, (before, after) in changed.items():
            entry, strategy = entries.get(name), strategies.get(name, "at once")
            if (entry.value.reveal() if entry else None) != before:
                raise Refused(
                    f"another run changed {name} in the meantime; nothing was saved. Run the same command again"
                )
            if entry and rotation.unfinished(entry, strategy):
                raise Refused(
                    f"{name} is being rotated; finish that first: inv secrets.rotate {name}. Nothing was saved"
                )
            value = Secret(name, after)
            entries[name] = rotation.begin(entry, strategy, value, now) if entry else Entry(value, made=moment(now))
        return replace(store, entries=entries)

    change(stack, merge)


def _save(stack: Stack, how: Callable[[Store], Store], report: Report) -> Store:
    """Change the store under a lock that other commands on this machine respect; the write is atomic."""
    with store_files.locked(stack):
        operator = age.Operator(stack)
        found = store_files.find(stack, operator)
        wanted = replace(how(found.store), recipients=store_files.recipients(stack))
        if not found.as_wanted or wanted != found.store:
            store_files.write(stack, wanted, operator)
            for sentence in found.notes:
                report(sentence)
        return wanted


def vault(store: Store) -> Vault:
    """Return the store as roles see it."""
    entries = store.entries
    return Vault(
        passwords={name: entry.value for name, entry in entries.items()},
        certificates={
            name: Certificate(chain=pair["chain"], key=Secret(f"{name}.key", pair["key"]))
            for name, pair in store.pki.items()
            if name not in pki.AUTHORITIES
        },
        authority=pki.trusted(store.pki),
        previous={name: entry.previous for name, entry in entries.items() if entry.previous is not None},
        next={name: entry.next for name, entry in entries.items() if entry.next is not None},
        handovers={name: entry.handovers for name, entry in entries.items()},
        versions=store.versions,
    )


@dataclass(frozen=True)
class Opened:
    """The store as it was read (`found`) and as a deploy needs it (`wanted`); only `keep` writes it."""

    stack: Stack
    found: store_files.Found
    wanted: Store

    @property
    def vault(self) -> Vault:
        """The secrets that the deploy uses."""
        return vault(self.wanted)

    @property
    def unsaved(self) -> tuple[str, ...]:
        """What `keep` would do, worded to follow "would"; empty if it has nothing to do."""
        place = store_files.path(self.stack)
        old, new = self.found.store, self.wanted
        made = sum(old.entries.get(name) != entry for name, entry in new.entries.items())
        signed = sum(old.pki.get(name) != pair for name, pair in new.pki.items())
        count = [counted(made, "secret")] * bool(made) + [counted(signed, "certificate")] * bool(signed)
        sentences = [f"generate {' and '.join(count)}, kept in {place}"] if count else []
        if self.found.notes:
            sentences.append(f"write {place} for the inventory's secrets.recipients")
        return tuple(sentences)

    def keep(self, report: Report) -> None:
        """Save the store. Raises Refused if another run has changed it since it was read.

        Every pass of a deploy calls this; after the first one, the store is as wanted.
        """
        if not self.unsaved:
            return
        saved = replace(self.wanted, recipients=store_files.recipients(self.stack))

        def unchanged(store: Store) -> Store:
            if store not in (self.found.store, saved):
                raise Refused("another run changed the secrets in the meantime. Run the same command again")
            return self.wanted

        _save(self.stack, unchanged, report)
