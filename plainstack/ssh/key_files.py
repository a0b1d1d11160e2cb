"""Reads private and public key files in the formats of ssh."""

from __future__ import annotations

import base64
import binascii
import contextlib
from pathlib import Path

import paramiko

_KINDS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


def public_blob(path: Path) -> bytes:
    """Return the public half of a key file, even if the file has a passphrase; empty if it cannot be read."""
    for candidate in (Path(f"{path}.pub"), path):
        with contextlib.suppress(OSError, UnicodeDecodeError, binascii.Error, ValueError, IndexError):
            text = candidate.read_text(encoding="ascii")
            if text.startswith(("ssh-", "ecdsa-", "sk-")):
                return base64.b64decode(text.split()[1], validate=True)
            if text.startswith("-----BEGIN OPENSSH PRIVATE KEY-----"):
                # OpenSSH's PROTOCOL.key: magic, cipher, KDF, KDF options, number of keys, public key.
                body = base64.b64decode("".join(text.strip().splitlines()[1:-1]))
                message = paramiko.Message(body.removeprefix(b"openssh-key-v1\0"))
                for _ in range(3):
                    message.get_binary()
                message.get_int()
                return bytes(message.get_binary())
    return b""


def load(path: Path, passphrase: str | None) -> paramiko.PKey | str | None:
    """Return a private key, or a message why it cannot be used; None if the passphrase is missing or wrong."""
    blob = public_blob(path)
    kind = paramiko.Message(blob).get_text() if blob else ""
    if kind.startswith("sk-"):
        return f"{path} is a security key, which works only through an agent. Add it: ssh-add {path}"
    for key_class in _KINDS:
        if kind and kind not in key_class.identifiers():
            continue
        try:
            return key_class.from_private_key_file(str(path), passphrase)
        except paramiko.PasswordRequiredException:
            return None
        except OSError as error:
            return f"{path}: {error.strerror or error}"
        except (paramiko.SSHException, ValueError, TypeError, IndexError):
            continue
    if passphrase is not None:
        return None
    return f"{path} is not a private key in a supported format"


def certified_key(certificate: paramiko.pkey.PublicBlob) -> bytes:
    """Return the public key in a certificate, encoded like a plain key."""
    message = paramiko.Message(certificate.key_blob)
    kind = message.get_text().removesuffix("-cert-v01@openssh.com")
    message.get_binary()
    plain = paramiko.Message()
    plain.add_string(kind)
    for _ in range({"ssh-rsa": 2, "ssh-ed25519": 1}.get(kind, 2)):
        plain.add_string(message.get_binary())
    return bytes(plain.asbytes())
