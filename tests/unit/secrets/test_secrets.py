"""Secrets are generated once, hidden from other users, and never printed by accident."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from rich.traceback import Traceback

from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets import store, store_files, values
from plainstack.secrets.declaration import Needed
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories

VALUE = "correct horse battery"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEXT = "stack: shop\nhosts:\n  db1: {address: 10.0.0.1, roles: [db]}\ndatabase: {name: shop}\n"

BOTH = Needed(inventories.passwords("db", "app").secrets, {"db1": ("db1",)})


@pytest.fixture
def small(tmp_path: Path) -> Stack:
    return inventories.parse(TEXT, "my.yaml", tmp_path)


def store_path(stack: Stack) -> Path:
    return store_files.plain_path(stack)


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        lambda secret: f"{secret} {secret!r} {secret:>40}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - one of the ways to print
        lambda secret: f"{secret}",
        lambda secret: f"{[secret]} { ({'key': secret}) } {(secret,)}",
        lambda secret: repr(Vault({"db": secret}, {"db1": Certificate("chain", secret)}, "authority")),
        lambda secret: logging.LogRecord("x", 10, "x", 1, "connect with %s", (secret,), None).getMessage(),
        lambda secret: str(ValueError(secret)),
    ],
)
def test_a_secret_shows_only_its_name(show: Callable[[Secret], str]) -> None:
    shown = show(Secret("db", VALUE))
    assert "<secret db>" in shown
    assert VALUE not in shown


@pytest.mark.parametrize("write", [json.dumps, pickle.dumps, copy.deepcopy, vars])
def test_a_secret_cannot_be_serialized(write: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as caught:
        write(Secret("db", VALUE))
    assert VALUE not in str(caught.value)


def test_a_secret_does_not_appear_in_tracebacks_with_local_variables() -> None:
    def connect(password: Secret) -> None:
        raise RuntimeError(f"no way in with {password}")

    try:
        connect(Secret("db", VALUE))
    except RuntimeError as error:
        plain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        console = Console(record=True, width=200, file=io.StringIO())
        console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
    for shown in (plain, console.export_text()):
        assert "<secret db>" in shown
        # Only the definition of VALUE may show the secret.
        assert shown.count(VALUE) == shown.count(f'VALUE = "{VALUE}"')


def test_secrets_are_equal_by_value() -> None:
    assert Secret("a", "pässword") == Secret("b", "pässword")
    assert Secret("a", "x") != Secret("a", "y")
    assert Secret("a", "x") != "x"
    assert len({Secret("a", "x"), Secret("b", "x")}) == 1


def test_secrets_are_generated_once_and_then_kept(small: Stack) -> None:
    first = store.load(small, BOTH, NOW)
    before = store_path(small).read_bytes()
    second = store.load(small, BOTH, NOW)
    assert {name: secret.reveal() for name, secret in first.passwords.items()} == {
        name: secret.reveal() for name, secret in second.passwords.items()
    }
    assert first.certificate("db1").chain == second.certificate("db1").chain
    assert store_path(small).read_bytes() == before
    assert first.password("db") != first.password("app")
    assert len(first.password("db").reveal()) >= 32


def test_a_new_role_gets_its_password_and_the_others_keep_theirs(small: Stack) -> None:
    before = store.load(small, inventories.passwords("db"), NOW).password("db")
    after = store.load(small, BOTH, NOW)
    assert after.password("db") == before
    # A role that is no longer needed keeps its password, in case it comes back.
    assert store.load(small, inventories.passwords(), NOW).password("app") == after.password("app")


def test_only_the_owner_can_read_the_store_and_git_ignores_it(small: Stack) -> None:
    store.load(small, inventories.passwords("db"), NOW)
    assert store_path(small).stat().st_mode & 0o777 == 0o600
    assert store_path(small).parent.stat().st_mode & 0o777 == 0o700
    assert (small.folder / ".plainstack" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert [path.name for path in store_path(small).parent.iterdir()] == [store_path(small).name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_store_that_others_may_read_is_refused(small: Stack, mode: int) -> None:
    store.load(small, inventories.passwords("db"), NOW)
    store_path(small).chmod(mode)
    with pytest.raises(Refused) as caught:
        store.load(small, inventories.passwords("db"), NOW)
    path = store_path(small)
    assert str(caught.value) == f"{path}: mode {mode:04o} lets others read the secrets. Run: chmod 600 {path}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"passwords: {db: %s\n" % VALUE.encode(),
        b"- %s\n" % VALUE.encode(),
        b"passwords: {db: 12345}\npki: {}\n",
        b"passwords:\npki: {}\n",
        b"passwords: {db: %s}\npki: {db1: {chain: x}}\n" % VALUE.encode(),
        b"passwords: {db: \xff\xfe}\n",
        b"passwords: {db: \x00}\n",
        b"passwords: {db: 2024-99-99}\n",
    ],
)
def test_a_damaged_store_is_refused_kept_and_not_quoted(small: Stack, content: bytes) -> None:
    store.load(small, inventories.passwords("db"), NOW)
    store_path(small).write_bytes(content)
    with pytest.raises(Refused) as caught:
        store.load(small, inventories.passwords("db"), NOW)
    reported = "".join(traceback.format_exception(caught.value))
    assert f"{store_path(small)}: is damaged (" in str(caught.value)
    assert "Restore it from a backup" in str(caught.value)
    assert VALUE not in reported
    assert "12345" not in str(caught.value)
    assert store_path(small).read_bytes() == content


def test_the_verifier_accepts_only_its_password() -> None:
    """The server's check of RFC 5802: the client's proof must hash back to StoredKey."""
    password = Secret("db", VALUE)
    scheme, iterations_salt, keys = values.scram_verifier(password).reveal().split("$")
    iterations, salt = iterations_salt.split(":")
    stored_key, server_key = (base64.b64decode(part) for part in keys.split(":"))
    assert (scheme, iterations) == ("SCRAM-SHA-256", "4096")

    def proof_is_accepted(guess: str) -> bool:
        message = b"n=app,r=nonce,r=nonce,s=salt,i=4096,c=biws,r=nonce"
        # Hi() is written out as the RFC defines it, so that the test shares no library call with the code.
        key = guess.encode()
        block = hmac.digest(key, base64.b64decode(salt) + b"\0\0\0\1", "sha256")
        salted = int.from_bytes(block, "big")
        for _ in range(4095):
            block = hmac.digest(key, block, "sha256")
            salted ^= int.from_bytes(block, "big")
        client_key = hmac.digest(salted.to_bytes(32, "big"), b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        expected = hmac.digest(stored_key, message, "sha256")
        recovered = bytes(a ^ b for a, b in zip(proof, expected, strict=True))
        knows_server = hmac.digest(salted.to_bytes(32, "big"), b"Server Key", "sha256") == server_key
        return hashlib.sha256(recovered).digest() == stored_key and knows_server

    assert proof_is_accepted(VALUE)
    assert not proof_is_accepted(VALUE + "!")


def test_the_same_password_gives_the_same_verifier_and_another_one_does_not() -> None:
    verifier = values.scram_verifier(Secret("db", VALUE))
    assert verifier == values.scram_verifier(Secret("other", VALUE))
    assert verifier != values.scram_verifier(Secret("db", "another"))
    assert repr(verifier) == "<secret db.scram>"
    assert VALUE not in verifier.reveal()
