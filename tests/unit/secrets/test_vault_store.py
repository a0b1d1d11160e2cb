"""The encrypted store: who can open it, how recipients change, and what must never happen to it."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest

from plainstack.errors import InventoryError, Refused
from plainstack.inventory.sections import SecretStore
from plainstack.inventory.stack import Stack
from plainstack.secrets import age, store, store_files
from tests import inventories
from tests.unit.secrets.teams import TEXT, Team, make_key

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def values(stack: Stack) -> dict[str, str]:
    return {
        name: secret.reveal() for name, secret in store.load(stack, inventories.passwords("db"), NOW).passwords.items()
    }


def refusal(stack: Stack) -> str:
    with pytest.raises(Refused) as caught:
        store.load(stack, inventories.passwords("db"), NOW)
    return str(caught.value)


def files(stack: Stack) -> set[str]:
    return {str(path.relative_to(stack.folder)) for path in stack.folder.rglob("*") if path.is_file()}


@pytest.mark.programs
def test_with_recipients_the_store_is_one_armored_file_beside_the_inventory(team: Team) -> None:
    stack = team("alice", "bob")
    value = values(stack)["db"]
    sealed = store_files.sealed_path(stack)
    assert sealed == stack.folder / "secrets.shop.age"
    assert files(stack) == {"secrets.shop.age", ".plainstack/.gitignore"}
    text = sealed.read_text(encoding="ascii")
    assert text.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert value not in text


def test_every_recipient_can_read_the_store_without_changing_it(team: Team) -> None:
    stack = team("alice", "bob")
    before, content = values(stack), store_files.sealed_path(stack).read_bytes()
    assert values(team("alice", "bob", me="bob")) == before
    assert store_files.sealed_path(stack).read_bytes() == content


def test_an_age_key_can_be_a_recipient(plain: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "age.key").write_text(f"# created: today\n{identity}\n", encoding="utf-8")
    monkeypatch.setenv(age.IDENTITY, str(tmp_path / "age.key"))
    stack = plain.model_copy(update={"secrets": SecretStore(recipients=(str(identity.to_public()),))})
    assert values(stack) == values(stack)


def test_the_key_in_the_environment_takes_precedence_over_the_inventory(
    team: Team, keys: dict[str, tuple[Path, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = values(team("alice"))
    monkeypatch.setenv(age.IDENTITY, str(keys["alice"][0]))
    assert values(team("alice", me="carol")) == before


def test_adding_recipients_encrypts_the_plain_store(plain: Stack, team: Team) -> None:
    before, reported = values(plain), list[str]()
    store.load(team("alice"), inventories.passwords("db"), NOW, reported.append)
    assert values(team("alice")) == before
    assert "secrets.shop.age" in files(plain)
    assert not store_files.plain_path(plain).exists()
    assert "moved from" in reported[0]
    assert "Commit that file" in reported[0]


def test_an_interrupted_encryption_is_completed_by_removing_the_plain_file(plain: Stack, team: Team) -> None:
    before = values(plain)
    content = store_files.plain_path(plain).read_bytes()
    values(team("alice"))
    store_files.plain_path(plain).write_bytes(content)
    store_files.plain_path(plain).chmod(0o600)
    assert values(team("alice")) == before
    assert not store_files.plain_path(plain).exists()


def test_the_plain_file_stays_if_the_encrypted_one_cannot_be_written(
    plain: Stack, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, content = values(plain), store_files.plain_path(plain).read_bytes()

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.load(team("alice"), inventories.passwords("db"), NOW)
    assert store_files.plain_path(plain).read_bytes() == content
    assert files(plain) == {".plainstack/shop/secrets.yaml", ".plainstack/.gitignore"}
    assert values(plain) == before


def test_two_different_stores_are_refused_and_both_kept(plain: Stack, team: Team) -> None:
    values(plain)
    content = store_files.plain_path(plain).read_bytes()
    values(team("alice"))
    store.change(team("alice"), lambda store: dataclasses.replace(store, entries={}))
    store_files.plain_path(plain).write_bytes(content)
    store_files.plain_path(plain).chmod(0o600)
    assert "both contain secrets, and they differ" in refusal(team("alice"))
    assert store_files.plain_path(plain).read_bytes() == content


def test_changed_recipients_encrypt_the_store_again(team: Team) -> None:
    before, reported = values(team("alice", "bob")), list[str]()
    store.load(team("alice", "carol"), inventories.passwords("db"), NOW, reported.append)
    assert values(team("alice", "carol", me="carol")) == before
    assert "1 removed recipient may still know the current values" in reported[0]
    assert "is not encrypted to your key" in refusal(team("alice", "carol", me="bob"))


def test_the_order_and_comments_of_recipients_do_not_matter(team: Team) -> None:
    stack = team("alice", "bob")
    values(stack)
    content = store_files.sealed_path(stack).read_bytes()
    bob, alice = (f"{age.key_of(key)} other" for key in reversed(stack.secrets.recipients))
    values(stack.model_copy(update={"secrets": SecretStore(recipients=(bob, alice))}))
    assert store_files.sealed_path(stack).read_bytes() == content


def test_an_operator_cannot_be_locked_out(plain: Stack, team: Team) -> None:
    before = values(plain)
    reported = refusal(team("bob", me="alice"))
    assert "is not in the inventory's secrets.recipients" in reported
    assert "Nothing was changed" in reported
    assert values(plain) == before


def test_an_operator_cannot_remove_their_own_key(team: Team) -> None:
    stack = team("alice", "bob")
    values(stack)
    content = store_files.sealed_path(stack).read_bytes()
    assert "Nothing was changed" in refusal(team("bob", me="alice"))
    assert store_files.sealed_path(stack).read_bytes() == content


def test_a_missing_key_is_reported_before_anything_is_generated(plain: Stack, team: Team) -> None:
    stack = team("alice")
    stack = stack.model_copy(update={"ssh": stack.ssh.model_copy(update={"key": Path("nowhere")})})
    assert "cannot be read (No such file or directory)" in refusal(stack)
    assert files(plain) <= {".plainstack/.gitignore"}


def test_recipients_missing_from_the_inventory_do_not_generate_a_new_store(plain: Stack, team: Team) -> None:
    values(team("alice"))
    before = files(plain)
    reported = refusal(plain)
    assert "lists no secrets.recipients. Restore them" in reported
    assert "age -d -i KEY" in reported
    assert files(plain) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda _: b"",
        lambda _: b"hello\n",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b"A", b"B"),
        lambda text: b"<<<<<<< HEAD\n" + text + b"=======\n" + text + b">>>>>>> theirs\n",
    ],
)
def test_a_damaged_store_is_refused_and_kept(team: Team, harm: Callable[[bytes], bytes]) -> None:
    stack = team("alice")
    values(stack)
    sealed = store_files.sealed_path(stack)
    broken = harm(sealed.read_bytes())
    sealed.write_bytes(broken)
    assert "is damaged (not a complete age file). Restore it from git or a backup" in refusal(stack)
    assert sealed.read_bytes() == broken


def test_an_encrypted_file_that_is_not_a_store_is_refused_and_not_quoted(team: Team) -> None:
    stack = team("alice")
    values(stack)
    sealed = age.encrypt(b"passwords: {db: hunter2-hunter2\n", stack.secrets.recipients)
    store_files.sealed_path(stack).write_bytes(sealed)
    with pytest.raises(Refused) as caught:
        store.load(stack, inventories.passwords("db"), NOW)
    reported = "".join(traceback.format_exception(caught.value))
    assert "is damaged (not YAML)" in reported
    assert "hunter2" not in reported


@pytest.mark.programs
def test_a_key_with_a_passphrase_is_prompted_for_or_refused_with_a_clear_message(
    plain: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = make_key(tmp_path / "locked", "-N", "open sesame")
    ssh = plain.ssh.model_copy(update={"key": tmp_path / "locked"})
    stack = plain.model_copy(update={"ssh": ssh, "secrets": SecretStore(recipients=(public,))})
    assert "is protected by a passphrase, but there is no terminal to ask for it" in refusal(stack)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: "wrong")
    assert "the passphrase is wrong" in refusal(stack)
    answers = ["open sesame"]
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop())
    # A rotation opens the store a dozen times, but asks for the passphrase only once.
    assert values(stack) == values(stack)


@pytest.mark.parametrize(
    ("recipient", "reported"),
    [
        ("hello", "must be an SSH public key (ssh-ed25519 AAAA... comment) or an age recipient (age1...)"),
        ("ssh-ed25519 AAAA short", "must be an SSH public key"),
        ("age1xyz", "must be an SSH public key"),
        ("ecdsa-sha2-nistp256 AAAA x", "age cannot encrypt to ecdsa-sha2-nistp256 keys; use an ssh-ed25519 key"),
        ("AGE-SECRET-KEY-1HIDDEN", "is a PRIVATE key; replace it"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\\nHIDDEN", "must be one line of text"),
    ],
)
def test_an_invalid_recipient_is_an_inventory_error_that_does_not_repeat_it(recipient: str, reported: str) -> None:
    text = f'{TEXT}secrets:\n  recipients:\n    - "{recipient}"\n'
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "my.yaml", Path())
    (problem,) = caught.value.problems
    assert problem.startswith("my.yaml:7: secrets.recipients.0: ")
    assert reported in problem
    assert "HIDDEN" not in problem


def test_a_duplicate_recipient_is_an_error(keys: dict[str, tuple[Path, str]]) -> None:
    text = f"{TEXT}secrets:\n  recipients:\n  - {keys['bob'][1]}\n  - {age.key_of(keys['bob'][1])} other\n"
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "my.yaml", Path())
    assert caught.value.problems == ("my.yaml:8: secrets.recipients.1: the same key as secrets.recipients.0",)
