"""The same tests for every kind of resource; a new kind without an example fails."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from plainstack.engine import resources
from plainstack.engine.kinds import registry
from plainstack.engine.kinds.action import Action
from plainstack.engine.kinds.kind import Kind, Look, Remembered, Resource
from plainstack.engine.kinds.registry import KINDS, kind_of
from plainstack.engine.observed import Observed
from plainstack.engine.plan.drift import find
from plainstack.engine.resources import (
    Absent,
    Command,
    Directory,
    File,
    Group,
    Link,
    Package,
    Preseed,
    Sysctl,
    Timer,
    Unit,
    User,
    Validation,
)
from plainstack.engine.transaction.script import library
from tests.unit.sandbox import Sandbox

FOLDER = Path(registry.__file__).parent
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and mount namespaces: needs root")


@dataclass(frozen=True)
class Example:
    """A resource `one`, and a changed version of it, `other`.

    `harm` is a command that changes the resource by hand; it is empty if the kind leaves nothing on a host.
    `stays` means that the kind is not removed with its role.
    """

    one: Resource
    other: Resource
    harm: str = ""
    stays: bool = False


EXAMPLES = (
    Example(Package(name="nginx"), Package(name="nginx", purge=True), ": >$ROOT/packages", stays=True),
    Example(
        Preseed(package="nginx", question="q", kind="string", value="v"),
        Preseed(package="nginx", question="q", kind="string", value="w"),
    ),
    Example(
        Group(name="ops", members=("daemon",)), Group(name="ops", members=("mail", "root")), "groupdel ops 2>/dev/null"
    ),
    Example(User(name="app"), User(name="app", shell="/bin/sh", groups=("adm",)), "userdel app 2>/dev/null"),
    Example(Directory(path="/srv/d"), Directory(path="/srv/d", mode=0o700), "chmod 777 $ROOT/srv/d"),
    Example(File(path="/srv/f", content=b"1\n"), File(path="/srv/f", content=b"2\n"), "echo 3 >$ROOT/srv/f"),
    Example(Link(path="/srv/l", target="/a"), Link(path="/srv/l", target="/b"), "ln -sfn /c $ROOT/srv/l"),
    Example(Absent(path="/srv/a"), Absent(path="/srv/b")),
    Example(Sysctl(name="net.x", value="1"), Sysctl(name="net.x", value="2"), "echo 9 >$ROOT/proc/sys/net/x"),
    Example(Unit(name="a.service"), Unit(name="a.service", enabled=False), "rm $ROOT/systemd/active/a.service"),
    Example(
        Timer(name="t.timer", calendar="daily"),
        Timer(name="t.timer", calendar="hourly", spread=60),
        "rm $ROOT/systemd/active/t.timer",
    ),
    Example(
        Command(name="c", why="w", run="touch $ROOT/c", unless="[ -e $ROOT/c ]", undo="rm $ROOT/c"),
        Command(name="c", why="w", run="touch $ROOT/d", unless="[ -e $ROOT/d ]", undo="rm $ROOT/d"),
        stays=True,
    ),
    Example(Validation(name="v", run="true", reads=("/etc/",)), Validation(name="v", run="! false", reads=("/etc/",))),
)
# apt has a transaction of its own, which is not undone when a role's transaction is.
APT = [example for example in EXAMPLES if isinstance(example.one, Package | Preseed)]
ROLES = [example for example in EXAMPLES if not isinstance(example.one, Package)]
HARMED = [example for example in EXAMPLES if example.harm]
every_kind = pytest.mark.parametrize("example", EXAMPLES, ids=[kind_of(example.one).name for example in EXAMPLES])
all_kinds = pytest.mark.parametrize("examples", [APT, ROLES], ids=["apt", "roles"])
FAILS = Command(name="fails", why="w", run="false", unless="false")
DONE = Command(name="done", why="w", run="touch $ROOT/done", unless="[ -e $ROOT/done ]")


def concrete(base: type[object]) -> Iterator[type[object]]:
    """Yield the public subclasses of a class, without the unused copies that `slots=True` leaves behind."""
    for sub in base.__subclasses__():
        yield from concrete(sub)
        module = inspect.getmodule(sub)
        public = module and module.__name__.startswith("plainstack.") and not sub.__name__.startswith("_")
        if public and getattr(module, sub.__name__, None) is sub:
            yield sub


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    found = Sandbox.new(tmp_path / "host")
    found.write("/proc/sys/net/x", "0\n")
    found.write("/srv/a", "a package's\n")
    found.write("/srv/b", "a package's\n")
    for name in ("daemon", "mail"):
        with (found.root / "etc/passwd").open("a", encoding="utf-8") as passwd:
            passwd.write(f"{name}:x:{len(name)}:{len(name)}::/:/bin/false\n")
    (found.root / "systemd/packaged/a.service").touch()
    (found.root / "etc/systemd/system").mkdir(parents=True)
    # The first transaction of any role makes folders that stay, so the tests start with them.
    deploy(found, DONE)
    return found


def deploy(host: Sandbox, *wanted: Resource) -> None:
    for done in host.deploy({"app": wanted}):
        assert done.ok, done.text


def differing(host: Sandbox, *wanted: Resource) -> list[str]:
    return reported(host.observe(wanted), *wanted)


def reported(seen: Observed, *wanted: Resource) -> list[str]:
    return [one.described() for one in find("sandbox", {"app": wanted}, seen)]


def ones(examples: Sequence[Example]) -> list[Resource]:
    return [example.one for example in examples]


def others(examples: Sequence[Example]) -> list[Resource]:
    return [example.other for example in examples]


def state(host: Sandbox) -> dict[str, tuple[object, ...]]:
    """Return the host's state without locks, passwords, and what the fake systemd recorded about loaded units."""
    return host.tree("systemd/loaded", "systemd/failed", "etc/shadow", "etc/gshadow", "etc/group", "run") | {
        "groups": tuple(host.read("/etc/group").replace(":!:", ":x:").splitlines())
    }


