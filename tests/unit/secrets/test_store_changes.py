"""Changes of the store: versions, operators who write at the same time, and texts of every kind."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.inventory.stack import Stack
from plainstack.secrets import format, store
from plainstack.secrets.format import Store
from plainstack.secrets.rotation import Entry
from plainstack.secrets.values import Secret
from tests import inventories
from tests.unit.secrets.teams import Team

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def values(stack: Stack) -> dict[str, str]:
    return {
        name: secret.reveal() for name, secret in store.load(stack, inventories.passwords("db"), NOW).passwords.items()
    }


def _add(stack: Stack, name: str) -> None:
    def with_name(store: Store) -> Store:
        entry = Entry(Secret(name, name))
        return dataclasses.replace(store, entries={**store.entries, name: entry})

    store.change(stack, with_name)


@pytest.mark.parametrize("encrypted", [False, True])
def test_changing_a_secret_makes_a_version_and_adding_a_missing_one_does_not(
    plain: Stack, team: Team, encrypted: bool
) -> None:
    """A value that is generated because it is missing replaces no value on a host."""
    stack = team("alice") if encrypted else plain
    assert store.load(stack, inventories.passwords("db"), NOW).version == ""
    _add(stack, "one")
    first = store.load(stack, inventories.passwords("db"), NOW).versions
    _add(stack, "one")
    store.load(
        stack,
        inventories.passwords("db", "app"),
        NOW,
    )
    assert store.load(stack, inventories.passwords("db"), NOW).versions == first
    _add(stack, "two")
    versions = store.load(stack, inventories.passwords("db"), NOW).versions
    assert versions[:1] == first
    assert len(set(versions)) == 2


@pytest.mark.parametrize("encrypted", [False, True])
def test_two_operators_writing_at_once_lose_nothing(plain: Stack, team: Team, encrypted: bool) -> None:
    stack = team("alice") if encrypted else plain
    values(stack)
    names = [f"name/{number}" for number in range(6)]
    writers = [threading.Thread(target=_add, args=(stack, name)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {*names, "db"} == set(store.read(stack).entries)


def test_a_change_waits_for_the_previous_one_and_a_read_never_waits(plain: Stack) -> None:
    values(plain)
    folder = os.open(plain.state, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    writer = threading.Thread(target=_add, args=(plain, "late"))
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    assert set(values(plain)) == {"db"}
    os.close(folder)
    writer.join()
    assert set(values(plain)) == {"db", "late"}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    "value", ["ä€𝄞\n\"'\\\t$(x) #: \r\n ", "\x85\u2028\ufeff\x1b", "null", "x" * 65536, "ä\n" * 21845]
)
def test_any_text_is_stored_unchanged(plain: Stack, team: Team, encrypted: bool, value: str) -> None:
    stack = team("alice") if encrypted else plain
    store.set_values(stack, {"web/API_KEY": (None, value)}, {}, NOW)
    store.set_values(stack, {"web/API_KEY": (value, f"{value}.")}, {"web/API_KEY": "grace"}, NOW)
    entry = store.read(stack).entries["web/API_KEY"]
    assert entry.value.reveal() == f"{value}."
    assert entry.previous
    assert entry.previous.reveal() == value


secret_names = st.from_regex(r"[a-z][a-z0-9-]{0,9}/[A-Za-z_][A-Za-z0-9_]{0,200}", fullmatch=True)


@given(st.dictionaries(secret_names, st.text(), max_size=4))
def test_a_store_is_read_back_as_it_was_written(texts: dict[str, str]) -> None:
    kept = Store({name: Entry(Secret(name, text), previous=Secret(name, text)) for name, text in texts.items()})
    assert format.parse(format.render(kept)) == kept
