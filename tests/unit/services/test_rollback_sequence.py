"""Releases, rollbacks and interruptions one after another on two hosts, by the real scripts and decisions."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plainstack.deploy import conclusions
from plainstack.deploy.view import View
from plainstack.engine import probe
from plainstack.engine.plan.actions import Run
from plainstack.engine.resources import Command, Directory, File, Resource, Unit
from plainstack.errors import Refused
from plainstack.inventory.held import Pinned
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.services import holds, kept, release, rollback
from plainstack.services.kept import FAILED
from plainstack.services.release_steps import KEPT, proven, prune, put_in_place
from tests import inventories
from tests.unit.sandbox import Sandbox, build

pytestmark = pytest.mark.programs

HOSTS = ("app1", "app2")
TEXT = """
stack: small
hosts:
  app1: {address: 10.0.0.1, roles: [app, db]}
  app2: {address: 10.0.0.2, roles: [app]}
services: {web: {source: src, project: site_}}
database: {name: shop}
"""
# What operators do, in random order; a command that is killed stops after a number of steps on the first host.
COMMANDS = ("deploy old", "deploy new", "deploy again", "back", "back to", "back", "deploy killed", "back killed")


def _resources(stack: Stack) -> Mapping[str, Sequence[Resource]]:
    """Return the resources of a host of the service, without account and templates."""
    here = release.wanted(stack, "web")
    settings = [
        File(path=f"/etc/plainstack/app/web{name}.env", content=b"A=1\n", ahead=name == ".next")
        for name in ("", ".next")
    ]
    folders = [Directory(path=path) for path in ("/srv/web", "/srv/web/releases", "/srv/web/venvs")]
    unit = Unit(name="plainstack-web.service", restart_on=(f"release:{here.id}",))
    steps = put_in_place("web", here, stack.services["web"])
    after = [proven("web", here), prune("web")]
    return {"app": [*folders, *holds.files(stack, "web"), *settings, *steps, unit, *after]}


@dataclass
class Shop:
    """Two hosts, an operator with a source, and what must be true of them."""

    folder: Path
    hosts: dict[str, Sandbox] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    times: int = 0
    beside: str = "1"

    def __post_init__(self) -> None:
        self.stack = inventories.parse(TEXT, "test.yaml", self.folder)
        self.hosts = {name: Sandbox(self.folder / name) for name in HOSTS}

    @classmethod
    def new(cls, folder: Path) -> Shop:
        """Make two hosts that were deployed three times."""
        source = folder / "src"
        (source / "site_").mkdir(parents=True)
        for file in ("site_/wsgi.py", "manage.py", "requirements.txt"):
            (source / file).write_text("pass\n", encoding="utf-8")
        for name in HOSTS:
            Sandbox.new(folder / name).write("/systemd/packaged/plainstack-web.service", "")
        made = cls(folder)
        for content in ("one", "two", "three"):
            made.write(content)
            made.deploy()
        return made

    def write(self, content: str) -> str:
        """Change the source; return the id of its release."""
        (self.folder / "src/asset").write_text(content, encoding="utf-8")
        found = release.read(self.stack, "web").id
        self.ids = [*dict.fromkeys([*self.ids, found])]
        return found

    def resources(self, stack: Stack) -> Mapping[str, Sequence[Resource]]:
        """Return the resources of a host: those of the service, and a file that belongs to another one."""
        return {"app": [*_resources(stack)["app"], File(path="/etc/beside", content=self.beside.encode())]}

    def held(self) -> Stack:
        script = probe.script([], [holds.facts()])
        seen = {name: probe.parse(host.sh(script)[1], str(host.root)) for name, host in self.hosts.items()}
        return holds.read(self.stack, seen)

    def kept(self) -> dict[str, kept.OnHost]:
        script = probe.script([], [kept.script("web")])
        facts = {name: probe.parse(host.sh(script)[1], str(host.root)).facts for name, host in self.hosts.items()}
        return {name: kept.parse(self.stack, "web", each) for name, each in facts.items()}

    def deploy(self, *, again: bool = False, killed: int = 0) -> None:
        """Deploy the source. Raises Refused if it was rolled back."""
        held = holds.unpinned(self.stack) if again else self.held()
        # A pin does not stop `inv deploy --again`, which changes it.
        change = holds.unpinned if again else None
        observer: Any = SimpleNamespace(stack=held, hosts=HOSTS, roles=registry(), chosen=(), change=change)
        plans = {name: host.plan(self.resources(held)) for name, host in self.hosts.items()}
        if sentences := conclusions.held_back(observer, View(held, plans)):
            raise Refused("\n".join(sentences))
        self._apply(held, killed)

    def back(self, to: str = "", killed: int = 0) -> str:
        """Roll back, and return the release. Raises Refused."""
        self.times += 1
        pin = rollback.target("web", self.kept(), to, f"2026-01-01T00:00:{self.times:02}Z", "ann@desk")
        pinned = {} if release.read(self.stack, "web").id == pin.release else {"web": pin}
        self._apply(holds.only("web", pinned)(self.stack), killed)
        return pin.release

    def _apply(self, stack: Stack, killed: int) -> None:
        for host in self.hosts.values():
            for work in host.plan(self.resources(stack)).transactions:
                asset = (self.folder / "src/asset").read_bytes()
                payloads = {"web: release": [("source/asset", asset)]}
                sent = payloads if any(isinstance(action, Run) for action in work.actions) else {}
                done = host.run(build(work, sent, stop_after=killed or None))
                assert killed or done.ok, done.text
                if killed:
                    return

    def fails(self, content: str) -> str:
        """Deploy content that does not start; return the id of its release."""
        found = self.write(content)
        for host in self.hosts.values():
            host.reads("plainstack-web.service", "/srv/web/fault")
            host.write("/srv/web/fault", "broken")
        with pytest.raises(AssertionError, match="plainstack-web"):
            self.deploy()
        for host in self.hosts.values():
            (host.root / "srv/web/fault").unlink()
        return found

    def releases(self, host: str = "app1") -> set[str]:
        """Return the releases that a host keeps."""
        return {each.name for each in (self.hosts[host].root / "srv/web/releases").iterdir()}

    def running(self) -> set[str]:
        return {(host.root / "srv/web/current").readlink().name for host in self.hosts.values()}

    def pins(self) -> set[Pinned | None]:
        return {one.pinned for one in self.kept().values()}

    def nothing_to_do(self) -> bool:
        held = self.held()
        return all(host.plan(self.resources(held)).empty for host in self.hosts.values())


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