def test_every_resource_has_one_kind_and_every_kind_has_an_example() -> None:
    declared = {getattr(resources, name) for name in resources.__all__}
    known = {kind.resource for kind in KINDS}
    assert set(concrete(Resource)) == known
    assert known <= declared
    assert len(known) == len({kind.name for kind in KINDS}) == len(KINDS)
    assert {type(example.one) for example in EXAMPLES} == {type(example.other) for example in EXAMPLES} == known


@every_kind
def test_a_key_starts_with_the_name_of_its_kind(example: Example) -> None:
    """Manifest entries refer to their kind by its name."""
    assert example.one.key.startswith(f"{kind_of(example.one).name} ")
    assert example.one.key == example.other.key or isinstance(example.one, Absent)


@pytest.mark.parametrize("asked", [Kind, Remembered, Look])
def test_no_field_of_a_kind_can_be_omitted(asked: type) -> None:
    fields = dataclasses.fields(asked)
    assert [one.name for one in fields if one.default is not one.default_factory] == []
    with pytest.raises(TypeError):
        asked()


def test_every_action_has_a_subject_and_steps() -> None:
    assert [action.__name__ for action in concrete(Action) if inspect.isabstract(action)] == []


def test_the_shell_functions_of_every_kind_are_part_of_a_transaction() -> None:
    named = {kind.functions for kind in KINDS if kind.functions}
    assert named == {path.stem for path in FOLDER.glob("*.sh")}
    defined = re.findall(r"^([a-z_]+)\(\)", library(), re.M)
    assert len(defined) == len(set(defined))


def test_no_two_parts_of_the_probe_share_a_tag() -> None:
    tags = [tag for look in registry.LOOKS for tag in look.tags]
    assert len(tags) == len(set(tags))


@pytest.mark.programs
@needs_root
@all_kinds
def test_applying_a_plan_leaves_nothing_to_do(host: Sandbox, examples: Sequence[Example]) -> None:
    for wanted in (ones(examples), others(examples), ones(examples)):
        deploy(host, *wanted)
        seen = host.observe(wanted)
        assert host.plan({"app": wanted}, seen).empty
        assert reported(seen, *wanted) == []


@pytest.mark.programs
@needs_root
def test_a_change_is_undone_with_the_transaction(host: Sandbox) -> None:
    around: list[list[Resource]] = [[], ones(ROLES), others(ROLES)]
    for before, after in ((around[0], around[1]), (around[1], around[2]), (around[2], around[0])):
        deploy(host, *before)
        was = state(host)
        ended = host.deploy({"app": [*after, FAILS]})[-1]
        assert ended.answer.outcome == "rolled-back"
        assert state(host) == was


@pytest.mark.programs
@needs_root
@all_kinds
def test_the_next_run_completes_a_run_that_was_killed_at_any_step(
    host: Sandbox, tmp_path: Path, examples: Sequence[Example]
) -> None:
    deploy(host, *ones(examples))
    wanted = {"app": others(examples)}
    seen = host.observe(wanted["app"])
    for number in range(1, 80):
        killed = host.copy(tmp_path / f"killed-{number}")
        ended = killed.deploy(wanted, stop_after=number, seen=seen)
        left = killed.observe(wanted["app"])
        assert reported(left, *wanted["app"]) == []
        assert all(done.ok for done in killed.deploy(wanted, seen=left))
        assert killed.plan(wanted).empty
        killed.remove()
        if all(done.ok for done in ended):
            return
    pytest.fail("no run came to its end")


@pytest.mark.programs
@needs_root
@pytest.mark.parametrize("stays", [False, True])
def test_undeclared_resources_are_removed(host: Sandbox, stays: bool) -> None:
    bare = state(host)
    deploy(host, *[example.one for example in HARMED if example.stays == stays])
    assert state(host) != bare
    deploy(host)
    assert host.plan({"app": []}).empty
    assert (state(host) != bare) == stays


@pytest.mark.programs
@needs_root
def test_a_change_made_outside_plainstack_is_reported_and_corrected(host: Sandbox) -> None:
    wanted = ones(HARMED)
    deploy(host, *wanted)
    assert differing(host, *wanted) == []
    host.sh("PATH=$ROOT/bin:$PATH\n" + "\n".join(example.harm for example in HARMED))
    seen = host.observe(wanted)
    assert {line.partition(": ")[0] for line in reported(seen, *wanted)} == {one.key for one in wanted}
    assert {action.cause for _, action in host.plan({"app": wanted}, seen).actions()} == {"drift"}
    deploy(host, *wanted)
    assert differing(host, *wanted) == []
