"""Reads certificates and keys from PEM files; an error names the command that converts a file in another format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from plainstack.errors import PlainstackError

_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----")
_BLOCK = re.compile(rb"-----BEGIN (?P<label>[A-Z0-9 ]+)-----.*?-----END (?P=label)-----", re.S)
# PKCS#12, as every tool writes it: a sequence whose first element is the number 3.
_PKCS12 = re.compile(rb"\x30(?:\x80|[\x00-\x7f]|\x81.|\x82..|\x83...)\x02\x01\x03", re.S)


class Unfit(PlainstackError):
    """The file does not contain what it should; the message says what it contains and how to convert it."""


def blocks(content: bytes, label: str) -> Iterator[bytes]:
    """Yield the PEM blocks whose label ends with `label`, without any text between them.

    Blocks that are indented, or have empty lines or the line ends of other systems, become those that OpenSSL reads.
    """
    for block in _BLOCK.finditer(content):
        if block["label"].decode().endswith(label):
            text = re.sub(rb"[ \t]*(\r\n?|\n)[ \t]*", b"\n", block[0])
            # An empty line ends the headers of an encrypted key.
            yield text if b":" in text else re.sub(rb"\n+", b"\n", text)


def certificates(path: Path, shown: Path) -> list[x509.Certificate]:
    """Return the certificates of a file, in order.

    Raises Unfit, which calls the file `shown`, if it contains no certificate or a damaged one.
    """
    content = _content(path, shown)
    found = []
    for number, block in enumerate(blocks(content, "CERTIFICATE"), 1):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            raise Unfit(f"{shown}: certificate {number} is damaged, or in OpenSSL's own format") from None
    if not found:
        raise Unfit(f"{shown} holds no certificate in PEM form{_instead(content, shown)}")
    return found


def private_key(path: Path, shown: Path) -> PrivateKeyTypes:
    """Return the only private key of a file. Raises Unfit, which calls the file `shown`."""
    content = _content(path, shown)
    found = list(blocks(content, "PRIVATE KEY"))
    if len(found) > 1:
        raise Unfit(f"{shown} holds {len(found)} private keys. Keep only the certificate's key")
    if found and found[0].startswith(b"-----BEGIN OPENSSH"):
        raise Unfit(f"{shown} is a key in OpenSSH format. Convert it: ssh-keygen -p -m PKCS8 -f {shown}")
    try:
        if found:
            return serialization.load_pem_private_key(found[0], None)
    except TypeError:
        raise Unfit(
            f"{shown} is encrypted. A balancer starts unattended, so it cannot ask for a passphrase. Decrypt it:"
            f" openssl pkey -in {shown} -out {shown.with_suffix('.decrypted')}"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise Unfit(f"{shown} holds no private key in PEM form{_instead(content, shown)}")


def _content(path: Path, shown: Path) -> bytes:
    try:
        # A pipe would never end, and a device has no end.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise Unfit(f"{shown} is not a regular file")
        content = path.read_bytes()
    except OSError as error:
        raise Unfit(f"{shown} cannot be read: {error.strerror}") from None
    if len(_BEGIN.findall(content)) > len(_BLOCK.findall(content)):
        raise Unfit(f"{shown} is damaged or cut off: a line with BEGIN has no line with END")
    return content


def _instead(content: bytes, shown: Path) -> str:
    """Return the end of an error message: what the file contains instead, and the command that converts it."""
    converted = shown.with_suffix(".pem")
    converted = converted.with_name(f"{shown.stem}-converted.pem") if converted == shown else converted
    labels = list(dict.fromkeys(block["label"].decode() for block in _BLOCK.finditer(content)))
    if labels == ["PKCS7"]:
        return f", but PKCS#7. Convert it: openssl pkcs7 -print_certs -in {shown} -out {converted}"
    if labels:
        return f", but {' and '.join(labels)}"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ", but text in UTF-16. Save it as UTF-8"
    if _PKCS12.match(content):
        return f", but PKCS#12. Convert it: openssl pkcs12 -nodes -in {shown} -out {converted}"
    for kind, command, load in (
        ("a certificate", "x509", x509.load_der_x509_certificate),
        ("a private key", "pkey", lambda data: serialization.load_der_private_key(data, None)),
    ):
        try:
            load(content)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        return f", but {kind} in DER form. Convert it: openssl {command} -inform der -in {shown} -out {converted}"
    return ""
