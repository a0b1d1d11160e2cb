"""Which release a rollback goes back to, and when it is refused before anything changes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.errors import Refused
from plainstack.inventory.held import Pinned
from plainstack.services import rollback
from plainstack.services.kept import FAILED, Kept, OnHost
from plainstack.wording import one_of

AT, WHO = "2026-03-01T12:00:00Z", "ann@desk"


def _host(current: str = "ccc", *, pinned: Pinned | None = None, **changes: Kept) -> OnHost:
    """Return a host that ran aaa, bbb and ccc, one after another."""
    releases = {
        "aaa": Kept("aaa", "v1", since="2026-01-01", migrated="2026-01-01"),
        "bbb": Kept("bbb", "v1", since="2026-01-02", before="aaa", migrated="2026-01-02"),
        "ccc": Kept("ccc", "v2", since="2026-01-03", before="bbb", migrated="2026-01-03"),
        **changes,
    }
    return OnHost(current, {name: kept for name, kept in releases.items() if kept.id}, pinned)


def _target(hosts: Mapping[str, OnHost], to: str = "") -> Pinned:
    return rollback.target("web", hosts, to, AT, WHO)


def _refused(hosts: Mapping[str, OnHost], to: str = "") -> str:
    with pytest.raises(Refused) as raised:
        _target(hosts, to)
    return str(raised.value)


BACK = Pinned(release="bbb", venv="v1", refused=("ccc",), at="2026-02-01T00:00:00Z", who="bob@desk")
GONE = Kept("")


def test_a_rollback_goes_to_the_previous_release() -> None:
    assert _target({"app1": _host(), "app2": _host()}) == BACK.model_copy(update={"at": AT, "who": WHO})


def test_a_rollback_replaces_the_one_before_although_its_clock_is_behind() -> None:
    hosts = {name: _host("bbb", pinned=BACK.model_copy(update={"at": "2027-01-01T00:00:00Z"})) for name in ("a", "b")}
    assert _target(hosts, "aaa").at == "2027-01-01T00:00:01Z"


@pytest.mark.parametrize("to", ["aaa", "aa"])
def test_a_release_can_be_named_by_the_beginning_of_its_id(to: str) -> None:
    assert _target({"app1": _host(), "app2": _host()}, to).release == "aaa"


def test_a_second_rollback_is_refused_unless_it_names_the_release() -> None:
    hosts = {name: _host("bbb", pinned=BACK) for name in ("app1", "app2")}
    said = _refused(hosts)
    assert "rolled back from ccc to bbb on 2026-02-01T00:00:00Z by bob@desk" in said
    # What was rolled back comes last, and is not what the command at the end names.
    assert "can be rolled back to aaa or ccc: inv rollback --service=web --to=aaa" in said
    assert "inv deploy --again" in said
    # Neither of the two releases that were left behind comes back by a deploy.
    assert _target(hosts, "aaa").refused == ("bbb", "ccc")


def test_repeating_an_incomplete_rollback_continues_it() -> None:
    assert _target({"app1": _host("bbb", pinned=BACK), "app2": _host()}) == BACK
    assert _target({"app1": _host("bbb", pinned=BACK), "app2": _host("bbb")}) == BACK


def test_after_an_incomplete_deploy_a_rollback_returns_to_the_release_of_the_other_host() -> None:
    hosts = {"app1": _host("ccc"), "app2": _host("bbb")}
    assert (_target(hosts).release, _target(hosts).refused) == ("bbb", ("ccc",))
    assert rollback.differing("web", hosts) == "web: app1 runs ccc, and app2 runs bbb"
    assert "To return app1 to bbb: inv rollback" in rollback.advice("web", hosts)


@pytest.mark.parametrize(
    ("hosts", "to", "said"),
    [
        ({"app1": _host()}, "ccc", "web runs ccc already"),
        ({"app1": _host("bbb", pinned=BACK)}, "bbb", "web was rolled back to bbb already"),
        ({"app1": _host()}, "aab", "did you mean 'aaa'?"),
        ({"app1": _host(), "app2": _host(aaa=GONE)}, "aaa", "app2 has no release aaa"),
        ({"app1": _host(), "app2": _host(bbb=GONE)}, "", "app2 has no release bbb"),
        ({"app1": _host(), "app2": _host(bbb=Kept("bbb", lacks="its environment is gone"))}, "", "app2: its environ"),
        ({"app1": _host("aaa")}, "", "the hosts know no previous release of web"),
        ({"app1": _host("aaa"), "app2": _host()}, "", "app1 runs aaa, and app2 runs ccc. Name a release with --to"),
    ],
)
def test_an_impossible_rollback_is_refused(hosts: Mapping[str, OnHost], to: str, said: str) -> None:
    text = _refused(hosts, to)
    assert said in text
    possible = rollback.candidates(hosts)
    assert (one_of(possible) if possible else "There is no release that web can be rolled back to") in text


def test_a_release_that_failed_is_passed_over_and_never_offered() -> None:
    """A deploy of bbb was killed or undone, and ccc mends it."""
    failed = Kept("bbb", "v1", lacks="its deploy did not succeed there", state=FAILED, before="aaa")
    hosts = {"app1": _host(bbb=failed)}
    assert _target(hosts).release == "aaa"
    assert rollback.candidates(hosts) == ["aaa"]
    said = _refused(hosts, "bbb")
    assert "web cannot go back to bbb: app1: its deploy did not succeed there. web can be rolled back to aaa: " in said
    # The previous release is known, even if two failed ones name each other.
    assert _host("bbb", aaa=Kept("aaa", state=FAILED, before="bbb"), bbb=failed).previous == ""


def test_migrations_of_newer_releases_are_listed_in_order() -> None:
    first = Kept("bbb", before="aaa", migrated="2026-01-02", applied="2026-01-02", migrations=("shop.0002",))
    second = Kept("ccc", before="bbb", migrated="2026-01-03", applied="2026-01-03", migrations=("shop.0003",))
    hosts = {"app1": _host(bbb=first), "app2": _host(ccc=second)}
    assert rollback.migrations(hosts, "aaa") == ["shop.0002", "shop.0003"]
    assert rollback.migrations(hosts, "bbb") == ["shop.0003"]
    assert rollback.migrations(hosts, "ccc") == []


_RELEASES = ("aaa", "bbb", "ccc")
_STATES = st.sampled_from(["", "lacks", "complete"])
_BEFORE = st.sampled_from(["", "aaa", "bbb"])
_REFUSED = st.sampled_from([("ccc",), ("ccc", "bbb"), ("bbb",)])
_PINS = st.one_of(
    st.none(),
    st.builds(Pinned, release=st.sampled_from(_RELEASES), refused=_REFUSED).filter(
        lambda pin: pin.release not in pin.refused
    ),
)


@st.composite
def _hosts(draw: st.DrawFn) -> dict[str, OnHost]:
    hosts = {}
    for name in ("app1", "app2"):
        states = {release: draw(_STATES) for release in _RELEASES}
        releases = {
            release: Kept(release, lacks="x" if state == "lacks" else "", before=draw(_BEFORE))
            for release, state in states.items()
            if state
        }
        hosts[name] = OnHost(draw(st.sampled_from(["", *releases])), releases, draw(_PINS))
    return hosts


@given(_hosts(), st.sampled_from(["", *_RELEASES, "zzz"]))
def test_a_rollback_only_chooses_a_release_that_all_hosts_can_run(hosts: dict[str, OnHost], to: str) -> None:
    try:
        pin = _target(hosts, to)
    except Refused:
        return
    for seen in hosts.values():
        assert pin.release in seen.releases
        assert seen.current == pin.release or not seen.releases[pin.release].lacks
        assert seen.current in (pin.release, *pin.refused, "")
    assert pin.release not in pin.refused
