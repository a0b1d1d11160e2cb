"""Releases, rollbacks and interruptions one after another on two hosts."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from plainstack.errors import Refused
from plainstack.services import release, rollback
from plainstack.services.release_pruning import KEPT
from tests.unit.services.shop import Shop

pytestmark = pytest.mark.programs

# What operators do, in random order; a command that is killed stops after a number of steps on the first host.
COMMANDS = ("deploy old", "deploy new", "deploy again", "back", "back to", "back", "deploy killed", "back killed")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.new(tmp_path_factory.mktemp("shop") / "three")


@pytest.fixture
def shop(three: Shop, tmp_path: Path) -> Shop:
    shutil.copytree(three.folder, tmp_path / "shop", symlinks=True)
    return Shop(tmp_path / "shop", ids=[*three.ids])


def test_a_rolled_back_release_is_deployed_again_only_on_request(shop: Shop) -> None:
    one, two, three = shop.ids
    assert shop.back() == two
    assert shop.running() == {two}
    assert shop.nothing_to_do()
    with pytest.raises(Refused, match="--again"):
        shop.deploy()
    assert shop.back(one) == one
    for content in ("three", "two"):
        shop.write(content)
        with pytest.raises(Refused, match="--again"):
            shop.deploy()
    shop.write("three")
    shop.deploy(again=True)
    assert (shop.running(), shop.pins(), shop.nothing_to_do()) == ({three}, {None}, True)
    # It can be rolled back to what ran before it was deployed again.
    assert shop.back() == one


def test_what_else_has_changed_is_deployed_while_a_service_is_rolled_back(shop: Shop) -> None:
    two = shop.back()
    pins = shop.pins()
    with pytest.raises(Refused, match="its source still has the content that was rolled back"):
        shop.deploy()
    shop.beside = "2"
    shop.deploy()
    assert all((host.root / "etc/beside").read_text(encoding="utf-8") == "2" for host in shop.hosts.values())
    assert (shop.running(), shop.pins(), shop.nothing_to_do()) == ({two}, pins, True)
    with pytest.raises(Refused, match="its source still has the content that was rolled back"):
        shop.deploy()


def test_a_deploy_does_not_continue_a_rollback_that_has_not_reached_all_hosts(shop: Shop) -> None:
    two, three = shop.ids[1:]
    shop.back(killed=5)
    before = shop.running()
    shop.beside = "2"
    with pytest.raises(Refused, match=f"app2 do(es)? not run {two}. To continue the rollback: inv rollback"):
        shop.deploy()
    assert shop.running() == before
    shop.deploy(again=True)
    assert (shop.running(), shop.nothing_to_do()) == ({three}, True)


def test_deploying_new_content_ends_the_rollback(shop: Shop) -> None:
    shop.back()
    four = shop.write("four")
    shop.deploy()
    assert (shop.running(), shop.pins(), shop.nothing_to_do()) == ({four}, {None}, True)


def test_reverting_the_source_to_the_pinned_release_ends_the_rollback_without_a_restart(shop: Shop) -> None:
    two = shop.back()
    shop.write("two")
    for host in shop.hosts.values():
        host.calls()
    shop.deploy()
    assert (shop.running(), shop.pins(), shop.nothing_to_do()) == ({two}, {None}, True)
    assert [call for host in shop.hosts.values() for call in host.calls() if "restart" in call] == []


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_a_rollback_killed_at_any_step_can_be_repeated(shop: Shop, steps: int) -> None:
    _, two, _ = shop.ids
    shop.back(killed=steps)
    assert shop.back() == two
    assert (shop.running(), shop.nothing_to_do()) == ({two}, True)


def test_pruning_keeps_the_pinned_release(shop: Shop) -> None:
    one, *_ = shop.ids
    shop.back(one)
    for host in shop.hosts.values():
        for number in range(KEPT + 2):
            (host.root / f"srv/web/releases/r{number}").mkdir()
    shop._apply(shop.held(), 0)
    assert all((host.root / "srv/web/releases" / one).exists() for host in shop.hosts.values())
    assert shop.nothing_to_do()


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_commands_ends_in_the_state_of_the_last_complete_one(shop: Shop, seed: int) -> None:
    chosen = random.Random(seed)
    for number in range(5):
        command = chosen.choice(COMMANDS)
        refused = False
        wanted = shop.running()
        try:
            if command.startswith("back"):
                killed = chosen.randrange(1, 8) if "killed" in command else 0
                to = chosen.choice(rollback.candidates(shop.kept()) or [""]) if "to" in command else ""
                wanted = {shop.back(to, killed)}
                if killed:
                    wanted = {shop.back()}
            else:
                killed = chosen.randrange(1, 8) if "killed" in command else 0
                content = f"new {number}" if killed or command == "deploy new" else chosen.choice(["two", "three"])
                wanted = {shop.write(content)}
                shop.deploy(again="again" in command, killed=killed)
                if killed:
                    shop.deploy()
        except Refused:
            refused = True
            wanted = shop.running() if not killed else wanted
        if refused and command.startswith("deploy"):
            assert release.read(shop.stack, "web").id in {name for pin in shop.pins() if pin for name in pin.refused}
        assert shop.running() == wanted, f"{number}: {command}"
        assert len({*shop.pins()}) == 1, f"{number}: {command}"
