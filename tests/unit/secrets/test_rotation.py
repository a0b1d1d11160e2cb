"""Rotations: in each of their states, hosts that have the new value work with hosts that do not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plainstack.engine.declared import by_name
from plainstack.engine.resources import Command, File
from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack
from plainstack.postgresql import sql
from plainstack.roles import app, db
from plainstack.secrets import rotation, store
from plainstack.secrets.rotation import Entry, RotationStrategy
from plainstack.secrets.values import Secret, Vault
from tests import inventories
from tests.unit.conftest import fake_vault

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def states(strategy: RotationStrategy, entry: Entry, value: str = "new") -> list[Entry]:
    """Return an entry before a rotation, and in each state of the rotation."""
    found = [entry, rotation.begin(entry, strategy, Secret("x", value), NOW)]
    while rotation.unfinished(found[-1], strategy):
        found.append(rotation.advance(found[-1], strategy))
    return found


def used(entry: Entry) -> tuple[str, int]:
    """Return the value that a host in this state uses, and which of two accounts it belongs to."""
    return entry.value.reveal(), entry.handovers % 2


def accepted(entry: Entry, strategy: RotationStrategy) -> set[tuple[str, int]]:
    """Return the values that a host in this state accepts, with their accounts."""
    if strategy == "handover":
        before = {(entry.previous.reveal(), (entry.handovers + 1) % 2)} if entry.previous else set()
        return {used(entry)} | before
    values = (entry.value, entry.previous, entry.next)
    return {(value.reveal(), entry.handovers % 2) for value in values if value is not None}


@pytest.mark.parametrize(("strategy", "deploys"), [("at once", 1), ("grace", 1), ("overlap", 2), ("handover", 2)])
def test_a_rotation_takes_the_expected_number_of_deploys_and_ends_with_the_new_value(
    strategy: RotationStrategy, deploys: int
) -> None:
    found = states(strategy, Entry(Secret("x", "old"), previous=None))
    assert len(found) == 1 + deploys
    assert found[-1].value.reveal() == "new"
    assert found[-1].made == "2026-03-01T00:00:00Z"
    assert not rotation.unfinished(found[-1], strategy)


def test_hosts_in_adjacent_states_of_a_rotation_accept_each_others_values() -> None:
    """At any moment of two rotations, each app host reads sessions that another one has signed."""
    first = states("overlap", Entry(Secret("x", "old")))
    history = first + states("overlap", first[-1], "newer")[1:]
    for before, after in itertools.pairwise(history):
        assert used(before) in accepted(after, "overlap")
        assert used(after) in accepted(before, "overlap")


def test_a_handover_keeps_the_old_value_until_all_hosts_have_moved() -> None:
    entry = Entry(Secret("x", "old"))
    for value in ("new", "newer"):
        before, moving, after = states("handover", entry, value)
        # The database is deployed first: both accounts work before the first application switches.
        assert {used(before), used(after)} <= accepted(moving, "handover")
        assert accepted(after, "handover") == {used(after)}
        assert used(before)[1] != used(after)[1]
        entry = after


def test_the_previous_token_is_accepted_until_the_next_rotation_or_a_revocation() -> None:
    _, after = states("grace", Entry(Secret("x", "old")))
    assert ("old", 0) in accepted(after, "grace")
    assert ("old", 0) not in accepted(rotation.revoke(after), "grace")
    assert ("old", 0) not in accepted(states("grace", after, "newer")[-1], "grace")


def test_the_store_keeps_every_state(tmp_path: Path) -> None:
    text = "stack: shop\nhosts:\n  db1: {address: 10.0.0.1, roles: [db]}\ndatabase: {name: shop}\n"
    stack = inventories.parse(text, "my.yaml", tmp_path)
    store.load(stack, inventories.passwords("x"), NOW)
    for strategy in ("at once", "grace", "overlap", "handover"):
        for entry in states(strategy, Entry(Secret("x", "old"), made="2026-01-01T00:00:00Z", handovers=3)):
            store.change(stack, lambda store, entry=entry: replace(store, entries={"x": entry}))  # type: ignore[misc]  # a default
            assert store.read(stack).entries["x"] == entry


def _vault(stack: Stack, registry: Mapping[str, Role], entry: Entry, name: str) -> Vault:
    vault = fake_vault(stack, by_name(stack, registry))
    return replace(
        vault,
        passwords={**vault.passwords, name: entry.value},
        previous={name: entry.previous} if entry.previous else {},
        next={name: entry.next} if entry.next else {},
        handovers={name: entry.handovers},
    )


def _settings(stack: Stack, vault: Vault) -> dict[str, str]:
    path = "/etc/plainstack/app/web.env"
    (file,) = [
        item
        for item in inventories.wanted(app.ROLE, stack, "app1", vault)
        if isinstance(item, File) and item.path == path
    ]
    lines = [line for line in file.content.decode().splitlines() if not line.startswith("#")]
    return dict(line.replace('"', "").split("=", 1) for line in lines)


def test_the_application_moves_to_the_other_account_and_both_can_log_in_meanwhile(
    stack: Stack, registry: Mapping[str, Role]
) -> None:
    name = sql.password_name(sql.OWNER)
    seen = []
    for entry in states("handover", Entry(Secret(name, "old"))):
        vault = _vault(stack, registry, entry, name)
        roles = {role.name: role for role in sql.roles(stack, vault)}
        settings = _settings(stack, vault)
        assert roles[settings["DB_USER"]].verifier is not None
        assert settings["DB_PASSWORD"] == entry.value.reveal()
        seen.append((settings["DB_USER"], [roles[login].verifier is not None for login in sql.LOGINS]))
    assert seen == [("app_a", [True, False]), ("app_b", [True, True]), ("app_b", [False, True])]


def test_both_accounts_act_as_the_owner_and_the_owner_cannot_log_in(stack: Stack, vault: Vault) -> None:
    roles = {role.name: role for role in sql.roles(stack, vault)}
    assert not roles[sql.OWNER].login
    assert {roles[name].acts_as for name in sql.LOGINS} == {sql.OWNER}
    resources = inventories.wanted(db.ROLE, stack, "db1", vault)
    (rules,) = [item for item in resources if isinstance(item, File) and item.path.endswith("pg_hba.conf")]
    lines = [line.split()[2] for line in rules.content.decode().splitlines() if '"shop"' in line]
    assert [accounts for accounts in lines if accounts != "barman"] == ["app_a,app_b"] * 2


def test_no_command_contains_a_password_or_verifier_in_any_state(stack: Stack, registry: Mapping[str, Role]) -> None:
    name = sql.password_name(sql.OWNER)
    for entry in states("handover", Entry(Secret(name, "old-password"))):
        vault = _vault(stack, registry, entry, name)
        for item in inventories.wanted(db.ROLE, stack, "db1", vault):
            if isinstance(item, Command):
                assert "old-password" not in item.run + item.unless
                assert "SCRAM-SHA-256$" not in item.run + item.unless


def test_django_accepts_the_previous_keys_and_tokens(stack: Stack, registry: Mapping[str, Role]) -> None:
    entry = Entry(Secret("k", "current"), previous=Secret("k", "before"), next=Secret("k", "coming"))
    settings = _settings(stack, _vault(stack, registry, entry, "web/DJANGO_SECRET_KEY"))
    keys = settings["DJANGO_SECRET_KEY_FALLBACKS"].split(",")
    assert [key.rpartition("-")[2] for key in [settings["DJANGO_SECRET_KEY"], *keys]] == ["current", "before", "coming"]
    # A fallback only helps if it equals the other host's whole signing key.
    assert len({key.rpartition("-")[0] for key in [settings["DJANGO_SECRET_KEY"], *keys]}) == 1
    grace = Entry(Secret("t", "current"), previous=Secret("t", "before"))
    settings = _settings(stack, _vault(stack, registry, grace, "web/API_TOKEN"))
    assert (settings["API_TOKEN"], settings["API_TOKEN_PREVIOUS"]) == ("current", "before")


def test_without_a_rotation_only_current_values_are_rendered(stack: Stack, vault: Vault) -> None:
    settings = _settings(stack, vault)
    assert "DJANGO_SECRET_KEY_FALLBACKS" not in settings
    assert "API_TOKEN_PREVIOUS" not in settings
