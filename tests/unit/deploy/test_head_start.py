"""A head start, which a run leaves for the next one, saves time but never changes what the next run does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.cli import deploy_commands
from plainstack.deploy.head_start import HeadStart, Kept, _digest, _read, _write
from plainstack.deploy.observe import Observer
from plainstack.engine import desired
from plainstack.engine.network import Network
from plainstack.engine.resources import Directory, Resource
from plainstack.engine.role import Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from plainstack.ssh.reach import KeptLogIn, KeptMachine, KeptReach
from tests import sshd
from tests.sshd import Server
from tests.waiting import PATIENCE

names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=8)
paths = names.map(lambda name: Path("/", name))
log_ins = st.builds(KeptLogIn, names, st.integers(1, 65535), st.none() | paths, st.none() | names, st.integers(1, 120))
machines = st.dictionaries(names, names, max_size=4).map(
    lambda found: {name: KeptMachine(name, address) for name, address in found.items()}
)
reaches = st.builds(KeptReach, log_ins, machines, paths, paths, st.booleans(), names)
kept_things = reaches.flatmap(
    lambda reach: st.builds(Kept, st.just(reach), st.fixed_dictionaries(dict.fromkeys(reach.hosts, st.text())))
)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder, "place.json")


@given(kept_things, st.text(), st.text())
def test_cached_data_is_returned_only_for_its_own_key(place: Path, kept: Kept, key: str, other: str) -> None:
    _write(place, key, kept)
    assert _read(place, key) == kept
    assert place.stat().st_mode & 0o777 == 0o600
    if other != key:
        assert _read(place, other) is None


Parts = list[str | bytes]
parts: st.SearchStrategy[Parts] = st.lists(st.text(st.characters(codec="utf-8")) | st.binary(), max_size=4)


@given(parts, parts)
def test_two_inputs_have_the_same_key_only_if_they_are_equal(one: Parts, two: Parts) -> None:
    def encoded(given: Parts) -> list[bytes]:
        return [part if isinstance(part, bytes) else part.encode() for part in given]

    assert (_digest(*one) == _digest(*two)) == (encoded(one) == encoded(two))


@given(st.binary() | anything.map(lambda data: json.dumps(data).encode()))
def test_a_cache_file_with_arbitrary_content_is_ignored(place: Path, content: bytes) -> None:
    place.touch(mode=0o600)
    place.write_bytes(content)
    assert _read(place, "key") is None


@given(
    kept_things, st.lists(st.sampled_from(["key", "reach", "probes", "ssh", "hosts", "state"]), min_size=1), anything
)
def test_a_damaged_cache_file_is_ignored_unless_its_data_is_intact(
    place: Path, kept: Kept, damaged: list[str], value: object
) -> None:
    _write(place, "key", kept)
    data = json.loads(place.read_bytes())
    for name in damaged:
        for where in (data, data["reach"]) if isinstance(data["reach"], dict) else (data,):
            if name in where:
                where[name] = value
    place.write_text(json.dumps(data), encoding="utf-8")
    found = _read(place, "key")
    assert found is None or set(found.probes) <= set(found.reach.hosts)


def test_a_cache_file_that_others_can_read_is_not_used(place: Path) -> None:
    kept = Kept(KeptReach(KeptLogIn("root", 22, None, None, 1), {}, Path("/a"), Path("/b"), False, "c"), {})
    _write(place, "key", kept)
    assert _read(place, "key") == kept
    place.chmod(0o640)
    assert _read(place, "key") is None


def test_the_cache_of_the_default_stack_contains_no_secret(
    stack: Stack, vault: Vault, desired: Mapping[str, desired.HostDesired], registry: Mapping[str, Role]
) -> None:
    from plainstack.engine.desired import probe_script

    probes = {name: probe_script(stack, stack.hosts[name], desired[name], registry) for name in stack.hosts}
    text = json.dumps([KeptReach.of(stack).as_data(), probes])
    values = [secret.reveal() for secret in vault.everything()]
    assert values
    assert [value for value in values if value.strip() in text] == []


@pytest.fixture
def inventory_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "hosts.yaml"
    path.write_text("an inventory\n", encoding="utf-8")
    return path


Deploy = Callable[[Stack], str]


@pytest.fixture
def deploy(inventory_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """Return a function that deploys a role without resources and returns the output."""
    nothing = Role(name="nothing", desired=lambda *_: (), everywhere=True)
    monkeypatch.setattr(deploy_commands, "roles_of", lambda _: {"nothing": nothing})

    def run(stack: Stack) -> str:
        monkeypatch.setattr(deploy_commands, "load", lambda _, **_options: stack)
        deploy_commands.deploy(str(inventory_file), "", "", json=False)
        return capsys.readouterr().out

    return run


def counted(server: Server, act: Callable[[], object]) -> tuple[int, int]:
    """Call `act`; return how many connections and how many execs it took."""
    words = ("Accepted publickey", "Starting session: ")
    before = [server.log().count(word) for word in words]
    act()
    connections, execs = (server.log().count(word) - count for word, count in zip(words, before, strict=True))
    return connections, execs


@pytest.mark.programs
@sshd.needed
def test_a_deploy_that_changes_nothing_uses_one_connection_and_one_exec_per_host(
    server: Server, tmp_path: Path, deploy: Deploy
) -> None:
    stack = server.stack(tmp_path)
    said: list[str] = []
    for _ in ("cold", "with a head start"):
        assert counted(server, lambda: said.append(deploy(stack))) == (1, 1)
    assert [line.partition(" (")[0] for line in said] == ["nothing to do on 1 host"] * 2


@pytest.mark.programs
@sshd.needed
def test_a_changed_inventory_file_gets_no_head_start(
    server: Server, tmp_path: Path, deploy: Deploy, inventory_file: Path
) -> None:
    deploy(server.stack(tmp_path))
    inventory_file.write_text("another one\n", encoding="utf-8")
    assert counted(server, lambda: HeadStart.of(inventory_file).__exit__()) == (0, 0)


@pytest.mark.parametrize("written", ["extends: base.yaml", "extends:  ./base.yaml  ", "{stack: s, extends: base.yaml}"])
def test_files_that_an_inventory_extends_are_inputs_too(tmp_path: Path, written: str) -> None:
    (tmp_path / "hosts.yaml").write_text(f"{written}\n", encoding="utf-8")
    keys = []
    for base in ("ssh: {port: 1}\n", "ssh: {port: 2}\n"):
        (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
        keys.append(HeadStart.of(tmp_path / "hosts.yaml")._key)
    assert keys[0] != keys[1] or keys == ["", ""]


def test_an_inventory_that_extends_only_unreadable_files_gets_no_head_start(tmp_path: Path) -> None:
    for text in ("extends: none.yaml\n", "extends: hosts.yaml\n", "extends: .\n", "extends:\n  base.yaml\n"):
        (tmp_path / "hosts.yaml").write_text(text, encoding="utf-8")
        assert HeadStart.of(tmp_path / "hosts.yaml")._key == ""


@pytest.mark.programs
@sshd.needed
def test_connections_that_this_run_would_make_differently_are_not_used(
    server: Server, tmp_path: Path, deploy: Deploy, inventory_file: Path
) -> None:
    stack = server.stack(tmp_path)
    deploy(stack)
    changed = stack.model_copy(update={"ssh": stack.ssh.model_copy(update={"connect_timeout": 2})})
    with HeadStart.of(inventory_file) as head_start:
        assert head_start.take(changed, ("db1",)) is None
    with HeadStart.of(inventory_file) as head_start:
        assert head_start.take(stack, ("db1", "db2")) is None
    with HeadStart.of(inventory_file) as head_start:
        taken = head_start.take(stack, ("db1",))
        assert taken is not None
        assert taken[1]["db1"].result().host == "db1"
        taken[0].__exit__()


@pytest.mark.programs
@sshd.needed
def test_the_output_of_a_different_probe_is_not_used(
    server: Server, tmp_path: Path, deploy: Deploy, inventory_file: Path
) -> None:
    """The inventory is the same, but a role wants more than in the last run, so the probe is a different one."""
    stack = server.stack(tmp_path)
    deploy(stack)

    def wanted(_stack: Stack, _host: Host, _vault: Vault, _network: Network) -> Iterator[Resource]:
        yield Directory(path=str(tmp_path), mode=0o700)

    more = {"nothing": Role(name="nothing", desired=wanted, everywhere=True)}

    def look() -> None:
        with HeadStart.of(inventory_file) as head_start, Observer(stack, more, (), ("db1",), head_start) as observer:
            begun = head_start._answers["db1"]
            view = observer.observe()
            assert view.failed == {}
            assert str(tmp_path) in view.observed["db1"].paths
            # Wait for the early probe: it runs even if its answer is not used, and may run after the new probe.
            begun.result(PATIENCE)

    assert counted(server, look) == (1, 2)
    assert counted(server, look) == (1, 1)


@pytest.mark.programs
@sshd.needed
def test_a_host_fails_the_same_way_with_a_head_start_as_without(
    server: Server, tmp_path: Path, deploy: Deploy, inventory_file: Path
) -> None:
    stack = server.stack(tmp_path)
    deploy(stack)
    server.stack(tmp_path, pin="")
    said = []
    for head_start in (HeadStart(), HeadStart.of(inventory_file)):
        with head_start, Observer(stack, {}, (), ("db1",), head_start) as observer:
            said.append(str(observer.observe().failed["db1"]))
    assert "not pinned" in said[0]
    assert said[0] == said[1]
