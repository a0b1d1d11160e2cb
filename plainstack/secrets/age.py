"""Encrypts with age to the recipients listed in the inventory, and decrypts with the operator's own SSH or age key.

pyrage is imported when it is first used: the import takes 25 ms, and most stacks do not encrypt their store.
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
    """Return a recipient without its comment."""
    return " ".join(recipient.split()[:2]) if recipient.startswith("ssh-") else recipient.strip()


def problem_of(recipient: str) -> str:
    """Return why a recipient cannot be used; empty if it can.

    The text never quotes the recipient, which may be a private key.
    """
    from pyrage import RecipientError

    if "PRIVATE KEY" in recipient or recipient.startswith("AGE-SECRET-KEY-"):
        return "is a PRIVATE key; replace it with the public key (ssh-ed25519 ... or age1...)"
    if recipient.startswith(("ecdsa-", "sk-")):
        return f"age cannot encrypt to {recipient.split()[0]} keys; use an ssh-ed25519 key"
    try:
        _recipient(recipient)
    except RecipientError:
        return "must be an SSH public key (ssh-ed25519 AAAA... comment) or an age recipient (age1...)"
    return ""


def contradictions(stack: Stack) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the problem of each recipient in the inventory that cannot be used, without quoting it."""
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
    """Return an armored age file that each of the recipients can decrypt."""
    import pyrage

    return bytes(pyrage.encrypt(text, [_recipient(recipient) for recipient in recipients], armored=True))


class NotForYou(Exception):
    """The file is not encrypted to the operator's key."""


class Damaged(Exception):
    """The file is not an age file, or is incomplete."""


class Operator:
    """The operator's key, read and unlocked on first use."""

    def __init__(self, stack: Stack) -> None:
        self.path = _identity_path(stack)
        self._identity: Any = None

    def decrypt(self, data: bytes) -> bytes:
        """Decrypt an age file. Raises NotForYou or Damaged, or Refused if the operator's key cannot be used."""
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
                f"{self.path}: cannot be read ({error.strerror}); your private key decrypts the secrets. {how}"
            ) from None
        try:
            own = [line for line in text.decode(errors="replace").splitlines() if line.startswith("AGE-SECRET-KEY-")]
            return x25519.Identity.from_str(own[0].strip()) if own else ssh.Identity.from_buffer(text)
        except IdentityError as error:
            if "decrypted first" not in str(error):
                raise Refused(
                    f"{self.path}: is not a private key that age supports (SSH ed25519 or age). {how}"
                ) from None
        return _unlock(self.path, text)


# A command opens the store several times but asks for the passphrase only once.
@cache
def _unlock(path: Path, text: bytes) -> Any:
    from cryptography.hazmat.primitives import serialization
    from pyrage import ssh

    if not sys.stdin.isatty():
        raise Refused(
            f"{path}: is protected by a passphrase, but there is no terminal to ask for it. Run this in a"
            f" terminal, or name a key without a passphrase: {IDENTITY}=FILE"
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
    # Without a home directory the path stays unexpanded, and reading it fails with a message.
    return Path(os.path.expanduser("~/.ssh/id_ed25519"))  # noqa: PTH111 - expanduser() of Path raises
