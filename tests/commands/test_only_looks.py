"""Read-only commands write nothing to the operator's disk, and a plan says what a deploy would write there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from plainstack.cli import deploy_commands, operate_commands
from plainstack.deploy import conclusions
from plainstack.deploy.observe import Observer, View
from plainstack.errors import Refused
from plainstack.roles import registry
from plainstack.secrets import store, store_files
from plainstack.ssh.connections import Sessions
from tests import inventories, prestarted, sshd
from tests.commands.test_streams import ROOT, TEXT
from tests.waiting import PATIENCE

LOOKS = [
    ("inv", "plan"),
    ("inv", "plan", "--json"),
    ("inv", "status"),
    ("inv", "verify"),
    ("inv", "drift"),
    ("inv", "log"),
    ("inv", "logs"),
    ("inv", "shell", "db1"),
    ("inv", "secrets.list"),
    ("inv", "secrets.rotate", "nothing"),
    ("inv", "secrets.set", "nothing"),
    ("inv", "secrets.unset", "nothing"),
    ("fab", "failover", "status"),
    ("fab", "failover", "drills"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = TEXT.replace("SOURCE", str(ROOT / "apps/incidents"))
    (tmp_path / "hosts.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def typed(folder: Path, words: tuple[str, ...]) -> str:
    line = [*prestarted.program(words[0]), *words[1:], f"--inventory={folder / 'hosts.yaml'}"]
    ran = subprocess.run(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "Traceback" not in ran.stderr
    return ran.stdout + ran.stderr


def content(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")}


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_nothing_is_written_in_a_new_folder(folder: Path, words: tuple[str, ...]) -> None:
    before = content(folder)
    typed(folder, words)
    assert content(folder) == before


GENERATED = r"generate [0-9]+ secrets and [0-9]+ certificates, kept in "


Look = Callable[[str], None]
ANSWERED: dict[str, Look] = {
    "plan": lambda path: deploy_commands.plan(path, "", "", json=False),
    "plan --json": lambda path: deploy_commands.plan(path, "", "", json=True),
    "status": lambda path: operate_commands.status(path, "", "", json=False),
    "verify": lambda path: operate_commands.verify(path, "", "", json=False),
    "drift": lambda path: operate_commands.drift(path, "", "", json=False),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with sshd.serving(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@sshd.needed
@pytest.mark.parametrize("command", ANSWERED)
@pytest.mark.parametrize("answers", [True, False])
def test_nothing_is_written_and_secrets_that_a_deploy_would_generate_are_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: sshd.Server,
    command: str,
    answers: bool,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "hosts.yaml").write_text("the stack is the server's\n", encoding="utf-8")
    stack = server.stack(folder, port=None if answers else 1)
    before, logged_in = content(folder), server.log().count("Accepted publickey")
    for module in (deploy_commands, operate_commands):
        monkeypatch.setattr(module, "load", lambda _: stack)
    with suppress(Exit):
        ANSWERED[command](str(folder / "hosts.yaml"))
    said = capsys.readouterr()
    assert re.search(GENERATED + re.escape(str(store_files.plain_path(stack))), said.out)
    assert (server.log().count("Accepted publickey") > logged_in) == answers
    assert content(folder) == before


GIVEN = """
from plainstack.engine.resources import File
from plainstack.engine.role import DeclaredSecret, FromCommand, Given, Role

SECRETS = (DeclaredSecret("own/PASSWORD", origin=Given()), DeclaredSecret("own/TOKEN", origin=FromCommand("false")))


def desired(stack, host, vault, network):
    yield File(path="/etc/own", content=vault.password("own/PASSWORD").reveal().encode(), mode=0o600, secret=True)
    yield File(path="/etc/token", content=vault.password("own/TOKEN").reveal().encode(), mode=0o600, secret=True)


ROLE = Role(name="own", everywhere=True, desired=desired, secrets=SECRETS)
"""


@sshd.needed
@pytest.mark.parametrize("command", ["status", "verify", "drift"])
def test_an_unset_secret_is_reported_and_the_hosts_are_observed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    server: sshd.Server,
    command: str,
) -> None:
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles/own.py").write_text(GIVEN, encoding="utf-8")
    stack = server.stack(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(operate_commands, "load", lambda _: stack)
    logged_in = server.log().count("Accepted publickey")
    with suppress(Exit):
        ANSWERED[command](str(tmp_path / "hosts.yaml"))
    said = capsys.readouterr()
    assert "the secret own/PASSWORD is not set; set it: inv secrets.set own/PASSWORD\n" in said.out
    assert "own/TOKEN" not in said.out + said.err
    assert server.log().count("Accepted publickey") > logged_in


def test_an_observer_has_no_effect_before_it_is_entered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = inventories.load(folder / "hosts.yaml")
    before = content(folder)
    monkeypatch.setattr(Sessions, "to", lambda *_: pytest.fail("connects"))
    Observer(stack, registry(), (), tuple(stack.hosts))
    assert content(folder) == before


@pytest.fixture
def no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands contact no host: every host is as it should be."""
    monkeypatch.setattr(Observer, "observe", lambda self, *_, **__: View(self.stack))
    monkeypatch.setattr(conclusions, "refusals", lambda *_: [])


@pytest.mark.usefixtures("no_host")
def test_a_plan_lists_the_secrets_that_a_deploy_would_generate(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "hosts.yaml"
    before = content(folder)
    deploy_commands.plan(str(path), "", "", json=False)
    place = store_files.plain_path(inventories.load(path))
    wanted = r"a deploy would generate [0-9]+ secrets and 3 certificates, kept in " + re.escape(str(place))
    assert re.search(wanted, capsys.readouterr().out)
    assert content(folder) == before


@pytest.mark.usefixtures("no_host")
def test_a_plan_with_new_recipients_does_not_rewrite_the_store(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "hosts.yaml"
    stack = inventories.load(path)
    store.load(stack, inventories.needed(stack), datetime.now(UTC))
    assert store_files.plain_path(stack).exists()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    public = " ".join((folder / "key.pub").read_text(encoding="utf-8").split()[:2])
    text = path.read_text(encoding="utf-8").replace("gateway: lab", f"gateway: lab, key: {folder / 'key'}")
    path.write_text(f"{text}secrets: {{recipients: [{public}]}}\n", encoding="utf-8")
    before = content(folder)
    deploy_commands.plan(str(path), "", "", json=False)
    sealed = store_files.sealed_path(stack)
    assert f"a deploy would write {sealed} for the inventory's secrets.recipients\n" in capsys.readouterr().out
    assert content(folder) == before
    with Observer(inventories.load(path), registry(), (), ()) as observer:
        observer.secrets.keep(lambda _: None)
        # The second pass of a deploy saves again.
        observer.secrets.keep(lambda _: None)
    assert sealed.exists()
    assert not store_files.plain_path(stack).exists()


def test_secrets_that_another_run_changed_meanwhile_are_not_overwritten(folder: Path) -> None:
    stack = inventories.load(folder / "hosts.yaml")
    names = inventories.passwords("web/API_TOKEN")
    mine = store.look(stack, names, datetime.now(UTC))
    theirs = store.load(stack, names, datetime.now(UTC))
    with pytest.raises(Refused, match=r"another run changed the secrets in the meantime\. Run the same command again"):
        mine.keep(lambda _: None)
    assert store.load(stack, names, datetime.now(UTC)) == theirs
