#!/usr/bin/python3
# managed by plainstack
"""Usage: acme_account.py DIRECTORY EMAIL KEY_FILE KEY_ID HMAC_FILE [ROOTS]

Registers the account of a key with an ACME authority that wants it bound to one of its customers (RFC 8555, 7.3.4),
and prints the account as lego stores it. Balancers share the key, so the account may exist already. lego could register
it, too, but it takes the customer's key on its command line, where every user of the host can read it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path

# How often a message is sent again if the authority does not accept its nonce.
TRIES = 5


class Refused(Exception):
    """The authority's answer: a problem document (RFC 7807)."""

    def __init__(self, said: Mapping[str, object], code: int) -> None:
        self.kind = str(said.get("type", f"status {code}")).removeprefix("urn:ietf:params:acme:error:")
        super().__init__(f"{self.kind} :: {said.get('detail', 'without a reason')}")


def text(data: bytes | Mapping[str, object]) -> str:
    """Return bytes, or a value as JSON, in base64url without padding."""
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def message(
    header: Mapping[str, object], payload: Mapping[str, object], sign: Callable[[bytes], bytes]
) -> dict[str, str]:
    """Return a signed message (RFC 7515) in its JSON form."""
    protected, content = text(header), text(payload)
    return {"protected": protected, "payload": content, "signature": text(sign(f"{protected}.{content}".encode()))}


class Key:
    """A P-256 key in a file. The standard library cannot sign with it; openssl does."""

    def __init__(self, path: str) -> None:
        self.path = path
        # The encoding of the public key ends with its two coordinates.
        point = self._openssl("pkey", "-in", path, "-pubout", "-outform", "DER")[-64:]
        self.public: Mapping[str, object] = {"crv": "P-256", "kty": "EC", "x": text(point[:32]), "y": text(point[32:])}

    def sign(self, signed: bytes) -> bytes:
        """Return the ES256 signature (RFC 7518, 3.4): two numbers, which openssl returns as a DER sequence."""
        der = self._openssl("dgst", "-sha256", "-sign", self.path, given=signed)
        numbers, at = b"", 2
        for _ in range(2):
            length = der[at + 1]
            numbers += der[at + 2 : at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
            at += 2 + length
        return numbers

    @staticmethod
    def _openssl(*arguments: str, given: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


class Authority:
    """An ACME authority, as the owner of a key sees it."""

    def __init__(self, directory: str, key: Key, roots: str | None) -> None:
        self.context = ssl.create_default_context()
        if roots:
            # Beside public authorities: those of the directory's certificate and of what it issues can differ.
            self.context.load_verify_locations(roots)
        # Python 3.13 sets this. lego, which talks to the same authority afterwards, is not as strict.
        self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.key = key
        self.urls: Mapping[str, str] = json.loads(self._ask(directory)[0])

    def account(self, payload: Mapping[str, object]) -> str:
        """Return the URL of the key's account. Raises Refused, and OSError if the authority does not answer."""
        for left in reversed(range(TRIES)):
            nonce = self._ask(self.urls["newNonce"], method="HEAD")[1]["Replay-Nonce"]
            header = {"alg": "ES256", "jwk": self.key.public, "nonce": nonce, "url": self.urls["newAccount"]}
            body = json.dumps(message(header, payload, self.key.sign)).encode()
            try:
                return self._ask(self.urls["newAccount"], body)[1]["Location"]
            except Refused as refused:
                if refused.kind != "badNonce" or not left:
                    raise
        raise AssertionError

    def bound(self, key_id: str, secret: bytes) -> dict[str, str]:
        """Return the proof that the customer with this key agrees to the account."""
        header = {"alg": "HS256", "kid": key_id, "url": self.urls["newAccount"]}
        return message(header, self.key.public, lambda signed: hmac.digest(secret, signed, hashlib.sha256))

    def _ask(self, url: str, data: bytes | None = None, method: str | None = None) -> tuple[bytes, Message]:
        if not url.startswith("https://"):
            raise ValueError(f"{url} is not an https URL")
        content = {"Content-Type": "application/jose+json"}
        request = urllib.request.Request(url, data, content, method=method)  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.context) as response:  # noqa: S310 - same
                return response.read(), response.headers
        except urllib.error.HTTPError as error:
            try:
                said = json.loads(error.read())
            except ValueError:
                said = {}
            raise Refused(said if isinstance(said, dict) else {}, error.code) from None


def decoded(secret: str) -> bytes:
    """Return the customer's key. Authorities write it in either alphabet of base64, with padding or without."""
    plain = secret.strip().rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def registered(authority: Authority, email: str, key_id: str, secret: bytes) -> str:
    """Return the URL of the account, which is created if it does not exist."""
    try:
        # Some authorities accept a customer's key only once.
        return authority.account({"onlyReturnExisting": True})
    except Refused as refused:
        if refused.kind not in ("accountDoesNotExist", "externalAccountRequired"):
            raise
    wanted = {"termsOfServiceAgreed": True, "contact": [f"mailto:{email}"]}
    return authority.account({**wanted, "externalAccountBinding": authority.bound(key_id, secret)})


def main(directory: str, email: str, key_file: str, key_id: str, hmac_file: str, roots: str | None = None) -> None:
    """Print the account. Exits with the reason if there is none."""
    try:
        secret = decoded(Path(hmac_file).read_text())
        url = registered(Authority(directory, Key(key_file), roots), email, key_id, secret)
    except Refused as refused:
        sys.exit(str(refused))
    except (OSError, LookupError, ValueError) as error:
        sys.exit(f"{directory}: {error}")
    json.dump({"email": email, "registration": {"body": {"status": "valid"}, "uri": url}}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
