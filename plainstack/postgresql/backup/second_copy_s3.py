"""A second copy of the backups in a bucket: what the backup host needs to reach it over S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plainstack.engine.resources import File, Package, Resource
from plainstack.engine.role import DeclaredSecret, Given
from plainstack.inventory.stack import Stack
from plainstack.inventory.validation import problem_of_path
from plainstack.postgresql.second_copy_settings import Bucket, SecondCopy
from plainstack.postgresql.settings import Backup
from plainstack.secrets import pki
from plainstack.secrets.values import Vault

MODULES = ("in_s3", "from_s3", "s3_failures")
ACCESS_KEY, SECRET_KEY = "backup/s3_access_key_id", "backup/s3_secret_access_key"
CREDENTIALS = "/etc/plainstack/second-copy.credentials"
CA = "/etc/plainstack/second-copy.ca"
_DEBIANS = "/etc/ssl/certs/ca-certificates.crt"


def declared(stack: Stack) -> Iterator[DeclaredSecret]:
    """Yield the secrets of a second copy in a bucket, which a person sets; none for another kind."""
    wanted = stack.settings(Backup).second_copy
    if wanted and isinstance(wanted.place, Bucket):
        for name in (ACCESS_KEY, SECRET_KEY):
            yield DeclaredSecret(name, "at once", Given())


def resources(stack: Stack, wanted: SecondCopy, vault: Vault) -> Iterator[Resource]:
    """Yield Amazon's S3 client for Python, its credentials, and the certificates that it trusts."""
    yield Package(name="python3-s3transfer")
    yield Package(name="ca-certificates")
    keys = {
        "access_key_id": vault.password(ACCESS_KEY).reveal(),
        "secret_access_key": vault.password(SECRET_KEY).reveal(),
    }
    content = f"{json.dumps(keys)}\n".encode()
    yield File(path=CREDENTIALS, content=content, mode=0o600, owner="barman", group="barman", secret=True)
    if wanted.ca:
        yield File(path=CA, content=pki.blocks(stack.file(wanted.ca), "CERTIFICATE").encode())


def config(wanted: SecondCopy, bucket: Bucket) -> dict[str, Any]:
    """Return the destination as the program on the backup host reads it."""
    return {
        "kind": "s3",
        "bucket": bucket.bucket,
        "prefix": bucket.prefix,
        "endpoint": wanted.endpoint or "",
        "region": wanted.region,
        "credentials": CREDENTIALS,
        "ca": CA if wanted.ca else _DEBIANS,
    }


def contradictions(stack: Stack, wanted: SecondCopy) -> Iterator[tuple[str, str]]:
    """Yield errors in the keys of a bucket, as (key, sentence) pairs."""
    if wanted.ca is None:
        return
    if problem := problem_of_path(stack, wanted.ca):
        yield "ca", problem
        return
    # Imported here: every command imports this module, and few stacks need cryptography for it.
    from plainstack.secrets import pem

    try:
        pem.certificates(stack.file(wanted.ca), wanted.ca)
    except pem.Unfit as error:
        yield "ca", str(error)
