"""Secrets of somebody else's store are not overwritten by freshly generated ones."""

from __future__ import annotations

from plainstack import foreign
from plainstack.compare import state_of
from plainstack.observed import Entry, Observed
from plainstack.resources import File

OURS = File(path=foreign.AUTHORITY, content=b"ours")
THEIRS = File(path=foreign.AUTHORITY, content=b"theirs")


def host_with(authority: File) -> Observed:
    return Observed(manifest={"base": (Entry("file", foreign.AUTHORITY, state_of(authority)),)})


def test_a_host_with_another_authority_is_refused_by_name() -> None:
    found = foreign.refusals({"db1": {"base": [OURS]}}, {"db1": host_with(THEIRS)})
    assert len(found) == 1
    assert found[0].startswith("db1: deployed with other secrets")
    assert "--new-secrets" in found[0]


def test_our_own_hosts_and_bare_ones_are_not() -> None:
    desired = {"db1": {"base": [OURS]}, "db2": {"base": [OURS]}}
    assert foreign.refusals(desired, {"db1": host_with(OURS), "db2": Observed()}) == []
