"""Where a stack's secrets are stored: in a file of mode 0600 outside git, or encrypted to the team's keys inside it.

Without recipients in the inventory, the file is .plainstack/<stack>/secrets.yaml. With recipients, it is
secrets.<stack>.age next to the inventory; commit it, so that everyone on the team deploys the same secrets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets as random_source
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import age, format, pki
from plainstack.secrets.format import NotAStore, Store
from plainstack.secrets.rotation import Entry, generate, moment
from plainstack.secrets.values import Certificate, Needed, Secret, Vault

Tell = Callable[[str], None]


def plain_path(stack: Stack) -> Path:
    """The path of the unencrypted store."""
    return stack.state / "secrets.yaml"


def sealed_path(stack: Stack) -> Path:
    """The path of the encrypted store."""
    return stack.folder / f"secrets.{stack.stack}.age"


def load(stack: Stack, needed: Needed, now: datetime, tell: Tell = lambda _: None) -> Vault:
    """The stack's secrets; missing ones are generated, certificates that end soon are renewed, and both are saved.

    `tell` gets a message if the store was encrypted, or encrypted to other keys. Raises Refused if others can read the
    store, if it is damaged or not encrypted to the operator's key, or if it is encrypted but the inventory lists no
    recipients.
    """
    opened = look(stack, needed, now)
    if not opened.unsaved:
        return opened.vault
    return vault(_save(stack, lambda store: _complete(stack, store, needed, now), tell))


def look(stack: Stack, needed: Needed, now: datetime) -> Opened:
    """Like `load`, but saves nothing until `keep` is called."""
    found = _find(stack, age.Operator(stack))
    return Opened(stack, found, _complete(stack, found.store, needed, now))


def _complete(stack: Stack, store: Store, needed: Needed, now: datetime) -> Store:
    missing = [name for name in needed.passwords if name not in store.entries]
    fresh = {name: Entry(generate(name), made=moment(now)) for name in missing}
    return replace(
        store,
        entries={**store.entries, **fresh},
        pki=pki.ensure(stack.stack, needed.certificates, dict(store.pki), now),
    )


def read(stack: Stack) -> Store:
    """The store as it is; empty if there is none yet."""
    return _find(stack, age.Operator(stack)).store


def change(stack: Stack, how: Callable[[Store], Store], tell: Tell = lambda _: None) -> Store:
    """Change secrets and record a new version; if nothing changes, so does the version."""

    def versioned(store: Store) -> Store:
        changed = how(store)
        if changed == store:
            return store
        return replace(changed, versions=(*store.versions, random_source.token_hex(4)))

    return _save(stack, versioned, tell)


def _save(stack: Stack, how: Callable[[Store], Store], tell: Tell) -> Store:
    """Change the store under a lock that other commands on this machine respect; the write is atomic."""
    with _locked(stack):
        operator = age.Operator(stack)
        found = _find(stack, operator)
        wanted = replace(how(found.store), recipients=_recipients(stack))
        if not found.as_wanted or wanted != found.store:
            _write(stack, wanted, operator)
            for sentence in found.notes:
                tell(sentence)
        return wanted


def vault(store: Store) -> Vault:
    """The store as roles see it."""
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
        turns={name: entry.turn for name, entry in entries.items()},
        versions=store.versions,
    )


@dataclass(frozen=True)
class _Found:
    """A store that was read. If it is not `as_wanted`, it is written again, and `notes` say why."""

    store: Store
    notes: tuple[str, ...] = ()

    @property
    def as_wanted(self) -> bool:
        return not self.notes


@dataclass(frozen=True)
class Opened:
    """A store as it was found, and as a deploy needs it; nothing is written until `keep` is called."""

    stack: Stack
    found: _Found
    wanted: Store

    @property
    def vault(self) -> Vault:
        """The secrets that the deploy uses."""
        return vault(self.wanted)

    @property
    def unsaved(self) -> tuple[str, ...]:
        """What `keep` would do, worded to follow "would"; empty if it has nothing to do."""
        place = sealed_path(self.stack) if self.stack.secrets.recipients else plain_path(self.stack)
        old, new = self.found.store, self.wanted
        made = sum(old.entries.get(name) != entry for name, entry in new.entries.items())
        signed = sum(old.pki.get(name) != pair for name, pair in new.pki.items())
        count = [f"{made} secrets"] * bool(made) + [f"{signed} certificates"] * bool(signed)
        sentences = [f"generate {' and '.join(count)}, kept in {place}"] if count else []
        if self.found.notes:
            sentences.append(f"write {place} for the inventory's secrets.recipients")
        return tuple(sentences)

    def keep(self, tell: Tell) -> None:
        """Save the store. Raises Refused if it has changed since it was read."""
        if not self.unsaved:
            return

        def unchanged(store: Store) -> Store:
            if store != self.found.store:
                raise Refused("another run changed the secrets in the meantime; run the same command again")
            return self.wanted

        _save(self.stack, unchanged, tell)


def _recipients(stack: Stack) -> tuple[str, ...]:
    return tuple(sorted(age.key_of(recipient) for recipient in stack.secrets.recipients))


def _find(stack: Stack, operator: age.Operator) -> _Found:
    plain, sealed = plain_path(stack), sealed_path(stack)
    wanted = _recipients(stack)
    if not wanted:
        if sealed.exists():
            raise Refused(
                f"{sealed} holds the secrets, but the inventory lists no secrets.recipients: restore them."
                " To go on without encryption, decrypt it yourself first:"
                f" (umask 077; age -d -i KEY -o {plain} {sealed}) && rm {sealed}"
            )
        return _Found(_read_plain(plain))
    if not sealed.exists():
        note = (
            f"the secrets are now encrypted, in {sealed}: commit it"
            if not plain.exists()
            else (f"the secrets moved from {plain} to {sealed}, encrypted to {len(wanted)} recipients: commit it")
        )
        return _Found(_read_plain(plain), (note,))
    store = _read_sealed(sealed, operator)
    notes = []
    if store.recipients != wanted:
        gone = len(set(store.recipients) - set(wanted))
        notes.append(
            f"{sealed} is now encrypted to {len(wanted)} recipients: commit it"
            + (
                f"; {gone} removed ones still know the current values: rotate the secrets they must not know"
                if gone
                else ""
            )
        )
    if plain.exists():
        if replace(_read_plain(plain), recipients=store.recipients) != store:
            raise Refused(f"{sealed} and {plain} both contain secrets, and they differ: move the outdated one away")
        notes.append(f"{plain} was removed; {sealed} contains the same secrets, encrypted")
    return _Found(store, tuple(notes))


def _read_plain(path: Path) -> Store:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise Refused(f"{path}: mode {mode:04o} lets others read the secrets; run: chmod 600 {path}")
            content = file.read()
    except FileNotFoundError:
        return Store()
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return format.parse(content)
    except NotAStore as error:
        raise Refused(f"{path}: is damaged ({error}); restore it from a backup") from None


def _read_sealed(path: Path, operator: age.Operator) -> Store:
    try:
        return format.parse(operator.decrypt(path.read_bytes()))
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    except age.NotForYou:
        raise Refused(
            f"{path}: is not encrypted to your key {operator.path}; name another one with {age.IDENTITY}=FILE,"
            " or ask someone in secrets.recipients to add your key there and run: inv deploy"
        ) from None
    except age.Damaged:
        raise Refused(f"{path}: is damaged (not a complete age file); restore it from git or a backup") from None
    except NotAStore as error:
        raise Refused(f"{path}: is damaged ({error}); restore it from git or a backup") from None


def _write(stack: Stack, store: Store, operator: age.Operator) -> None:
    text = format.render(store)
    if not store.recipients:
        _replace(plain_path(stack), text)
        return
    sealed = age.encrypt(text, store.recipients)
    try:
        # Also proves that the new file can be decrypted before it replaces the store or the plain file.
        intact = operator.decrypt(sealed) == text
    except age.NotForYou:
        intact = False
    if not intact:
        raise Refused(
            f"your key {operator.path} is not in the inventory's secrets.recipients, so you could not read the"
            " secrets again: add its public key there. Nothing was changed"
        )
    _replace(sealed_path(stack), sealed)
    plain_path(stack).unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    # mkstemp creates the file with mode 0600; rename replaces the store atomically.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secrets-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _locked(stack: Stack) -> Iterator[None]:
    """Make other commands that change this store wait. The lock is on the state folder, so it leaves no file behind."""
    state = stack.state
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    ignore = state.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    folder = os.open(state, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
