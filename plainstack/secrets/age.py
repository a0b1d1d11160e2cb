"""age encryption to SSH keys: the recipients that an inventory lists, and the operator's own key that opens the store.

pyrage is imported late: it takes 25 ms, and most stacks begin without an encrypted store.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.wording import Loc, dotted

IDENTITY = "PLAINSTACK_IDENTITY"


def key_of(recipient: str) -> str:
    """A recipient without its comment, which is for people."""
    return " ".join(recipient.split()[:2]) if recipient.startswith("ssh-") else recipient.strip()


def problem_of(recipient: str) -> str:
    """Why nothing can be encrypted to a recipient, without repeating it: it may be a private key. Empty when fine."""
    from pyrage import RecipientError

    if "PRIVATE KEY" in recipient or recipient.startswith("AGE-SECRET-KEY-"):
        return "is a PRIVATE key; take it out, and put the public one (ssh-ed25519 ... or age1...) here"
    if recipient.startswith(("ecdsa-", "sk-")):
        return f"age cannot encrypt to {recipient.split()[0]} keys; use an ssh-ed25519 key"
    try:
        _recipient(recipient)
    except RecipientError:
        return "must be an SSH public key (ssh-ed25519 AAAA... comment) or an age recipient (age1...)"
    return ""


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Keys of the inventory that the secrets cannot be encrypted to; never quoted, one may be a private key."""
    seen: dict[str, int] = {}
    for number, recipient in enumerate(stack.secrets.recipients):
        loc = ("secrets", "recipients", number)
        if problem := problem_of(recipient):
            yield loc, f"{dotted(loc)}: {problem}"
        first = seen.setdefault(key_of(recipient), number)
        if first != number:
            yield loc, f"{dotted(loc)}: the same key as {dotted((*loc[:2], first))}"


def _recipient(text: str) -> Any:
    from pyrage import ssh, x25519

    kind = x25519.Recipient if text.startswith("age1") else ssh.Recipient
    return kind.from_str(key_of(text))


def encrypt(text: bytes, recipients: Sequence[str]) -> bytes:
    """An armored age file that each of the recipients can open."""
    import pyrage

    return bytes(pyrage.encrypt(text, [_recipient(recipient) for recipient in recipients], armored=True))


class NotForYou(Exception):
    """The file is encrypted to others."""


class Damaged(Exception):
    """The file is no age file, or not a whole one."""


class Operator:
    """The operator's key, read and unlocked when it is first needed."""

    def __init__(self, stack: Stack) -> None:
        self.path = _identity_path(stack)
        self._identity: Any = None

    def decrypt(self, data: bytes) -> bytes:
        """The content of an age file; raises NotForYou or Damaged, and Refused when the key cannot be used."""
        import pyrage

        if self._identity is None:
            self._identity = self._load()
        try:
            return bytes(pyrage.decrypt(data, [self._identity]))
        except pyrage.DecryptError as error:
            raise NotForYou if "No matching keys" in str(error) else Damaged from None

    def _load(self) -> Any:
        from pyrage import IdentityError, ssh, x25519

        how = f"name another one: {IDENTITY}=FILE"
        try:
            text = self.path.read_bytes()
        except OSError as error:
            raise Refused(
                f"{self.path}: cannot be read ({error.strerror}); the secrets open with your private key, {how}"
            ) from None
        try:
            own = [line for line in text.decode(errors="replace").splitlines() if line.startswith("AGE-SECRET-KEY-")]
            return x25519.Identity.from_str(own[0].strip()) if own else ssh.Identity.from_buffer(text)
        except IdentityError as error:
            if "decrypted first" not in str(error):
                raise Refused(f"{self.path}: is no private key that opens age files (SSH ed25519); {how}") from None
        return _unlock(self.path, text)


# A command opens the store several times, and a person types a passphrase once.
@cache
def _unlock(path: Path, text: bytes) -> Any:
    from cryptography.hazmat.primitives import serialization
    from pyrage import ssh

    if not sys.stdin.isatty():
        raise Refused(
            f"{path}: is protected by a passphrase, and there is no terminal to ask for it;"
            f" run this in a terminal, or name a key without one: {IDENTITY}=FILE"
        )
    passphrase = getpass.getpass(f"Passphrase of {path} (opens the stack's secrets): ").encode()
    try:
        key = serialization.load_ssh_private_key(text, passphrase)
    except ValueError:
        raise Refused(f"{path}: the passphrase is wrong") from None
    plain = serialization.PrivateFormat.OpenSSH
    return ssh.Identity.from_buffer(key.private_bytes(serialization.Encoding.PEM, plain, serialization.NoEncryption()))


def _identity_path(stack: Stack) -> Path:
    if named := os.environ.get(IDENTITY):
        return Path(named).expanduser()
    if stack.ssh.key is not None:
        return stack.file(stack.ssh.key.expanduser())
    # Without a home it stays as it is written here, and whoever needs it is told that it cannot be read.
    return Path(os.path.expanduser("~/.ssh/id_ed25519"))  # noqa: PTH111
