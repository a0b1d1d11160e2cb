"""Stores a stack's secrets: in a file of mode 0600 outside git, or in git, encrypted to the team's keys.

Without recipients in the inventory, the file is .plainstack/<stack>/secrets.yaml. With recipients, it is
secrets.<stack>.age next to the inventory; commit it, so that everyone on the team deploys the same secrets.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from plainstack import state_folder
from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import age, format
from plainstack.secrets.format import NotAStore, Store
from plainstack.wording import counted


def plain_path(stack: Stack) -> Path:
    """Return the path of the unencrypted store."""
    return stack.state / "secrets.yaml"


def sealed_path(stack: Stack) -> Path:
    """Return the path of the encrypted store."""
    return stack.folder / f"secrets.{stack.stack}.age"


def path(stack: Stack) -> Path:
    """Return the path of the store: the encrypted one if the inventory lists recipients."""
    return sealed_path(stack) if stack.secrets.recipients else plain_path(stack)


@dataclass(frozen=True)
class Found:
    """A store that was read; `notes` say why its file must be rewritten, and are empty if it is `as_wanted`."""

    store: Store
    notes: tuple[str, ...] = ()

    @property
    def as_wanted(self) -> bool:
        return not self.notes


def recipients(stack: Stack) -> tuple[str, ...]:
    """Return the recipients that the inventory lists, sorted and without comments."""
    return tuple(sorted(age.key_of(recipient) for recipient in stack.secrets.recipients))


def find(stack: Stack, operator: age.Operator) -> Found:
    """Read the store; it is empty if there is none. Raises Refused if it is unreadable or contradicts the inventory."""
    plain, sealed = plain_path(stack), sealed_path(stack)
    wanted = recipients(stack)
    if not wanted:
        if sealed.exists():
            raise Refused(
                f"{sealed} holds the secrets, but the inventory lists no secrets.recipients. Restore them. To"
                f" continue without encryption, decrypt the file first: (umask 077; age -d -i KEY -o {plain}"
                f" {sealed}) && rm {sealed}"
            )
        return Found(_read_plain(plain))
    if not sealed.exists():
        note = (
            f"the secrets are now encrypted, in {sealed}. Commit that file"
            if not plain.exists()
            else (
                f"the secrets moved from {plain} to {sealed}, encrypted to {counted(len(wanted), 'recipient')}. Commit"
                " that file"
            )
        )
        return Found(_read_plain(plain), (note,))
    store = _read_sealed(sealed, operator)
    notes = []
    if store.recipients != wanted:
        gone = len(set(store.recipients) - set(wanted))
        notes.append(
            f"{sealed} is now encrypted to {counted(len(wanted), 'recipient')}. Commit that file"
            + (
                f". {counted(gone, 'removed recipient')} may still know the current values: rotate the secrets that"
                " they must not know"
                if gone
                else ""
            )
        )
    if plain.exists():
        if replace(_read_plain(plain), recipients=store.recipients) != store:
            raise Refused(f"{sealed} and {plain} both contain secrets, and they differ. Move the outdated one away")
        notes.append(f"{plain} was removed, because {sealed} contains the same secrets, encrypted")
    return Found(store, tuple(notes))


def _read_plain(path: Path) -> Store:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise Refused(f"{path}: mode {mode:04o} lets others read the secrets. Run: chmod 600 {path}")
            content = file.read()
    except FileNotFoundError:
        return Store()
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return format.parse(content)
    except NotAStore as error:
        raise Refused(f"{path}: is damaged ({error}). Restore it from a backup") from None


def _read_sealed(path: Path, operator: age.Operator) -> Store:
    try:
        return format.parse(operator.decrypt(path.read_bytes()))
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    except age.NotForYou:
        raise Refused(
            f"{path}: is not encrypted to your key {operator.path}. Name another key with {age.IDENTITY}=FILE, or"
            " ask a colleague who can read the secrets to add your key to secrets.recipients and run: inv deploy"
        ) from None
    except age.Damaged:
        raise Refused(f"{path}: is damaged (not a complete age file). Restore it from git or a backup") from None
    except NotAStore as error:
        raise Refused(f"{path}: is damaged ({error}). Restore it from git or a backup") from None


def write(stack: Stack, store: Store, operator: age.Operator) -> None:
    """Replace the store. Raises Refused if the operator could not read it afterwards."""
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
            f"your key {operator.path} is not in the inventory's secrets.recipients, so you could no longer read"
            " the secrets. Nothing was changed. Add its public key there"
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
def locked(stack: Stack) -> Iterator[None]:
    """Make other commands that change this store wait; the lock is on the state folder and leaves no file behind."""
    state = stack.state
    state_folder.make(state)
    folder = os.open(state, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
