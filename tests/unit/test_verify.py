"""How checks are run: several of a host at once, not too many commands on one, and a failure names its host."""

from __future__ import annotations

import inspect
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from plainstack.deploy import verify
from plainstack.deploy.verify import CheckResult, Verifier
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.secrets.values import Vault
from plainstack.shipped import ROOT
from plainstack.ssh.session import Output
from tests import inventories
from tests.waiting import PATIENCE

base, firewall = import_module("checks.test_base"), import_module("checks.test_firewall")
CHECKS = """
ROLE = "base"

def test_one(host, here):
    assert host.run("meet").stdout == "met", "alone"
    assert here.name != "db1", "it is db1"

def test_another(host):
    assert host.run("meet").stdout == "met", "alone"
"""


class Sessions:
    """Stand-ins for connections: each command is answered by a function of host and text."""

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        self._answer = answer

    def to(self, name: str) -> Any:
        answer = self._answer

        class Session:
            def script(self, text: str, **_: object) -> Output:
                return Output(0, answer(name, text), "")

        return Session()


def checked(stack: Stack, vault: Vault, answer: Callable[[str, str], str], hosts: list[str]) -> list[CheckResult]:
    sessions: Any = Sessions(answer)
    verifier = Verifier(stack, vault, sessions, registry(), (), hosts)
    verify.run(verifier)
    return verifier.results


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verify, "CHECKS", tmp_path)
    return tmp_path


