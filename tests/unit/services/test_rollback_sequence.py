"""Releases, rollbacks and interruptions one after another on two hosts, by the real scripts and decisions."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plainstack.engine import probe
from plainstack.engine.plan.actions import Run
from plainstack.engine.resources import Directory, File, Resource, Unit
from plainstack.errors import Refused
from plainstack.inventory.held import Pinned
from plainstack.inventory.stack import Stack
from plainstack.services import holds, kept, release, rollback
from plainstack.services.release_steps import KEPT, prune, put_in_place
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
    return {"app": [*folders, *holds.files(stack, "web"), *settings, *steps, unit, prune("web")]}


@dataclass
class Shop:
    """Two hosts, an operator with a source, and what must be true of them."""

    folder: Path
    hosts: dict[str, Sandbox] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    times: int = 0

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
        if sentences := list(holds.refusals(held, ["web"])):
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
            for work in host.plan(_resources(stack)).transactions:
                asset = (self.folder / "src/asset").read_bytes()
                payloads = {"web: release": [("source/asset", asset)]}
                sent = payloads if any(isinstance(action, Run) for action in work.actions) else {}
                done = host.run(build(work, sent, stop_after=killed or None))
                assert killed or done.ok, done.text
                if killed:
                    return

    def running(self) -> set[str]:
        return {(host.root / "srv/web/current").readlink().name for host in self.hosts.values()}

    def pins(self) -> set[Pinned | None]:
        return {one.pinned for one in self.kept().values()}

    def nothing_to_do(self) -> bool:
        held = self.held()
        return all(host.plan(_resources(held)).empty for host in self.hosts.values())


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
    shop.write("four")
    for host in shop.hosts.values():
        host.reads("plainstack-web.service", "/srv/web/fault")
        host.write("/srv/web/fault", "broken")
    with pytest.raises(AssertionError, match="plainstack-web"):
        shop.deploy()
    assert shop.running() == {three}
    for host in shop.hosts.values():
        (host.root / "srv/web/fault").unlink()
    assert shop.back() == two


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
