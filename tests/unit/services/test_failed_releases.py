"""Releases that failed: what a host keeps of them, and that no rollback goes back to one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from plainstack.engine.plan.actions import Run
from plainstack.engine.resources import Command
from plainstack.errors import Refused
from plainstack.services import rollback
from plainstack.services.kept import FAILED
from plainstack.services.release_pruning import KEPT
from tests.unit.sandbox import build
from tests.unit.services.shop import Shop

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.new(tmp_path_factory.mktemp("shop") / "three")


@pytest.fixture
def shop(three: Shop, tmp_path: Path) -> Shop:
    shutil.copytree(three.folder, tmp_path / "shop", symlinks=True)
    return Shop(tmp_path / "shop", ids=[*three.ids])


def test_a_release_that_fails_on_a_host_does_not_hide_the_previous_one(shop: Shop) -> None:
    _, two, three = shop.ids
    shop.fails("four")
    assert shop.running() == {three}
    assert shop.back() == two


def test_releases_that_failed_are_never_offered_and_push_no_good_one_out(shop: Shop) -> None:
    one, two, three = shop.ids
    failed = [shop.fails(f"bad {number}") for number in range(KEPT + 1)]
    # While deploys fail, the two last failed releases stay at most.
    assert shop.releases() == {one, two, three, *failed[-2:]}
    assert shop.kept()["app1"].releases[failed[-1]].state == FAILED
    four = shop.write("four")
    shop.deploy()
    assert (shop.running(), shop.nothing_to_do()) == ({four}, True)
    assert shop.releases() == {one, two, three, four, failed[-1]}
    # Only the first host had its turn.
    (app1, app2) = shop.kept().values()
    assert {name: seen.lacks for name, seen in app1.releases.items() if seen.lacks} == {
        failed[-1]: "its deploy did not succeed there"
    }
    assert app2.releases[three].lacks == ""
    assert {*app1.ready} == {one, two, three}
    with pytest.raises(Refused, match=f"app1: its deploy did not succeed there.* can be rolled back to {three}"):
        shop.back(failed[-1])
    assert shop.back() == three


def test_a_release_that_failed_counts_as_good_once_a_deploy_with_it_succeeds(shop: Shop) -> None:
    three = shop.ids[-1]
    four = shop.fails("four")
    shop.deploy()
    assert (shop.running(), shop.nothing_to_do()) == ({four}, True)
    assert shop.back() == three
    assert four in rollback.candidates(shop.kept())


def test_a_good_release_stays_one_if_a_later_deploy_of_it_fails(shop: Shop) -> None:
    two = shop.ids[1]
    shop.fails("two")
    assert shop.kept()["app1"].releases[two].lacks == ""
    assert shop.back() == two


def test_a_release_is_not_proven_if_its_transaction_is_undone_after_it_has_started(shop: Shop) -> None:
    """Another service on the host fails after this one has started."""
    three = shop.ids[-1]
    four = shop.write("four")
    wanted = shop.resources(shop.stack)
    other = Command(name="other: start", why="start another service", run="exit 1\n", unless="false")
    host = shop.hosts["app1"]
    for work in host.plan({"app": [*wanted["app"], other]}).transactions:
        payloads = {"web: release": [("source/asset", b"four")]}
        host.run(build(work, payloads if any(isinstance(action, Run) for action in work.actions) else {}))
    seen = shop.kept()["app1"]
    assert (seen.current, seen.releases[four].state) == (three, FAILED)


def test_releases_of_hosts_that_an_earlier_version_deployed_count_as_good(shop: Shop) -> None:
    one, two, three = shop.ids
    assert not list(shop.folder.glob("app*/srv/web/releases/*/unproven"))
    assert shop.nothing_to_do()
    assert {*shop.kept()["app1"].ready} == {one, two}
    for number in range(KEPT):
        shop.write(f"new {number}")
        shop.deploy()
    assert not {one, two, three} & shop.releases()
    assert len(shop.releases()) == KEPT


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_killed_deploy_leaves_nothing_half_done_that_a_later_one_takes_for_complete(shop: Shop, steps: int) -> None:
    three = shop.ids[-1]
    shop.write("killed")
    shop.deploy(killed=steps)
    five = shop.write("five")
    shop.deploy()
    assert (shop.running(), shop.nothing_to_do()) == ({five}, True)
    assert shop.back() == three


def test_a_release_that_the_host_never_switched_to_is_not_offered(shop: Shop) -> None:
    """A command before the switch has failed: the release is complete, and the database was migrated for it."""
    one, two, three = shop.ids
    releases = shop.hosts["app1"].root / "srv/web/releases"
    shutil.copytree(releases / two, releases / "four", symlinks=True)
    (releases / "four/before").unlink()
    (releases / "four/release.env").write_text("RELEASE=four\n", encoding="utf-8")
    here = shop.kept()["app1"]
    assert here.releases["four"].lacks == "it never ran there"
    assert {*here.ready} == {one, two}
    with pytest.raises(Refused, match="app1: it never ran there"):
        shop.back("four")
    assert shop.running() == {three}