def test_checks_of_one_host_run_beside_each_other_and_a_failure_names_its_host(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    (checks / "test_beside.py").write_text(CHECKS)
    barriers = {name: threading.Barrier(2, timeout=PATIENCE) for name in ("db1", "db2")}

    def meet(name: str, _text: str) -> str:
        barriers[name].wait()
        return "met"

    results = checked(stack, vault, meet, ["db1", "db2"])
    assert {(one.host, one.name): one.passed for one in results} == {
        ("db1", "test_one"): False,
        ("db2", "test_one"): True,
        ("db1", "test_another"): True,
        ("db2", "test_another"): True,
    }
    assert next(one.why for one in results if not one.passed).startswith("it is db1")


def test_a_host_runs_no_more_commands_at_once_than_its_sshd_takes(checks: Path, stack: Stack, vault: Vault) -> None:
    """All hosts look at db1, as every check of the firewall does from a monitoring host."""
    names = "\n".join(f'def test_{number}(peer):\n    peer("db1").run("x")' for number in range(6))
    (checks / "test_many.py").write_text(f'ROLE = "base"\n{names}\n')
    lock, full, running, most = threading.Lock(), threading.Event(), 0, 0

    def count(_name: str, _text: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == verify.COMMANDS:
                full.set()
        full.wait(PATIENCE)
        with lock:
            running -= 1
        return ""

    results = checked(stack, vault, count, list(stack.hosts))
    assert len(results) == 6 * len(stack.hosts)
    assert most == verify.COMMANDS


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Ports of this machine: one that accepts, one that refuses, and one that is as silent as a filtered one."""
    with ExitStack() as opened:
        servers = [opened.enter_context(socket.socket()) for _ in range(3)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
        accepting, refusing, silent = servers
        accepting.listen()
        # With a full queue Linux drops what asks to be let in.
        silent.listen(0)
        for _ in range(2):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        names = ("accepting", "refusing", "silent")
        yield {name: server.getsockname()[1] for name, server in zip(names, (accepting, refusing, silent), strict=True)}


def test_a_port_that_answers_is_told_from_one_that_is_silent(ports: dict[str, int], tmp_path: Path) -> None:
    unwanted = [ports["refusing"], ports["silent"]]
    told = tmp_path / "told"
    # The pause of a machine that is as slow as this one: not over before the refusal was told.
    pause = f"sleep() {{ until grep -qx {ports['refusing']} {told}; do command sleep 0.02; done; command sleep $1; }}\n"
    for wanted in ([ports["accepting"]], []):
        script = f"exec >{told}\n{pause}{firewall.knock('127.0.0.1', wanted, unwanted)}"
        ran = subprocess.run(["bash", "-c", script], stderr=subprocess.PIPE, check=False, timeout=PATIENCE)
        assert {int(port) for port in told.read_text(encoding="utf-8").split()} == {*wanted, ports["refusing"]}
        assert ran.stderr == b""


@pytest.mark.parametrize(
    ("answered", "refused", "holds"),
    [
        ("node_filesystem_size_bytes{device=x} 1\n", "alert certificate required", True),
        ("", "alert certificate required", False),
        ("node_filesystem_size_bytes{device=x} 1\n", "node_load1 1", False),
        ("node_filesystem_size_bytes{device=x} 1\n", "Connection refused", False),
    ],
)
def test_an_exporter_that_is_silent_or_answers_a_stranger_is_found(
    stack: Stack, answered: str, refused: str, holds: bool
) -> None:
    class Scraper:
        stdout = f"{answered}---\n{refused}"

        def run(self, *_: object) -> Any:
            return self

    check = base.test_the_node_exporter_answers_the_monitoring_hosts_and_nobody_without_a_certificate
    if holds:
        check(stack.hosts["db1"], stack, lambda _name: Scraper())
    else:
        with pytest.raises(AssertionError):
            check(stack.hosts["db1"], stack, lambda _name: Scraper())


ASKING = """
ROLE = "base"

def facts(stack, here):
    return {"lines": "echo 1; echo 2", "exits": f"echo {here.name}; exit 3", "reads": "cat; echo read"}

def test_one(facts):
    assert facts == {"lines": "1\\n2", "exits": "db1", "reads": "read"}, str(facts)

def test_another(facts):
    assert facts["exits"] == "db1", facts["exits"]
"""


def test_facts_are_asked_once_a_host_for_all_checks_and_do_not_mix(checks: Path, stack: Stack, vault: Vault) -> None:
    for number in (1, 2):
        (checks / f"test_asking_{number}.py").write_text(ASKING)
    asked: list[str] = []

    def ask(name: str, text: str) -> str:
        asked.append(name)
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout

    results = checked(stack, vault, ask, ["db1", "db2"])
    assert sorted(asked) == ["db1", "db2"]
    assert {(one.host, one.passed) for one in results} == {("db1", True), ("db2", False)}
    assert len(results) == 8
    assert {one.why.partition("\n")[0] for one in results if one.name == "test_another" and one.why} == {"db2"}


def test_a_check_of_a_role_that_no_chosen_host_has_is_not_run(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_present.py").write_text(ASKING)
    (checks / "test_absent.py").write_text(ASKING.replace('"base"', '"monitoring"'))

    def ask(_name: str, text: str) -> str:
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout

    results = checked(stack, vault, ask, ["db1"])
    assert [(one.role, one.passed) for one in results] == [("base", True), ("base", True)]


def test_a_host_that_cannot_be_asked_fails_each_of_its_checks_with_the_reason(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    (checks / "test_unreachable.py").write_text(ASKING)

    def ask(name: str, _text: str) -> str:
        raise HostFailed(name, "connect", "no answer within 10 s")

    results = checked(stack, vault, ask, ["db1"])
    assert [(one.name, one.passed) for one in results] == [("test_one", False), ("test_another", False)]
    assert all("no answer within 10 s" in one.why for one in results)


ADDRESSES = {name: str(host.address) for name, host in inventories.load(ROOT / "hosts.yaml").hosts.items()}


def test_a_question_that_is_no_shell_is_no_answer(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_unclosed.py").write_text(ASKING.replace("exit 3", "if true"))

    def ask(_name: str, text: str) -> str:
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout

    results = checked(stack, vault, ask, ["db1"])
    assert [one.passed for one in results] == [False, False]
    assert "answers 2 of 3 questions" in results[0].why


RIGHT = {
    "base": {
        "addresses": "".join(f"{name} {address}\n" for name, address in ADDRESSES.items()),
        "name": "db1",
        "sshd": "port 22\npasswordauthentication no\nkbdinteractiveauthentication no\n"
        "permitrootlogin without-password\nclientaliveinterval 5",
        "timers": "active\nactive",
        "apt": 'APT::Periodic::Unattended-Upgrade "1";\nUnattended-Upgrade::Automatic-Reboot "false";\n'
        'Unattended-Upgrade::Origins-Pattern:: "label=Debian-Security";\n'
        'Unattended-Upgrade::Origins-Pattern:: "site=packages.test";',
        "sources": "https://packages.test/debian",
    },
    "firewall": {
        "filter": "active\nenabled\n-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT ACCEPT\nintact",
    },
    "db": {
        "checksums": "on",
        "secrets": "600 /var/lib/postgresql/.pgpass\n640 /etc/postgresql/17/main/plainstack.sql\n"
        "640 /etc/plainstack/tls/host.key\n700 /var/lib/postgresql/17/main",
    },
    "backup": {
        "failed": "asked",
        "timers": "active\nactive",
        "metrics": "20\nplainstack_backup_last_success_timestamp_seconds 1\nplainstack_backup_size_bytes 1\n"
        "plainstack_barman_check_ok 1\nplainstack_barman_last_wal_timestamp_seconds 1",
    },
}
WRONG = [
    ("base", "addresses", "192.168.57.11", "192.168.57.99"),
    ("base", "addresses", "db2", "db9"),
    ("base", "name", "db1", "db2"),
    ("base", "sshd", "passwordauthentication no", "passwordauthentication yes"),
    ("base", "sshd", "kbdinteractiveauthentication no", "kbdinteractiveauthentication yes"),
    ("base", "sshd", "without-password", "yes"),
    ("base", "sshd", "clientaliveinterval 5", "clientaliveinterval 0"),
    ("base", "timers", "active\nactive", "active\ninactive"),
    ("base", "apt", '"1"', '"0"'),
    ("base", "apt", '"false"', '"true"'),
    ("base", "apt", "label=Debian-Security", "label=Debian"),
    ("base", "apt", "site=packages.test", "site=other.test"),
    ("base", "sources", "packages.test", "other.test"),
    ("firewall", "filter", "active", "inactive"),
    ("firewall", "filter", "enabled", "disabled"),
    ("firewall", "filter", "INPUT DROP", "INPUT ACCEPT"),
    ("firewall", "filter", "\nintact", ""),
    ("db", "checksums", "on", "off"),
    ("db", "secrets", "640 /etc/plainstack", "644 /etc/plainstack"),
    ("db", "secrets", "700 /var", "755 /var"),
    ("db", "secrets", "600 /var/lib/postgresql/.pgpass\n", ""),
    ("backup", "failed", "asked", "plainstack-backup.service loaded failed failed\nasked"),
    ("backup", "timers", "active\nactive", "active\nfailed"),
    ("backup", "metrics", "20\n", "1000\n"),
    ("backup", "metrics", "plainstack_barman_check_ok 1\n", ""),
]


def held(stack: Stack, role: str, facts: Mapping[str, str]) -> list[str]:
    """The checks of a role that go by facts alone and hold."""
    module = import_module(f"checks.test_{role}")
    known: dict[str, Any] = {"facts": facts, "stack": stack, "here": stack.hosts["db1"]}
    holds = []
    for name, check in inspect.getmembers(module, inspect.isfunction):
        wanted = inspect.signature(check).parameters
        if name.startswith("test_") and "facts" in wanted and wanted.keys() <= known.keys():
            with suppress(AssertionError):
                check(**{key: known[key] for key in wanted})
                holds.append(name)
    return holds


@pytest.mark.parametrize("role", RIGHT)
def test_checks_hold_on_a_host_as_it_should_be_and_not_on_one_that_says_nothing(stack: Stack, role: str) -> None:
    facts = RIGHT[role]
    assert import_module(f"checks.test_{role}").facts(stack, stack.hosts["db1"]).keys() == facts.keys()
    assert held(stack, role, facts)
    assert held(stack, role, dict.fromkeys(facts, "")) == []


@pytest.mark.parametrize(("role", "fact", "old", "new"), WRONG)
def test_each_check_that_goes_by_facts_fails_when_one_is_wrong(
    stack: Stack, role: str, fact: str, old: str, new: str
) -> None:
    right = RIGHT[role]
    assert old in right[fact]
    wrong = {**right, fact: right[fact].replace(old, new)}
    assert len(held(stack, role, wrong)) == len(held(stack, role, right)) - 1
